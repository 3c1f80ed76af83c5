"""MAP-Elites against random generation: coverage and QD score at equal numbers of evaluations, some seeds each.

Random generation draws every program from the styles; MAP-Elites begins so and then evolves. Both fill the archives of
the defaults of `terraprompt corpus`; walkers too slow to be elites count in neither.

    python benchmarks/compare_corpus.py    # six minutes on two cores; writes results/corpus.json and docs/corpus.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from record import RESULTS, merge
from rich.console import Console
from rich.table import Table

from distributed.config import RayConfig
from distributed.infra.ray_cluster import connect_ray
from distributed.jobs.corpus.ray_evaluator import RayEvaluator
from terrains.sodarace.map_elites.corpus import CorpusConfig
from terrains.sodarace.map_elites.evolution import Evolution
from terrains.sodarace.world import WorldConfig

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"MAP-Elites": {}, "random generation": {"drawn_share": 1.0}}
COLOURS = {"MAP-Elites": "#1b6ca8", "random generation": "#b0533c"}


def history(way: str, evaluations: int, seed: int) -> list[dict]:
    """Coverage and QD score of a run after each generation, by terrain."""
    config = CorpusConfig(evaluations=evaluations, seed=seed, **WAYS[way])
    evolution = Evolution(RayEvaluator(WorldConfig(cache=0), config.terrains), config)
    for generation in evolution.run():
        told = f"{generation.evaluated:,} evaluated, QD score {sum(generation.qd_score.values()):,.0f}"
        print(f"{way}, seed {seed}: {told}", flush=True)
    return [each | {"valid": evolution.valid, "corpus": len(evolution.corpus()[0])} for each in evolution.history]


def curves(histories: list[list[dict]]) -> dict:
    """What the runs came to, one number a seed; coverage and QD score after each generation, one list a seed."""
    ends = [each[-1] for each in histories]
    found: dict = {name: [end[name] for end in ends] for name in ("valid", "corpus", "elites")}
    found["evaluated"] = [each["evaluated"] for each in histories[0]]
    for key, digits in (("coverage", 4), ("qd_score", 0)):
        found[key] = {t: [[round(each[key][t], digits) for each in h] for h in histories] for t in ends[0][key]}
    return found


def table(ways: dict[str, dict]) -> Table:
    """Means over the seeds at the end."""
    rows = Table(box=None, pad_edge=False)
    rows.add_column("archive")
    for key in ("niches filled", "QD score"):
        for way in ways:
            rows.add_column(f"{key}\n{way}", justify="right")
    for name in next(iter(ways.values()))["coverage"]:
        coverage = [f"{np.mean(found['coverage'][name], 0)[-1]:.1%}" for found in ways.values()]
        rows.add_row(name, *coverage, *(f"{np.mean(found['qd_score'][name], 0)[-1]:,.0f}" for found in ways.values()))
    return rows


def draw(ways: dict[str, dict], path: Path) -> None:
    """Draws both figures over the evaluations, one column a terrain; thin lines are seeds, thick ones their means."""
    names = list(next(iter(ways.values()))["coverage"])
    figure, axes = plt.subplots(2, len(names), figsize=(3 * len(names), 5), sharex=True, sharey="row", squeeze=False)
    for column, name in enumerate(names):
        for row, (key, scale) in enumerate({"coverage": 100, "qd_score": 1e-3}.items()):
            for way, found in ways.items():
                evaluated, lines = np.array(found["evaluated"]) / 1000, np.array(found[key][name]) * scale
                axes[row][column].plot(evaluated, lines.T, color=COLOURS[way], lw=0.6, alpha=0.5)
                axes[row][column].plot(evaluated, lines.mean(0), color=COLOURS[way], lw=2, label=way)
            axes[row][column].spines[["top", "right"]].set_visible(False)
        axes[0][column].set_title(name.replace("_", " "))
        axes[1][column].set_xlabel("thousand evaluations")
    for row, label in enumerate(("niches with an elite, %", "QD score, thousands")):
        axes[row][0].set_ylabel(label)
        axes[row][0].set_ylim(bottom=0)
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "corpus.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "corpus.png")
    arguments = parser.parse_args()
    connect_ray(RayConfig())
    runs = {way: [history(way, arguments.evaluations, seed) for seed in range(arguments.seeds)] for way in WAYS}
    ways = {way: curves(histories) for way, histories in runs.items()}
    merge(arguments.out, {"evaluations": arguments.evaluations, "ways": ways})
    draw(ways, arguments.plot)
    Console().print(table(ways))


if __name__ == "__main__":
    main()
