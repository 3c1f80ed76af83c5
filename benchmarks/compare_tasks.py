"""Three tasks on a pretrained model of 135 million parameters: reviews, answers in JSON, arithmetic; before and after.

Each run is a process of its own, exactly as a person runs it; runs that are there already are not made again, and one
that was interrupted goes on. What is compared are fresh texts behind instructions that nothing was trained on.

    pip install 'terraprompt[reviews]' && terraprompt get-model smollm2
    python benchmarks/compare_tasks.py                    # 9 runs, some minutes each; writes results/tasks.json
    python benchmarks/compare_tasks.py --only json --seeds 0
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, interval, merge
from rich.console import Console
from rich.table import Table

from distributed.checkpoint.manager import latest, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("reviews", "json", "arithmetic")
UNITS = {
    "positive": "positivity, %",
    "negative": "positivity, %",
    "long": "tokens",
    "short": "tokens",
    "person": "right and in the format, %",
    "problems": "right answers, %",
}
"""What the figures of a terrain are in."""

LONGEST = 32
"""Tokens of a review that count 1; see configs/reviews_offline.yml."""


def figures(terrain: str, fitness: np.ndarray) -> np.ndarray:
    """Fitness in percent, shape (n,), as what a person reads of that terrain."""
    if terrain == "negative":
        return 100 - fitness
    if terrain in ("long", "short"):
        return LONGEST * (fitness if terrain == "long" else 100 - fitness) / 100
    return fitness


def outcome(task: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Makes a run unless it is there; returns by terrain the figures of each untuned and tuned text, and some texts."""
    directory = folder / f"{task}-{seed}"
    if not (directory / "summary.json").exists():
        anew = ["train.tracker=null", f"train.seed={seed}", f"train.checkpoint_dir={folder}"]
        again = ["--resume", str(directory)] if (directory / "config.json").exists() else []
        config = ["--config", str(ROOT / "configs" / f"{task}_offline.yml"), f"train.run_name={directory.name}"]
        subprocess.run(
            [sys.executable, "-m", "distributed.train", *config, *again, *anew, *overrides], cwd=ROOT, check=True
        )
    checkpoint = latest(directory)
    assert checkpoint
    state = load_checkpoint(checkpoint).state["loop"]
    seconds = json.loads((directory / "summary.json").read_text())["seconds"]
    found: dict[str, Any] = {"seconds": seconds, "rollouts": state["rollouts"], "terrains": {}}
    for k, terrain in enumerate(state["terrains"]):
        bare, tuned = state["untuned"], state["tuned"][terrain]
        found["terrains"][terrain] = {
            "untuned": figures(terrain, bare["fitness"][:, k]).round(2).tolist(),
            "tuned": figures(terrain, tuned["fitness"][:, k]).round(2).tolist(),
            "untuned_valid": bare["valid"][:, k].astype(int).tolist(),
            "tuned_valid": tuned["valid"][:, k].astype(int).tolist(),
            "unique": len(set(tuned["programs"])) / len(tuned["programs"]),
            "texts": tuned["programs"][:4],
        }
    return found


def rows(found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, str, list[float], list[float]]]:
    """By terrain and seed: terrain, unit, seed, untuned and tuned figures; of several seeds together as well."""
    lines = []
    for runs in found.values():
        for terrain in runs[0]["terrains"]:
            of_runs = [run["terrains"][terrain] for run in runs]
            kinds = [(UNITS[terrain], "untuned", "tuned")]
            if terrain == "person":
                kinds.insert(0, ("in the format, %", "untuned_valid", "tuned_valid"))
            for unit, before, after in kinds:
                scale = 100 if before.endswith("valid") else 1
                both = [[[scale * value for value in each[name]] for name in (before, after)] for each in of_runs]
                lines += [(terrain, unit, str(seed), *pair) for seed, pair in enumerate(both)]
                if len(both) > 1:
                    lines.append((terrain, unit, "all", sum((b for b, _ in both), []), sum((a for _, a in both), [])))
    return lines


def show(found: dict[str, list[dict[str, Any]]]) -> Table:
    """A row a terrain and seed."""
    table = Table(title="Texts of the untuned model and behind the tuned prompts, means with 95% intervals")
    for heading in ("terrain", "in", "seed", "untuned", "95%", "tuned", "95%", "apart"):
        table.add_column(heading, justify="left" if heading in ("terrain", "in") else "right")
    for terrain, unit, seed, before, after in rows(found):
        (low, high), (low_after, high_after) = interval(before), interval(after)
        apart = "yes" if high < low_after or high_after < low else "no"
        cells = f"{np.mean(before):.1f}", f"{low:.1f}-{high:.1f}"
        cells += f"{np.mean(after):.1f}", f"{low_after:.1f}-{high_after:.1f}"
        table.add_row(terrain, unit, seed, *cells, apart)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "tasks", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "tasks.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    a = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {task: [] for task in a.only}
    for seed in a.seeds:
        for task, outcomes in found.items():
            outcomes.append(outcome(task, seed, a.runs.resolve(), a.overrides))
            merge(a.out, {"seeds": a.seeds, "overrides": a.overrides} | found)
    Console(width=120).print(show(found))


if __name__ == "__main__":
    main()
