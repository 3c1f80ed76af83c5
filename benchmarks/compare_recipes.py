"""What each part of the quickstart's recipe is worth: runs with one setting changed, at equal rollouts and seeds.

Each run is a process of its own, exactly as a person runs it; runs that are there already are not made again, and one
that was interrupted goes on. What is compared is the final evaluation of the tuned prompts, on fresh programs.

    python benchmarks/compare_recipes.py                  # 75 runs, about 40 seconds each; writes results/recipes.json
    python benchmarks/compare_recipes.py --only quickstart grpo --seeds 0
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, check_recipes, interval, merge
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
RECIPES: dict[str, list[str]] = {
    "quickstart": [],
    "nothing tried elsewhere": [],
    "no warm start": ["warm_start.steps=0"],
    "PPO alone": ["warm_start.steps=0", "method.replay_weight=0", "method.replay_steps=0"],
    "imitation alone": ["optimizer.kwargs.lr=1e-9"],
    "born from an elite": ["warm_start.init_from_elite=true"],
    "born at random": ["method.initialize_from_vocab=false"],
    "no replay": ["method.replay_weight=0", "method.replay_steps=0"],
    "replay of one elite": ["method.replay_size=1"],
    "replay of four elites": ["method.replay_size=4"],
    "closing": ["method.closing_steps=60"],
    "two passes": ["method.ppo_epochs=2"],
    "groups half as large": ["method.num_rollouts=20", "train.batch_size=20", "train.total_steps=64"],
    "groups twice as large": ["method.num_rollouts=80", "train.batch_size=80", "train.total_steps=16"],
    "rewards as they are": ["method.advantage_shaping=none"],
    "rewards by running scale": ["method.advantage_shaping=none", "method.scale_reward=terrain"],
    "logarithms of rewards": ["method.advantage_shaping=log"],
    "grpo": ["method.advantage_shaping=none", "method.estimator=grpo"],
    "dr_grpo": ["method.advantage_shaping=none", "method.estimator=dr_grpo"],
    "reinforce_pp": ["method.advantage_shaping=none", "method.estimator=reinforce_pp"],
    "gae": ["method.advantage_shaping=none", "method.estimator=gae"],
    "es": ["method.estimator=es", "method.num_rollouts=48", "train.total_steps=27"],
    "8 rows": ["method.n_soft_tokens=8"],
    "50 rows": ["method.n_soft_tokens=50"],
    "residual": ["method.reparameterize=residual"],
}
"""Settings that differ from the quickstart's. Estimators are compared on rewards as they are: where rewards are ranked,
the ranks are the advantages. All but the quickstart itself try nothing elsewhere."""


def outcome(recipe: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Makes a run unless it is there; returns what it reached."""
    directory = folder / f"{recipe.replace(' ', '_')}-{seed}"
    if not (directory / "summary.json").exists():
        settings = [f"train.seed={seed}", f"train.checkpoint_dir={folder}", f"train.run_name={directory.name}"]
        alone = [] if recipe == "quickstart" else ["method.replay_transfer=0"]
        anew = ["train.tracker=null", *settings, *alone, *RECIPES[recipe], *overrides]
        again = ["--resume", str(directory)] if (directory / "config.json").exists() else []
        command = [sys.executable, "-m", "distributed.train", "--config", str(ROOT / "configs" / "quickstart.yml")]
        subprocess.run([*command, *again, *anew], cwd=ROOT, check=True)
    found = json.loads((directory / "summary.json").read_text())
    terrains = found["terrains"]
    return {
        "fitness": float(np.mean([each["tuned_mean"] for each in terrains.values()])),
        "untuned": float(np.mean([each["untuned_mean"] for each in terrains.values()])),
        "unique": float(np.mean([each["tuned_unique"] for each in terrains.values()])),
        "by_terrain": {name: each["tuned_mean"] for name, each in terrains.items()},
        "rollouts": found["rollouts"],
        "seconds": found["seconds"],
    }


def show(found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(title="Mean fitness of the tuned prompts, one setting changed at a time")
    for heading in ("recipe", "mean", "95% over seeds", "by seed", "unique", "programs"):
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    for recipe, runs in found.items():
        values = [run["fitness"] for run in runs]
        low, high = interval(values)
        table.add_row(
            recipe,
            f"{np.mean(values):.0f}",
            f"{low:.0f}-{high:.0f}",
            " ".join(f"{value:.0f}" for value in values),
            f"{np.mean([run['unique'] for run in runs]):.0%}",
            f"{np.mean([run['rollouts'] for run in runs]):.0f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(RECIPES), metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "recipes", help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "recipes.json")
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as train.total_steps=16")
    arguments = parser.parse_args()
    check_recipes(parser, arguments.only, RECIPES)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
    for seed in arguments.seeds:
        for name, outcomes in runs.items():
            outcomes.append(outcome(name, seed, arguments.runs.resolve(), arguments.overrides))
            merge(arguments.out, {"seeds": arguments.seeds, "overrides": arguments.overrides} | runs)
    Console(width=120).print(show(runs))


if __name__ == "__main__":
    main()
