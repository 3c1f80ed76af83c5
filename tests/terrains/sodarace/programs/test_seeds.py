"""The classic seed walkers."""

from __future__ import annotations

import pytest

from terrains.base import Attempt
from terrains.sodarace.ground.families import FAMILIES
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.world import SodaraceWorld

SIZES = {
    "square": (5, 8),
    "radial": (9, 16),
    "wheel": (9, 32),
    "cppn_fixed": (24, 96),
    "cppn_mutable": (24, 96),
    "runner": (40, 417),
    "galloper": (31, 96),
}


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_have_the_classic_sizes(world, name):
    walker = world.walker(SEEDS[name])
    assert (len(walker.joints), len(walker.muscles)) == SIZES[name]
    assert walker.amplitude.any()


def test_seeds_use_both_forms_of_add_muscle(world):
    assert world.walker(SEEDS["galloper"]).rigid.any()
    assert "False, " not in SEEDS["square"] and "False, " in SEEDS["wheel"]


def test_every_seed_begins_with_the_instruction_and_moves_on_every_terrain():
    world = SodaraceWorld()
    try:
        attempts = [Attempt(t, p) for p in SEEDS.values() for t in FAMILIES]
        scores = world.score(attempts)
        instruction = world.terrain("flat").instruction
    finally:
        world.close()
    assert all(p.startswith(instruction) for p in SEEDS.values())
    assert [s.failure for s in scores] == [None] * len(attempts)
    fitness = [
        tuple(round(s.fitness, 3) for s in scores[k : k + len(FAMILIES)]) for k in range(0, len(scores), len(FAMILIES))
    ]
    assert len(set(fitness)) == len(SEEDS), "no two seeds move alike"
