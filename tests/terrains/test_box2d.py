"""The simulator agrees with Box2D within its chaos ceiling: how far Box2D agrees with itself on nudged joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from terrains.sodarace import physics
from terrains.sodarace.names import make_ground
from tests.terrains.box2d_reference import displacements, random_walkers, spearman

SECONDS = 10.0


def with_rods(walker, seed):
    return replace(walker, rigid=np.random.default_rng(seed).random(len(walker.rigid)) < 0.15)


@pytest.mark.parametrize(("name", "least"), [("flat", 0.97), ("bumpy", 0.93), ("tunnel(height=60)", 0.93)])
def test_ranks_of_100_random_walkers_agree_with_box2d(name, least):
    ground = make_ground(name)
    walkers = random_walkers(100, seed=0)
    theirs = displacements(walkers, ground, SECONDS)
    ours = physics.simulate(walkers, [ground] * len(walkers), SECONDS)
    assert spearman(ours, theirs) >= least
    assert np.median(np.abs(ours - theirs)) < 0.05 * theirs.std()


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
    rng = np.random.default_rng(5)
    nudged = [replace(w, joints=w.joints + rng.uniform(-0.01, 0.01, w.joints.shape) / 6.8) for w in walkers]
    theirs = displacements(walkers, ground)
    ceiling = spearman(theirs, displacements(nudged, ground))
    assert spearman(physics.simulate(walkers, [ground] * 100), theirs) >= min(ceiling, 0.95) - 0.06


def test_rods_agree_with_box2d():
    ground = make_ground("flat")
    walkers = [with_rods(w, k) for k, w in enumerate(random_walkers(60, seed=4))]
    theirs = displacements(walkers, ground, SECONDS)
    assert spearman(physics.simulate(walkers, [ground] * len(walkers), SECONDS), theirs) >= 0.9
