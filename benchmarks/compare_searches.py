"""Population-based training, random search and ASHA at equal rollouts, some seeds each, on the quickstart's terrains.

Each search is a process of its own, exactly as a person runs it. All make the same number of rounds, so that all
sample equally many programs; ASHA spreads them over more members. What is compared is the best member's final
evaluation, on programs that no search has chosen by. Searches that are there already are not made again.

    python benchmarks/compare_searches.py         # nine searches: an hour or more; writes results/searches.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from record import interval
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {"pbt": 4, "random": 4, "asha": 9}
WATCHED = ("method.n_soft_tokens", "method.initialize_from_vocab")


def search(algorithm: str, seed: int, rounds: int, folder: Path, overrides: list[str]) -> Path:
    """Runs a search unless it is there; returns its directory."""
    directory = folder / f"{algorithm}-{seed}"
    if not (directory / "summary.json").exists():
        again = ["--resume", str(directory)]
        settings = [
            f"search.algorithm={algorithm}",
            f"search.members={MEMBERS[algorithm]}",
            f"search.total_rounds={rounds}",
            "search.measure_surgery=false",
            f"train.seed={seed}",
            f"train.checkpoint_dir={folder}",
            f"train.run_name={directory.name}",
            "train.tracker=null",
            *overrides,
        ]
        anew = ["--config", str(ROOT / "configs" / "search_quickstart.yml"), *settings]
        command = [sys.executable, "-m", "distributed.search", *(again if directory.exists() else anew)]
        subprocess.run(command, cwd=ROOT, check=True)
    return directory


def outcome(directory: Path) -> dict[str, Any]:
    """What a search found."""
    found = json.loads((directory / "summary.json").read_text())
    final = json.loads((directory / "best" / "summary.json").read_text())["terrains"]
    return {
        "fitness": float(np.mean([each["tuned_mean"] for each in final.values()])),
        "by_terrain": {name: {"mean": t["tuned_mean"], "interval": t["tuned_interval"]} for name, t in final.items()},
        "untuned": float(np.mean([each["untuned_mean"] for each in final.values()])),
        "rollouts": found["rollouts"],
        "seconds": found["seconds"],
        "best": found["best"]["config"],
        "survivors": {name: found["survivors"].get(name, {}) for name in WATCHED},
        "resizes": found["resizes"],
    }


def show(found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(title="The best member's mean fitness, on programs no search has chosen by")
    for heading in ("algorithm", "mean", "95% over seeds", "by seed", "programs", "sizes", "born from the vocabulary"):
        table.add_column(heading, justify="left" if heading == "algorithm" else "right")
    for algorithm, outcomes in found.items():
        values = [each["fitness"] for each in outcomes]
        sizes = Counter(each["best"]["method.n_soft_tokens"] for each in outcomes)
        vocabulary = sum(each["best"]["method.initialize_from_vocab"] for each in outcomes)
        low, high = interval(values)
        table.add_row(
            algorithm,
            f"{np.mean(values):.1f}",
            f"{low:.0f}-{high:.0f}",
            " ".join(f"{value:.0f}" for value in values),
            f"{np.mean([each['rollouts'] for each in outcomes]):.0f}",
            ", ".join(f"{size} ({count}x)" for size, count in sorted(sizes.items())),
            f"{vocabulary} of {len(outcomes)}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=16, help="rounds of all members of a search together")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "searches", help="where the searches are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "searches.json")
    parser.add_argument("overrides", nargs="*", help="settings of all searches, such as method.num_rollouts=24")
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {algorithm: [] for algorithm in MEMBERS}
    for seed in arguments.seeds:
        for algorithm in MEMBERS:
            directory = search(algorithm, seed, arguments.rounds, arguments.runs.resolve(), arguments.overrides)
            runs[algorithm].append(outcome(directory))
    arguments.out.write_text(json.dumps({"seeds": arguments.seeds, "rounds": arguments.rounds} | runs, indent=2) + "\n")
    Console(width=120).print(show(runs))


if __name__ == "__main__":
    main()
