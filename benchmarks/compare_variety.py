"""How many good programs a run's prompts write, and what each part of the recipe is worth: 4,096 programs a run.

Each run is a process of its own, exactly as a person runs it; runs that are there already are not made again, and one
that was interrupted goes on. MAP-Elites (Stage 1, by its own defaults) gets as many programs, each simulated on every
terrain.

    python benchmarks/compare_variety.py           # 21 runs, one to three minutes each; writes results/variety.json
    python benchmarks/compare_variety.py --only varied --seeds 0
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, check_recipes, interval, merge
from rich.console import Console
from rich.table import Table

from distributed.checkpoint.manager import latest, load_checkpoint
from terrains.sodarace.map_elites.corpus import CorpusConfig
from terrains.sodarace.map_elites.evaluation import WorldEvaluator
from terrains.sodarace.map_elites.evolution import Evolution
from terrains.sodarace.world import SodaraceWorld, WorldConfig

ROOT = Path(__file__).resolve().parents[1]
TERRAINS = ("left_wall", "right_wall", "tunnel")
ONE = ["method.prompts_per_terrain=1", "method.closing_steps=0", "method.replay_steps=0", "method.replay_weight=0"]
RECIPES: dict[str, list[str]] = {
    "varied": [],
    "without PPO": ["optimizer.kwargs.lr=1e-9"],
    "without closing": ["method.closing_steps=0"],
    "8 prompts": ["method.prompts_per_terrain=8"],
    "repeats pay less": ["method.repeat_discount=1"],
    "one prompt, imitation": [
        *ONE, "warm_start.elites=4", "warm_start.steps=20",
        "method.replay_weight=1", "method.replay_size=2", "method.replay_steps=4",
    ],
    "one prompt, PPO alone": [*ONE, "warm_start.steps=0", "method.unique_target=0.6"],
}  # fmt: skip
"""Settings that differ from those of configs/varied.yml."""

BEST_OF = 64
"""Of how many of the best kinds the mean is told."""

COLUMNS = {
    "fitness": "mean",
    "untuned": "untuned",
    "unique": "unique",
    "distinct": "walkers of 128",
    "unique_mean": "mean of unique",
    "cells": "kinds",
    "best_kinds": f"{BEST_OF} best kinds",
}
"""What is told of a run, averaged over the terrains, and its heading."""


def best_kinds(fitness: Iterable[float]) -> float:
    """Mean fitness of the best kinds; kinds that were not found count 0."""
    return sum(sorted(fitness, reverse=True)[:BEST_OF]) / BEST_OF


def outcome(recipe: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Makes a run unless it is there; returns by terrain what it reached."""
    directory = folder / f"{recipe.replace(' ', '_').replace(',', '')}-{seed}"
    if not (directory / "summary.json").exists():
        anew = ["train.tracker=null", f"train.seed={seed}", f"train.checkpoint_dir={folder}"]
        again = ["--resume", str(directory)] if (directory / "config.json").exists() else []
        command = [sys.executable, "-m", "distributed.train", "--config", str(ROOT / "configs" / "varied.yml"), *again]
        named = [f"train.run_name={directory.name}", *anew, *RECIPES[recipe], *overrides]
        subprocess.run([*command, *named], cwd=ROOT, check=True)
    summary = json.loads((directory / "summary.json").read_text())
    checkpoint = latest(directory)
    assert checkpoint
    cells = load_checkpoint(checkpoint).state["loop"]["learner"]["teachers"]["archive"]["cells"]
    terrains = {}
    for (name, told), kinds in zip(summary["terrains"].items(), cells, strict=True):
        varied = summary["variety"][name]["tuned"]
        terrains[name] = {
            "fitness": told["tuned_mean"],
            "untuned": told["untuned_mean"],
            **{key: varied[key] for key in ("unique", "distinct", "unique_mean", "cells")},
            "best_kinds": best_kinds(each["fitness"] for each in kinds),
        }
    return {"seed": seed, "programs": summary["rollouts"], "seconds": summary["seconds"], "terrains": terrains}


def map_elites(seed: int, evaluations: int) -> dict[str, Any]:
    """Stage 1 with a number of programs; returns by terrain the mean of the best kinds."""
    config = CorpusConfig(evaluations=evaluations, seed=seed, groups=tuple((name,) for name in TERRAINS))
    world = SodaraceWorld(WorldConfig())
    evolution = Evolution(WorldEvaluator(world, config.terrains), config)
    for _ in evolution.run():
        pass
    world.close()
    niches = range(int(np.prod(config.niches.cells)))
    found = [evolution.archives.best_of(niche) for niche in niches]
    terrains = {name: {"best_kinds": best_kinds(each[name] for each in found)} for name in TERRAINS}
    return {"seed": seed, "programs": evolution.evaluated, "terrains": terrains}


def show(found: dict[str, list[dict[str, Any]]]) -> Table:
    """Means over terrains and seeds, with intervals over the seeds for fitness."""
    table = Table(title="Programs of tuned prompts, averaged over the terrains")
    for heading in ("recipe", "programs", *COLUMNS.values()):
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    for recipe, runs in found.items():
        cells = []
        for key in COLUMNS:
            values = [float(np.mean([t[key] for t in run["terrains"].values() if key in t] or np.nan)) for run in runs]
            if np.isnan(values).any():
                cells.append("")
            elif key in ("fitness", "best_kinds"):
                cells.append("{:.0f} ({:.0f}-{:.0f})".format(np.mean(values), *interval(values)))
            else:
                cells.append(("{:.0%}" if key == "unique" else "{:.0f}").format(np.mean(values)))
        table.add_row(recipe, f"{np.mean([run['programs'] for run in runs]):.0f}", *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(RECIPES), metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--evaluations", type=int, nargs="+", default=[4096, 20000], help="programs of MAP-Elites")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "variety", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "variety.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    a = parser.parse_args()
    check_recipes(parser, a.only, RECIPES)
    stages = {f"MAP-Elites, {n:,}": n for n in a.evaluations}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*a.only, *stages)}
    for seed in a.seeds:
        for name, outcomes in found.items():
            outcomes.append(
                map_elites(seed, stages[name]) if name in stages else outcome(name, seed, a.runs.resolve(), a.overrides)
            )
            merge(a.out, {"seeds": a.seeds, "overrides": a.overrides, "recipes": found})
    Console(width=140).print(show(found))


if __name__ == "__main__":
    main()
