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
    found: dict[str, Any] = {"seed": seed, "seconds": seconds, "rollouts": state["rollouts"], "terrains": {}}
    for k, terrain in enumerate(state["terrains"]):
        bare, tuned = state["untuned"], state["tuned"][terrain]
        found["terrains"][terrain] = {
            "untuned": figures(terrain, bare["fitness"][:, k]).tolist(),
            "tuned": figures(terrain, tuned["fitness"][:, k]).tolist(),
            "untuned_valid": (100 * bare["valid"][:, k]).tolist(),
            "tuned_valid": (100 * tuned["valid"][:, k]).tolist(),
            "unique": len(set(tuned["programs"])) / len(tuned["programs"]),
            "texts": tuned["programs"][:4],
        }
    return found


def rows(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row a terrain, kind of figure and seed, and one of all seeds together: means with their intervals."""
    lines = []
    for runs in found.values():
        for terrain in runs[0]["terrains"] if runs else ():
            kinds = [(UNITS[terrain], "untuned", "tuned")]
            if terrain == "person":
                kinds.insert(0, ("in the format, %", "untuned_valid", "tuned_valid"))
            for unit, before, after in kinds:
                both = [
                    (run["seed"], run["terrains"][terrain][before], run["terrains"][terrain][after]) for run in runs
                ]
                if len(both) > 1:
                    both.append(("all", [x for _, b, _ in both for x in b], [x for _, _, a in both for x in a]))
                lines += [{"terrain": terrain, "in": unit, "seed": seed} | compared(b, a) for seed, b, a in both]
    return lines


def compared(before: list[float], after: list[float]) -> dict[str, Any]:
    """Means of two groups of figures, with their intervals, and whether these are apart."""
    (low, high), (low_after, high_after) = interval(before), interval(after)
    return {
        "untuned": float(np.mean(before)),
        "untuned_interval": [low, high],
        "tuned": float(np.mean(after)),
        "tuned_interval": [low_after, high_after],
        "texts": [len(before), len(after)],
        "apart": high < low_after or high_after < low,
    }


def show(lines: list[dict[str, Any]]) -> Table:
    """The rows for people."""
    table = Table(title="Texts of the untuned model and behind the tuned prompts, means with 95% intervals")
    for heading in ("terrain", "in", "seed", "untuned", "95%", "tuned", "95%", "apart"):
        table.add_column(heading, justify="left" if heading in ("terrain", "in") else "right")
    for row in lines:
        cells = [
            cell
            for name in ("untuned", "tuned")
            for cell in (f"{row[name]:.1f}", "{:.1f}-{:.1f}".format(*row[f"{name}_interval"]))
        ]
        table.add_row(row["terrain"], row["in"], str(row["seed"]), *cells, "yes" if row["apart"] else "no")
    return table


def kept(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each run what the results keep beside the rows: how long it took, and some texts."""
    terrains = [
        {name: {"unique": each["unique"], "texts": each["texts"]} for name, each in run["terrains"].items()}
        for run in runs
    ]
    return [
        {"seed": run["seed"], "seconds": round(run["seconds"]), "programs": run["rollouts"], "terrains": each}
        for run, each in zip(runs, terrains, strict=True)
    ]


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
            results = {"seeds": a.seeds[: len(outcomes)], "overrides": a.overrides}
            merge(a.out, {task: results | {"rows": rows({task: outcomes}), "runs": kept(outcomes)}})
    Console(width=120).print(show(rows(found)))


if __name__ == "__main__":
    main()
