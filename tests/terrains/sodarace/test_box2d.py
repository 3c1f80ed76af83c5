"""The simulator agrees with Box2D within its chaos ceiling: how far Box2D agrees with itself on nudged joints.

Ours computes in float64 and without reordering, so that its numbers are the same on every processor
(tests/terrains/sodarace/test_physics.py); what Box2D gives depends on how its float32 was compiled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from terrains.sodarace import physics
from terrains.sodarace.ground.names import make_ground
from tests.terrains.sodarace.box2d_reference import displacements, random_walkers, spearman

pytestmark = pytest.mark.arithmetic

SECONDS = 10.0


def with_rods(walker, seed):
    return replace(walker, rigid=np.random.default_rng(seed).random(len(walker.rigid)) < 0.15)


def nudged(walkers, by):
    """The same walkers, their joints moved by up to so many world units."""
    rng = np.random.default_rng(5)
    return [replace(w, joints=w.joints + rng.uniform(-by, by, w.joints.shape) / physics.PROGRAM_UNIT) for w in walkers]


def assert_ranks_agree(walkers, ground):
    """Asserts that ours are ranked nearly as Box2D ranks them, as it does itself when joints move a little."""
    theirs = displacements(walkers, ground, SECONDS)
    again = displacements(nudged(walkers, 1e-3), ground, SECONDS)
    ours = physics.simulate(walkers, [ground] * len(walkers), SECONDS)
    assert 1 - spearman(ours, theirs) <= 4 * max(1 - spearman(again, theirs), 0.004)
    limit = 4 * max(np.median(np.abs(again - theirs)), 0.005 * theirs.std())
    assert np.median(np.abs(ours - theirs)) <= limit


@pytest.mark.parametrize("name", ["flat", "bumpy", "tunnel(height=60)"])
def test_ranks_of_100_random_walkers_agree_with_box2d(name):
    assert_ranks_agree(random_walkers(100, seed=0), make_ground(name))


def test_a_body_in_the_air_moves_as_in_box2d_to_the_float32_digit():
    """Before anything touches the ground nothing is chaotic, and the laws of springs and damping must be the same."""
    ground = make_ground("flat")
    for walker in random_walkers(5, seed=3):
        ours = physics.simulate([walker], [ground], 4 / 60)[0]
        assert displacements([walker], ground, 4 / 60)[0] == pytest.approx(ours, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "bumpy"])
def test_agreement_over_a_whole_run_is_within_the_chaos_ceiling(name):
    ground = make_ground(name)
    walkers = random_walkers(100, seed=0)
    theirs = displacements(walkers, ground)
    ceiling = spearman(theirs, displacements(nudged(walkers, 0.01), ground))
    assert spearman(physics.simulate(walkers, [ground] * 100), theirs) >= min(ceiling, 0.95) - 0.06


def test_rods_agree_with_box2d():
    assert_ranks_agree([with_rods(w, k) for k, w in enumerate(random_walkers(60, seed=4))], make_ground("flat"))
