"""How fast our simulator is beside Box2D's Python binding, and how far the two agree: one core, one run.

The two engines take turns on the same walkers (12 joints, 25 springs) on the same ground (200 segments), so that
whatever else the machine does slows both. Times are processor seconds of this process.

    python benchmarks/bench_simulator.py            # about a minute; writes benchmarks/results/simulator.json
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from record import RESULTS, merge
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the reference lives in the tests, which are not installed

from terrains.sodarace import physics  # noqa: E402
from terrains.sodarace.ground.geometry import Ground  # noqa: E402
from terrains.sodarace.ground.names import make_ground  # noqa: E402
from terrains.sodarace.walker import Walker  # noqa: E402
from tests.terrains.sodarace.box2d_reference import displacements, random_walkers, spearman  # noqa: E402

SEGMENTS = 200
JOINTS, SPRINGS = 12, 25
SECONDS = 20.0
AGREEMENT_SECONDS = 10.0


def rolling_ground() -> Ground:
    """A floor of 200 sloping segments: every bucket has some, and nodes are on slopes all the time."""
    x = np.linspace(-990.0, 990.0, SEGMENTS + 1)
    y = 4.0 * np.sin(x / 23.0) + 3.0 * np.sin(x / 9.7 + 1.0) + np.random.default_rng(1).uniform(-1.0, 1.0, len(x))
    return Ground(np.stack([x, y], axis=1))


def processor_seconds(run: Callable[[], np.ndarray]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def speeds(walkers: list[Walker], ground: Ground, rounds: int) -> dict[str, float]:
    """Walkers per second of both engines, each the median over rounds in which they take turns."""
    grounds = [ground] * len(walkers)
    physics.simulate(walkers, grounds, 1.0)  # compiles
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(processor_seconds(lambda: physics.simulate(walkers, grounds, SECONDS)))
        theirs.append(processor_seconds(lambda: displacements(walkers, ground, SECONDS)))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "walkers_per_second": len(walkers) / median(ours),
        "box2d_walkers_per_second": len(walkers) / median(theirs),
        "box2d_ratio": median(ratios),
        "box2d_ratio_least": min(ratios),
        "box2d_ratio_greatest": max(ratios),
    }


def agreement(walkers: list[Walker], ground: Ground) -> dict[str, float]:
    """Rank correlation of displacement between the engines, and of Box2D with itself when joints move by 1e-3."""
    rng = np.random.default_rng(5)
    nudged = [
        Walker(w.joints + rng.uniform(-1e-3, 1e-3, w.joints.shape), w.muscles, w.amplitude, w.phase, w.rigid)
        for w in walkers
    ]
    theirs = displacements(walkers, ground, AGREEMENT_SECONDS)
    ours = physics.simulate(walkers, [ground] * len(walkers), AGREEMENT_SECONDS)
    return {
        "spearman": spearman(ours, theirs),
        "ceiling": spearman(theirs, displacements(nudged, ground, AGREEMENT_SECONDS)),
    }


def measure(walkers: int, rounds: int) -> dict[str, object]:
    bodies = random_walkers(walkers, 0, JOINTS, SPRINGS)
    many = random_walkers(200, 1, JOINTS, SPRINGS)
    found: dict[str, object] = {k: round(v, 2) for k, v in speeds(bodies, rolling_ground(), rounds).items()}
    for name in ("flat", "bumpy"):
        agreed = agreement(many, make_ground(name))
        found[f"spearman_{name}"] = round(agreed["spearman"], 3)
        found[f"spearman_{name}_ceiling"] = round(agreed["ceiling"], 3)
    return found | {
        "joints": JOINTS,
        "springs": SPRINGS,
        "segments": SEGMENTS,
        "seconds_simulated": SECONDS,
        "seconds_simulated_for_spearman": AGREEMENT_SECONDS,
        "walkers": walkers,
        "walkers_for_spearman": len(many),
        "rounds": rounds,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }


def show(found: dict[str, object]) -> Table:
    table = Table(title=f"{JOINTS} joints, {SPRINGS} springs, {SEGMENTS} segments, {SECONDS:g} s simulated, one core")
    for heading in ("", "ours", "Box2D"):
        table.add_column(heading, justify="left" if not heading else "right")
    speed, other = found["walkers_per_second"], found["box2d_walkers_per_second"]
    least, greatest = found["box2d_ratio_least"], found["box2d_ratio_greatest"]
    table.add_row("walkers per second", f"{speed}", f"{other}")
    table.add_row(f"times as fast (rounds: {least} to {greatest})", f"{found['box2d_ratio']}", "1")
    for name in ("flat", "bumpy"):
        agreed, ceiling = found[f"spearman_{name}"], found[f"spearman_{name}_ceiling"]
        table.add_row(f"Spearman with Box2D, {name}, {AGREEMENT_SECONDS:g} s", f"{agreed}", f"{ceiling}")
    table.caption = (
        "Box2D's Spearman is with itself, joints moved by 1e-3 units: the most that chaos leaves to agree on."
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walkers", type=int, default=100, help="walkers of one round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which the engines take turns")
    parser.add_argument("--out", type=Path, default=RESULTS / "simulator.json")
    arguments = parser.parse_args()
    found = measure(arguments.walkers, arguments.rounds)
    merge(arguments.out, found)
    Console().print(show(found))


if __name__ == "__main__":
    main()
