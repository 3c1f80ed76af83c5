"""The same settings, model and world through this project's learner and through trlx itself, in one process each.

Both train with the PPO of configs/trlx_ppo.yml, without warm start or replay, on equally many programs; "rank and
replay" is what the learner makes of equally many with more of what it has. Runs that are there are not made again.

    PYTHONPATH=.:TRLX python benchmarks/compare_trlx.py    # TRLX: a clone of trlx; a few minutes a run
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, interval, merge

ROOT = Path(__file__).resolve().parents[1]
WAYS: dict[str, list[str]] = {
    "trlx": ["--backend", "trlx"],
    "own learner": ["ray.enabled=false"],
    "own learner, rank and replay": [
        "ray.enabled=false",
        "method.estimator=rloo",
        "method.advantage_shaping=rank",
        "method.replay_weight=1",
        "method.replay_size=2",
        "method.ppo_epochs=1",
    ],
}


def outcome(way: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Makes a run unless it is there; returns its curve and its end."""
    directory = folder / f"{way.replace(',', '').replace(' ', '_')}-{seed}"
    if not (directory / "summary.json").exists():
        settings = [f"train.seed={seed}", f"train.checkpoint_dir={folder}", f"train.run_name={directory.name}"]
        config = ["--config", str(ROOT / "configs" / "trlx_ppo.yml")]
        command = [sys.executable, "-m", "distributed.train", *config, *WAYS[way], *settings, *overrides]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    found = json.loads((directory / "summary.json").read_text())
    terrains = found["terrains"].values()
    return {
        "tuned": float(np.mean([each["tuned_mean"] for each in terrains])),
        "untuned": float(np.mean([each["untuned_mean"] for each in terrains])),
        "valid": float(np.mean([each["tuned_valid"] for each in terrains])),
        "programs": found["rollouts"] - found["config"]["warm_start"]["samples"],
        "seconds": found["seconds"],
        "curve": curve(directory),
    }


def curve(directory: Path) -> list[dict[str, float]]:
    """Mean fitness and seconds of each step, from the latest checkpoint's history."""
    from distributed.checkpoint.manager import latest, load_checkpoint

    newest = latest(directory)
    assert newest is not None
    steps = [h for h in load_checkpoint(newest).state["loop"]["history"] if h["phase"] == "steps"]
    return [{"fitness": h["fitness/mean"], "seconds": h["seconds"]} for h in steps]


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """A table in Markdown: fitness while sampling, in parts of the run, and the final evaluation."""
    lines = [
        "| | fitness, first quarter | second | third | last | tuned fitness (95% over seeds) | valid | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way, runs in found.items():
        rewards = np.array([[step["fitness"] for step in run["curve"]] for run in runs])
        parts = [f"{part.mean():.0f}" for part in np.array_split(rewards, 4, axis=1)]
        low, high = interval([run["tuned"] for run in runs])
        tuned = f"{np.mean([run['tuned'] for run in runs]):.0f} ({low:.0f}-{high:.0f})"
        valid, seconds = (np.mean([run[name] for run in runs]) for name in ("valid", "seconds"))
        lines.append(f"| {way} | {' | '.join(parts)} | {tuned} | {valid:.0%} | {seconds:.0f} |")
    untuned = np.mean([run["untuned"] for runs in found.values() for run in runs])
    programs = next(iter(found.values()))[0]["programs"]
    return "\n".join([*lines, "", f"{programs} programs a run; without a prompt {untuned:.0f}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "trlx", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "trlx.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=6")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in arguments.only}
    for seed in arguments.seeds:
        for way, runs in found.items():
            runs.append(outcome(way, seed, arguments.runs.resolve(), arguments.overrides))
    facts = {"trlx": "3340c2f with softprompt.trlx.compat", "seeds": arguments.seeds, "overrides": arguments.overrides}
    merge(arguments.out, facts | found)
    print(table(found))


if __name__ == "__main__":
    main()
