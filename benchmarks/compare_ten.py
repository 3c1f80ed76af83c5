"""What a terrain embedding network is worth on terrains it never saw, against what a researcher would do without one.

All are trained on the same 32 terrains of mixed families, with equally many programs, and write for 32 terrains of the
other split; with each seed on others. A prompt for a terrain that none was trained on comes from

- ten: the network, from the terrain's features;
- nearest: the table's prompt of the trained terrain whose features are most like the new one's;
- shared: one prompt for all terrains (the network, held at zero);
- none: the bare language model.

    python benchmarks/compare_ten.py                            # twelve runs of two minutes; writes results/ten.json
    python benchmarks/compare_ten.py --steps 32 --seeds 0       # with more programs
    python benchmarks/compare_ten.py --prompts ten -- ten.terrain_id=false      # the network made differently
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, interval, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from distributed.results.run_folder import FinishedRun, open_run
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from terrains.base import Attempt, Terrain
from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, sample_terrains
from terrains.sodarace.world import SodaraceWorld, WorldConfig

ROOT = Path(__file__).resolve().parents[1]
TEN = ["method.prompt_source=ten"]
# Rows fit their programs sooner than a network does.
RUNS = {
    "ten": [*TEN, "method.closing_steps=150"],
    "shared": [*TEN, "method.network_lr=1e-12", "method.closing_steps=100"],
    "nearest": ["method.closing_steps=100"],
}


def train(name: str, seed: int, steps: int, count: int, folder: Path, overrides: list[str]) -> FinishedRun:
    """Makes a run unless it is there; one that was interrupted goes on."""
    directory = folder / f"{name}-{steps}-{seed}"
    if not (directory / "summary.json").exists():
        sample = f"{{count: {count}, difficulty: [0.0, 0.5], split: train, seed: {seed}}}"
        settings = [
            f"terrains.sample={sample}",
            "terrains.names=[]",
            f"method.num_rollouts={4 * count}",
            f"train.batch_size={2 * count}",
            f"train.total_steps={steps}",
            "warm_start.samples=128",
            "evaluation.samples_per_terrain=16",
            f"train.seed={seed}",
            f"train.checkpoint_dir={folder}",
            f"train.run_name={directory.name}",
            "train.tracker=null",
        ]
        again = ["--resume", str(directory)] if (directory / "config.json").exists() else []
        command = [sys.executable, "-m", "distributed.train", "--config", str(ROOT / "configs" / "quickstart.yml")]
        subprocess.run([*command, *again, *settings, *RUNS[name], *overrides], cwd=ROOT, check=True)
    return open_run(directory)


def prompts_for(run: FinishedRun, name: str, terrains: list[Terrain], world: SodaraceWorld) -> torch.Tensor:
    """The prompts of each terrain, shape (n, prompts_per_terrain, n_soft_tokens, d)."""
    if name == "nearest":
        trained = [world.terrain(each) for each in run.prompts]
        features = np.stack([each.features for each in trained])
        own = [trained[int(np.linalg.norm(features - t.features, axis=1).argmin())].name for t in terrains]
        return torch.from_numpy(np.stack([run.prompt_set(each) for each in own]))
    return torch.from_numpy(np.stack([run.prompts_for(each, world.terrain) for each in terrains]))


def written_for(
    run: FinishedRun, prompts: torch.Tensor | None, terrains: list[Terrain], samples: int, world: SodaraceWorld
) -> tuple[list[float], float]:
    """Mean fitness of some programs on each terrain, failures count as 0; and how many of its programs are unique.

    Several prompts of a terrain write as many each.
    """
    lm = run.load_policy() if prompts is not None else run.load_base()
    instruction = instruction_ids(lm, terrains[0].instruction)
    sampler = Sampler(lm, GenerationConfig())
    means, unique = [], []
    for k, terrain in enumerate(track(terrains, description="writing and scoring", transient=True)):
        rows = None if prompts is None else prompts[k]
        several = 1 if rows is None else len(rows)
        shares = [samples * (m + 1) // several - samples * m // several for m in range(several)]
        asked = [SampleRequest(m, instruction, n, 1000 * (m + 1) + k) for m, n in enumerate(shares) if n]
        drawn = sampler.sample(rows, asked)
        written = [ids[mask].tolist() for ids, mask in zip(drawn.ids, drawn.mask, strict=True)]
        texts = program_texts(lm.tokenizer, [terrain.instruction] * samples, [instruction] * samples, written)
        means.append(float(np.mean([s.fitness for s in world.score([Attempt(terrain.name, t) for t in texts])])))
        unique.append(len(set(texts)) / samples)
    return means, float(np.mean(unique))


def against(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Mean difference over terrains, and its bootstrap 95% interval."""
    difference = (ours - theirs).tolist()
    return [float(np.mean(difference)), *interval(difference)]


def measure(
    prompts: list[str], seed: int, steps: int, count: int, samples: int, folder: Path, overrides: list[str]
) -> dict[str, Any]:
    """What the prompts of one seed's runs are worth: on new terrains by terrain, and each on its own on average."""
    with SodaraceWorld(WorldConfig(seconds=20, threads=0)) as world:
        names = sample_terrains(DRAWN_FAMILIES, count, (0.0, 0.5), "held_out", seed)
        terrains = [world.terrain(name) for name in names]
        means: dict[str, list[float]] = {}
        own: dict[str, float] = {}
        unique: dict[str, float] = {}
        for name in prompts:
            run = train(name, seed, steps, count, folder, overrides)
            if not means:
                means["none"], unique["none"] = written_for(run, None, terrains, samples, world)
            prompts_of_new = prompts_for(run, name, terrains, world)
            means[name], unique[name] = written_for(run, prompts_of_new, terrains, samples, world)
            own[name] = float(np.mean([row.tuned_mean for row in run.summary.terrains.values()]))
    by_terrain = {name: dict(zip(names, values, strict=True)) for name, values in means.items()}
    return {"own": own, "unique": unique, "by_terrain": by_terrain}


def compare(seeds: dict[str, Any]) -> dict[str, Any]:
    """Means over seeds and terrains, and what the network gains on each terrain."""
    kinds = next(iter(seeds.values()))["by_terrain"]
    every = {k: np.concatenate([list(s["by_terrain"][k].values()) for s in seeds.values()]) for k in kinds}
    return {
        "mean": {name: float(values.mean()) for name, values in every.items()},
        "own": {name: float(np.mean([s["own"][name] for s in seeds.values()])) for name in kinds if name != "none"},
        "unique": {name: float(np.mean([s["unique"][name] for s in seeds.values()])) for name in kinds},
        "ten_against": {name: against(every["ten"], values) for name, values in every.items() if name != "ten"},
        "seeds": seeds,
    }


def show(found: dict[str, Any], steps: int, terrains: int) -> Table:
    title = f"Mean fitness after {steps} steps: {len(found['seeds'])} seeds, each with {terrains} new terrains"
    table = Table(title=title)
    for heading in ("prompt", "own terrains", "new terrains", "unique", "ten is better by (95% over terrains)"):
        table.add_column(heading, justify="left" if heading == "prompt" else "right")
    for name, mean in found["mean"].items():
        gain = "" if name == "ten" else "{:.1f} ({:.1f} to {:.1f})".format(*found["ten_against"][name])
        table.add_row(
            name,
            f"{found['own'][name]:.1f}" if name in found["own"] else "",
            f"{mean:.1f}",
            f"{found['unique'][name]:.0%}",
            gain,
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terrains", type=int, default=32, help="in each of both splits")
    parser.add_argument("--samples", type=int, default=32, help="programs a terrain")
    parser.add_argument("--steps", type=int, default=12, help="PPO steps, of 4 programs a terrain each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="each with terrains of its own")
    parser.add_argument("--prompts", nargs="+", default=list(RUNS), choices=list(RUNS), help="which, ten among them")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "ten", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "ten.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    a = parser.parse_args()
    if "ten" not in a.prompts:
        parser.error("--prompts: ten has to be among them, as all are compared with it")
    folder = a.runs.resolve().joinpath(*["_".join(a.overrides)] if a.overrides else [])
    measured = {
        str(seed): measure(a.prompts, seed, a.steps, a.terrains, a.samples, folder, a.overrides) for seed in a.seeds
    }
    found = compare(measured)
    key = " ".join([f"after_{a.steps}_steps", *a.overrides])
    merge(a.out, {key: {"terrains": a.terrains, "samples": a.samples, **found}})
    Console(width=100).print(show(found, a.steps, a.terrains))


if __name__ == "__main__":
    main()
