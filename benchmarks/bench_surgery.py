"""What changing a prompt's size costs: divergence and fitness behind surgery, with and without distillation.

A member of a search is trained for each size that is carried away from, on the quickstart's terrains; heirs of other
sizes then take it over, exactly as in a population.

    python benchmarks/bench_surgery.py            # some minutes; writes benchmarks/results/surgery.json
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from distributed.config import RunConfig
from distributed.config.load import load_config
from distributed.config.worlds import make_world, world_factory
from distributed.infra.ray_cluster import connect_ray
from distributed.learner.learner import Learner
from distributed.observability.console import Display
from distributed.observability.tracker import Tracker
from distributed.rollout.instructions import all_instruction_ids
from distributed.search.member import Member, Population
from distributed.training.loop import TrainingLoop
from distributed.training.setup import load_lm, make_pool, terrain_names

ROOT = Path(__file__).resolve().parents[1]
RESIZES = [(20, 8), (8, 20), (20, 50), (4, 1)]


def settings_of(config: RunConfig, size: int) -> dict[str, Any]:
    """Settings of a member with that many soft tokens; all else is the configuration's."""
    return {"method.n_soft_tokens": size, "optimizer.kwargs.lr": config.optimizer.kwargs.lr}


def measure(config: RunConfig) -> list[dict[str, Any]]:
    """Trains the donors, lets heirs take them over, and returns one row a resize."""
    connect_ray(config.ray)
    lm = load_lm(config)
    with closing(make_world(config)) as world:
        terrains = terrain_names(world, config)
        tasks = tuple(world.terrain(name) for name in terrains)
    instructions = tuple(all_instruction_ids(lm, tasks))
    model = ray.put(lm.export())
    rows = []
    with make_pool(config, terrains, instructions, model) as pool:
        display = Display(terrains, Console(quiet=True), live=False)
        loop = TrainingLoop(config, terrains, Learner(config, lm, instructions, tasks), pool, Tracker(), display)
        loop.advance()
        common = (tuple(terrains), instructions, world_factory(config), model, loop.state_dict())
        member = Member(Population(config, *common, tasks=tasks), lm, pool)
        donors: dict[int, dict[str, Any]] = {}
        for old, new in track(RESIZES, description="resizes", console=Console(stderr=True)):
            if old not in donors:
                member.begin(0, settings_of(config, old))
                while not member.done:
                    member.round()
                donors[old] = member.state_dict()
            member.begin(1, settings_of(config, new))
            member.load_state_dict(donors[old])
            event = member.inherited
            assert event is not None
            names = ("kl_surgery", "kl_distilled", "fitness_donor", "fitness_surgery", "fitness_distilled")
            rows.append({"from": old, "to": new} | {name: event[name] for name in names})
    untuned = float(np.mean(loop.untuned["fitness"])) if loop.untuned else 0.0
    return [row | {"fitness_untuned": untuned} for row in rows]


def show(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Prompts carried to another size: nats a token from the donor, and mean fitness")
    for heading in ("rows", "KL, surgery", "distilled", "untuned", "donor", "surgery", "distilled", "of donor"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['from']} to {row['to']}",
            f"{row['kl_surgery']:.3f}",
            f"{row['kl_distilled']:.3f}",
            f"{row['fitness_untuned']:.1f}",
            f"{row['fitness_donor']:.1f}",
            f"{row['fitness_surgery']:.1f}",
            f"{row['fitness_distilled']:.1f}",
            f"{row['fitness_distilled'] / row['fitness_donor']:.0%}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "search_quickstart.yml")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "surgery.json")
    parser.add_argument("overrides", nargs="*", help="settings, such as search.evaluation_samples=128")
    arguments = parser.parse_args()
    fixed = ["search.evaluation_samples=64", "rollouts.workers=2", "rollouts.cpus_per_worker=1", "train.tracker=null"]
    config = load_config(arguments.config, [*fixed, *arguments.overrides])
    rows = measure(config)
    found = {"config": config.model_dump(mode="json", by_alias=True), "resizes": rows}
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    Console(width=110).print(show(rows))


if __name__ == "__main__":
    main()
