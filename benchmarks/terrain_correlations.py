"""How alike the families of terrains are: do the programs that do well on one do well on another?

Programs of a corpus walk on every family at its default parameters, and on tunnel+bumpy. The table has Spearman's
correlation of their fitness for each pair of terrains, a failure counting as 0; and for each terrain its best walker,
and where that one stands among all programs on the terrain that suits it least.

    python benchmarks/terrain_correlations.py --corpus data/corpus.jsonl      # minutes; writes results/terrains.json
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
from record import RESULTS, merge
from rich.console import Console
from rich.progress import track
from rich.table import Table

from terrains.base import Attempt
from terrains.sodarace.ground.families import FAMILIES
from terrains.sodarace.world import SodaraceWorld, WorldConfig

TERRAINS = (*FAMILIES, "tunnel+bumpy")
BATCH = 100


def programs_of(corpus: Path, count: int, seed: int) -> list[str]:
    """Programs drawn from a corpus, the same ones every time."""
    lines = corpus.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["program"] for line in random.Random(seed).sample(lines, min(count, len(lines)))]


def fitness_of(programs: list[str], seconds: float, threads: int, console: Console) -> np.ndarray:
    """Fitness of each program on each terrain, shape (programs, terrains)."""
    rows: list[list[float]] = []
    with SodaraceWorld(WorldConfig(seconds=seconds, threads=threads, cache=0)) as world:
        for start in track(range(0, len(programs), BATCH), description="walking", console=console):
            batch = programs[start : start + BATCH]
            scores = world.score([Attempt(name, program) for program in batch for name in TERRAINS])
            rows += np.reshape([score.fitness for score in scores], (len(batch), len(TERRAINS))).tolist()
    return np.array(rows)


def ranks(column: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the least, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[inverse]


def compare(fitness: np.ndarray) -> dict[str, object]:
    """What is recorded of the fitness of all programs."""
    ranked = np.stack([ranks(column) for column in fitness.T], axis=1)
    correlations = np.corrcoef(ranked, rowvar=False)
    best = {}
    for k, name in enumerate(TERRAINS):
        walker = int(fitness[:, k].argmax())
        # Rank 1 is the best.
        others = {j: 1 + int((fitness[:, j] > fitness[walker, j]).sum()) for j in range(len(TERRAINS)) if j != k}
        worst = max(others, key=lambda j: others[j])
        best[name] = {
            "fitness": round(float(fitness[walker, k]), 1),
            "worst_terrain": TERRAINS[worst],
            "rank_there": others[worst],
            "fitness_there": round(float(fitness[walker, worst]), 1),
        }
    pairs = correlations[np.triu_indices(len(TERRAINS), 1)]
    return {
        "programs": len(fitness),
        "spearman": {
            a: {b: round(float(correlations[i, j]), 3) for j, b in enumerate(TERRAINS)} for i, a in enumerate(TERRAINS)
        },
        "least_spearman": round(float(pairs.min()), 3),
        "mean_spearman": round(float(pairs.mean()), 3),
        "mean_fitness": {name: round(float(fitness[:, k].mean()), 2) for k, name in enumerate(TERRAINS)},
        "best": best,
    }


def tables(found: dict) -> list[Table]:
    """What was found, to be read."""
    pairs = Table(title=f"Spearman's correlation of the fitness of {found['programs']} programs", box=None)
    pairs.add_column("")
    for name in TERRAINS:
        pairs.add_column(name, justify="right")
    for a in TERRAINS:
        pairs.add_row(a, *(f"{found['spearman'][a][b]:.2f}" for b in TERRAINS))
    best = Table(title="\nThe best walker of each terrain", box=None)
    for name in ("terrain", "mean of all", "best", "worst on", "fitness there", "rank there"):
        best.add_column(name, justify="left" if name in ("terrain", "worst on") else "right")
    for name, row in found["best"].items():
        mean = found["mean_fitness"][name]
        there = f"{row['fitness_there']}", f"{row['rank_there']}"
        best.add_row(name, f"{mean:.1f}", f"{row['fitness']}", row["worst_terrain"], *there)
    return [pairs, best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus.jsonl"))
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated time")
    parser.add_argument("--threads", type=int, default=0, help="0 for one on each processor")
    parser.add_argument("--seed", type=int, default=0, help="decides which programs are drawn")
    parser.add_argument("--out", type=Path, default=RESULTS / "terrains.json")
    arguments = parser.parse_args()
    programs = programs_of(arguments.corpus, arguments.programs, arguments.seed)
    found = compare(fitness_of(programs, arguments.seconds, arguments.threads, Console(stderr=True)))
    merge(arguments.out, {"correlations": found | {"seconds_simulated": arguments.seconds}})
    for table in tables(found):
        Console(width=120).print(table)


if __name__ == "__main__":
    main()
