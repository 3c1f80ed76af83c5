"""What has to stand before the programs of Stage 2 so that prompts steer the model best; each model anew, all alike.

Every variant trains on the same corpus with the same steps and seed; those with hints keep the shares of 60% related
rows to 40% that say nothing. Some good programs are kept from all of them, and are what prompts are tuned on in the
end. A variant that is there already is not made again, and one that was interrupted goes on.

    python benchmarks/compare_prefixes.py             # six models and runs, ten minutes each; results/prefixes.json
    python benchmarks/compare_prefixes.py --filters   # ELM's filters of the corpus, with the shipped prefixes
    python benchmarks/compare_prefixes.py --start runs/prefixes/none --lr 0.001   # all go on from one model
    python benchmarks/compare_prefixes.py --only none tuned --skip-runs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from compare_recipes import outcome
from record import RESULTS, merge
from rich.console import Console
from rich.table import Table

from distributed.errors import UserError, did_you_mean
from distributed.infra.signals import exit_status, interruptible
from distributed.jobs.measure_model import is_walker, sample_programs, validity_behind
from distributed.jobs.pretrain import TRAINING, Training
from distributed.jobs.pretrain_options import build_hints
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.config import preset
from softprompt.pretrain.prefixes import PrefixConfig
from terrains.base import Attempt
from terrains.sodarace.map_elites.corpus import CorpusProgram, above, read_corpus
from terrains.sodarace.world import SodaraceWorld, WorldConfig

ROOT = Path(__file__).resolve().parents[1]
GOOD = 0.8
"""Share of their niche's best that the programs reach which are kept from all: every filter would have let them in."""
ROWS = 20
"""Rows of the prompts that are looked at, as many as the quickstart's."""
LOOKS = {"untrained": 0, "after 50": 50, "after 150": 150}
"""Steps of a prompt after which the nats are noted, by the name of the column."""


@dataclass(frozen=True)
class Variant:
    """What differs between two models: shares of prefixes, the hints, and the filter of the corpus."""

    prefixes: Mapping[str, float] = field(default_factory=dict)
    hints: str | None = None
    above: float = 0.0


HINTED = {"none": 0.35, "untrained": 0.26, "hinted": 0.39}
PREFIXES = {
    "none": Variant({"none": 1.0, "untrained": 0.0}),
    "untrained": Variant({"none": 0.35, "untrained": 0.65}),
    "relative": Variant(HINTED, "relative"),
    "neighbour": Variant(HINTED, "neighbour"),
    "descriptors": Variant(HINTED, "descriptors"),
    "tuned": Variant(),
}
FILTERS = {"tuned": Variant(), "above 0.5": Variant(above=0.5), "above 0.8": Variant(above=0.8)}


@dataclass(frozen=True)
class Study:
    """What all variants have in common.

    Attributes:
        programs: the corpus without ``held_out``.
        held_out: texts that no variant trains on.
        world: scores programs.
        settings: those that make one model comparable with the next.
        folder: where the models are kept.
        start: directory of a model that all go on from, or None.
        samples: programs for each share of valid ones.
    """

    programs: Sequence[CorpusProgram]
    held_out: Sequence[str]
    world: SodaraceWorld
    settings: Mapping[str, Any]
    folder: Path
    start: Path | None
    samples: int


def kept_apart(programs: Sequence[CorpusProgram], count: int, seed: int) -> tuple[list[CorpusProgram], list[str]]:
    """The programs to train on, and texts of some good ones that are not among them."""
    good = [p.program for p in above(programs, GOOD)]
    if len(good) < count:
        raise UserError(f"--held-out: {count} programs that reach {GOOD:.0%} of their niche's best, and {len(good)} do")
    held_out = random.Random(seed).sample(good, count)
    unseen = set(held_out)
    return [p for p in programs if p.program not in unseen], held_out


def figures(study: Study, name: str, variant: Variant, console: Console) -> dict[str, Any]:
    """Trains a variant and measures it, unless that is done."""
    directory = study.folder / name.replace(" ", "_")
    file = directory / "figures.json"
    settings = {**study.settings, "prefixes": dict(variant.prefixes)}
    if file.exists():
        found = json.loads(file.read_text())
        if found["settings"] != settings:
            raise UserError(f"--runs: {directory} was made with other settings; give another folder, or remove it")
        return found
    training = train(study, variant, directory, console)
    found = {"settings": settings, "programs": len(training.stage.training), "seconds": round(training.seconds)}
    found |= measure(study, training, FrozenLM.load(directory))
    shutil.rmtree(directory / TRAINING)
    file.write_text(json.dumps(found, indent=2) + "\n")
    return found


def train(study: Study, variant: Variant, directory: Path, console: Console) -> Training:
    """Makes all steps of a variant, from where an interrupted call left it."""
    programs = above(study.programs, variant.above)
    common = {key: study.settings[key] for key in ("steps", "batch_size", "seed", "lr") if key in study.settings}
    config = preset(study.settings["preset"], prefixes=PrefixConfig(**variant.prefixes), **common)
    hints = build_hints(variant.hints, programs, config.seed)
    terrain = next(iter(programs[0].fitness)) if programs else ""
    texts = [p.program for p in programs]
    training = Training(texts, study.world, terrain, config, directory, study.start, hints=hints)
    with interruptible(raising=False) as received:
        training.run(console, received)
    if received:
        sys.exit(exit_status(received[0]))
    return training


def measure(study: Study, training: Training, lm: FrozenLM) -> dict[str, Any]:
    """Shares of valid programs, and nats of the programs that were kept apart."""
    stage, world, seed = training.stage, study.world, study.settings["seed"]
    terrain = world.terrain(next(iter(study.programs[0].fitness)))
    texts, _ = sample_programs(lm, terrain.instruction, study.samples, seed)
    valid = float(np.mean([is_walker(s) for s in world.score([Attempt(terrain.name, text) for text in texts])]))
    # Not those of the training's own split: a filter changes it, and its programs with it.
    stage.held_out = stage.encode(study.held_out)
    steered = stage.held_out_steered(list(LOOKS.values()), ROWS, len(stage.held_out))
    return {
        "valid": valid,
        "valid_behind": validity_behind(lm, world, terrain.name, seed, study.samples, ROWS),
        "unique": len(set(texts)) / len(texts),
        "nats": {"alone": stage.held_out_loss(), **dict(zip(LOOKS, steered, strict=True))},
    }


def fitness_of(study: Study, name: str, seeds: Sequence[int], overrides: list[str]) -> list[float]:
    """Mean fitness of the tuned prompts of a quickstart on a variant's model, one number a seed."""
    directory = study.folder / name.replace(" ", "_")
    settings = [f"model.model_path={directory}", *overrides]
    return [outcome("quickstart", seed, directory, settings)["fitness"] for seed in seeds]


def show(title: str, found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=title)
    table.add_column("")
    nats = ("alone", *LOOKS)
    for heading in ("valid alone", f"behind {ROWS} rows", *(f"nats {name}" for name in nats), "quickstart"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        fitness = " ".join(f"{value:.0f}" for value in one.get("fitness", [])) or "-"
        shares = (f"{one[key]:.0%}" for key in ("valid", "valid_behind"))
        table.add_row(name, *shares, *(f"{one['nats'][key]:.2f}" for key in nats), fitness)
    return table


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=ROOT / "data" / "corpus.jsonl")
    parser.add_argument("--filters", action="store_true", help="compare filters of the corpus, not prefixes")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help=", ".join(dict.fromkeys([*PREFIXES, *FILTERS])))
    parser.add_argument("--preset", default="tiny", choices=("tiny", "small", "base"), help="size of the models")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32, help="programs a step")
    parser.add_argument("--lr", type=float, help="peak learning rate; that of the preset if it is not given")
    parser.add_argument("--start", type=Path, help="directory of a model of the same programs that all go on from")
    parser.add_argument("--seed", type=int, default=0, help="of the models")
    parser.add_argument("--held-out", type=int, default=32, help="programs that are kept from all variants")
    parser.add_argument("--samples", type=int, default=256, help="programs for each share of valid ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the quickstart's runs")
    parser.add_argument("--skip-runs", action="store_true", help="leave the quickstart's runs out")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "prefixes", help="where models and runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "prefixes.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    return parser.parse_args()


def compare(a: argparse.Namespace, console: Console) -> None:
    variants = FILTERS if a.filters else PREFIXES
    for name in a.only or ():
        if name not in variants:
            raise UserError(f"--only: there is no variant {name!r}{did_you_mean(name, variants)}")
    try:
        corpus = read_corpus(a.corpus)
    except ValueError as error:
        raise UserError(f"--corpus: {error}") from None
    programs, held_out = kept_apart(corpus, a.held_out, a.seed)
    settings: dict[str, Any] = {"preset": a.preset, "steps": a.steps, "batch_size": a.batch, "seed": a.seed}
    settings |= {"lr": a.lr} if a.lr else {}
    settings |= {"start": FrozenLM.load(a.start).hash} if a.start else {}
    settings |= {
        "held_out": a.held_out,
        "samples": a.samples,
        "corpus": hashlib.sha256(a.corpus.read_bytes()).hexdigest(),
    }
    found: dict[str, dict[str, Any]] = {}
    with SodaraceWorld(WorldConfig(threads=0)) as world:
        study = Study(programs, held_out, world, settings, a.runs.resolve(), a.start, a.samples)
        for name in a.only or variants:
            console.print(f"[bold]{name}[/bold]")
            found[name] = figures(study, name, variants[name], console)
            if not a.skip_runs:
                fitness = fitness_of(study, name, a.seeds, a.overrides)
                found[name] |= {"seeds": a.seeds, "overrides": a.overrides, "fitness": fitness}
            merge(a.out, found)
    what = "programs above a share of their niche's best" if a.filters else "prefixes"
    title = f"Models after {a.steps} steps by their {what}; nats of {a.held_out} held-out programs"
    Console(width=120).print(show(title, found))


def main() -> None:
    try:
        compare(parse(), Console())
    except (UserError, ValueError) as error:
        sys.exit(f"compare_prefixes.py: {error}")


if __name__ == "__main__":
    main()
