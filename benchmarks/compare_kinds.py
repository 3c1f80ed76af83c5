"""Whether a network writes the kinds of walkers that it is asked for, on terrains that it never saw.

The run is one of a network with several prompts a terrain; for example the one that compare_ten.py leaves behind:

    python benchmarks/compare_ten.py --seeds 0 --prompts ten -- method.prompts_per_terrain=4 method.replay_from=spread
    python benchmarks/compare_kinds.py runs/ten/method.prompts_per_terrain=4_method.replay_from=spread/ten-12-0

Kinds that are asked for are some of those learnt, or lie half-way between two of them, where none may be.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, merge
from rich.console import Console
from rich.table import Table

from distributed.results.run_folder import open_run
from softprompt import GenerationConfig, Sampler, SampleRequest, load_network
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.prompts.ten import TerrainEmbeddingNetwork
from terrains.base import Attempt
from terrains.sodarace.canonical import NICHES
from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, sample_terrains
from terrains.sodarace.world import SodaraceWorld, WorldConfig


def kinds(learnt: np.ndarray, count: int, between: bool, chance: np.random.Generator) -> np.ndarray:
    """Points to ask for, shape (count, 3): different ones of those learnt, or half-way between two different ones."""
    if not between:
        return learnt[chance.choice(len(learnt), count, replace=False)]
    return np.stack([learnt[chance.choice(len(learnt), 2, replace=False)].mean(axis=0) for _ in range(count)])


def measure(
    network: TerrainEmbeddingNetwork, lm: FrozenLM, world: SodaraceWorld, between: bool, a: argparse.Namespace
) -> dict[str, Any]:
    """What was asked for against what was written."""
    assert network.points is not None
    learnt = np.unique(network.points.flatten(0, 1).numpy(), axis=0)
    chance, sampler = np.random.default_rng(a.seed), Sampler(lm, GenerationConfig())
    asked, written, fitness = [], [], []
    for k, name in enumerate(sample_terrains(DRAWN_FAMILIES, a.terrains, (0.0, 0.5), "held_out", a.seed)):
        terrain, points = world.terrain(name), kinds(learnt, a.kinds, between, chance)
        prompts = network.prompts_for(torch.from_numpy(terrain.features)[None], torch.from_numpy(points))
        ids = instruction_ids(lm, terrain.instruction)
        requests = [SampleRequest(m, ids, a.samples, 1000 * (k + 1) + m) for m in range(a.kinds)]
        drawn = sampler.sample(prompts, requests)
        tokens = [row[kept].tolist() for row, kept in zip(drawn.ids, drawn.mask, strict=True)]
        texts = program_texts(lm.tokenizer, [terrain.instruction] * len(tokens), drawn.instructions, tokens)
        for row, score in enumerate(world.score([Attempt(name, text) for text in texts])):
            fitness.append(score.fitness)
            if score.failure is None:
                asked.append(points[row // a.samples])
                written.append(NICHES.scaled(np.array(score.descriptors)))
    wanted, found = np.array(asked), np.array(written)
    pairs = zip(NICHES.names, wanted.T, found.T, strict=True)
    return {
        "mean": float(np.mean(fitness)),
        "valid": len(asked) / len(fitness),
        "correlation": {name: float(np.corrcoef(ours, theirs)[0, 1]) for name, ours, theirs in pairs},
        "off_by": float(np.abs(wanted - found).mean()),
        "off_by_of_others": float(np.abs(chance.permutation(wanted) - found).mean()),
    }


def show(found: dict[str, Any]) -> Table:
    table = Table(title="Kinds asked for against kinds written, on terrains never seen")
    for heading in ("kinds", "mean fitness", "valid", *NICHES.names, "off by", "of others"):
        table.add_column(heading, justify="left" if heading == "kinds" else "right")
    for name, each in found.items():
        correlations = [f"{value:.2f}" for value in each["correlation"].values()]
        off = [f"{each[key]:.3f}" for key in ("off_by", "off_by_of_others")]
        table.add_row(name, f"{each['mean']:.0f}", f"{each['valid']:.0%}", *correlations, *off)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--terrains", type=int, default=32, help="none of which the network has seen")
    parser.add_argument("--kinds", type=int, default=8, help="asked of each terrain")
    parser.add_argument("--samples", type=int, default=4, help="programs a kind")
    parser.add_argument("--seed", type=int, default=0, help="decides terrains, kinds and programs")
    parser.add_argument("--out", type=Path, default=RESULTS / "kinds.json")
    a = parser.parse_args()
    run = open_run(a.run)
    network, _ = load_network(run.path)
    if network.points is None:
        parser.error("the run's network has one prompt a terrain: it needs method.prompts_per_terrain above 1")
    lm = run.load_policy()
    with SodaraceWorld(WorldConfig(seconds=20, threads=0)) as world:
        found = {
            name: measure(network, lm, world, between, a)
            for name, between in (("learnt", False), ("half-way between two", True))
        }
    merge(a.out, {run.path.name: {"terrains": a.terrains, "kinds": a.kinds, "samples": a.samples, **found}})
    Console(width=110).print(show(found))


if __name__ == "__main__":
    main()
