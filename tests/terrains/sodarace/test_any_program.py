"""Whatever the programs are: one Score each, in order, the same every time."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from terrains.base import Attempt
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.score_cache import CHANCE
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.terrains.sodarace.any_programs import flipped, texts, trees

TERRAINS = ("flat", "tunnel", "left_wall")
PROGRAMS = {"texts": texts, "trees": trees, "flipped": flipped}
KNOWN = Attempt("flat", SEEDS["square"])
RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])
FEW = settings(RELAXED, max_examples=40, derandomize=True)
MANY = settings(RELAXED, max_examples=1000)


@pytest.fixture(scope="module")
def fresh():
    """A world that remembers nothing."""
    with SodaraceWorld(WorldConfig(seconds=0.5, threads=2, cache=0, min_fitness=0.01)) as world:
        yield world, world.score([KNOWN])[0]


def check(world, known, programs):
    """A known program stands before and behind every other one, so that a Score out of its place is seen."""
    attempts = [KNOWN]
    for k, program in enumerate(programs):
        attempts += [Attempt(TERRAINS[k % len(TERRAINS)], program), KNOWN]
    scores = world.score(attempts)
    assert len(scores) == len(attempts)
    assert scores[::2] == [known] * (len(programs) + 1)
    for score in scores:
        assert math.isfinite(score.reward) and math.isfinite(score.fitness) and score.fitness >= 0
        assert score.valid == (score.detail == "") == (score.reward == score.fitness / 100)
        assert score.detail.isprintable() and len(score.detail) <= 200
    for again, score in zip(world.score(attempts[::-1])[::-1], scores, strict=True):
        # A program that never ends and takes ever more memory meets the limit of time or that of memory, as it happens.
        assert again == score or {again.failure, score.failure} & CHANCE and again.reward == score.reward < 0


@pytest.mark.parametrize("kind", PROGRAMS)
def test_any_program_has_its_score_in_its_place(fresh, kind):
    @FEW
    @given(st.lists(PROGRAMS[kind], min_size=1, max_size=6))
    def holds(programs):
        check(*fresh, programs)

    holds()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", PROGRAMS)
def test_any_program_has_its_score_in_its_place_whatever_comes(fresh, kind):
    @MANY
    @given(st.lists(PROGRAMS[kind], min_size=1, max_size=12))
    def holds(programs):
        check(*fresh, programs)

    holds()
