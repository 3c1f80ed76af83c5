"""Rewards that variety asks for: what is paid, to whom, and that nothing changes where nothing is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distributed.config.method import MethodConfig
from distributed.errors import UserError
from distributed.learner.variety import VarietyRewards
from distributed.rollout.types import Rollouts
from softprompt.rl.archive import CellArchive, CellElite
from terrains.niches import Niches

GRID = Niches(names=("tall", "wide"), cells=(2, 2), low=(0, 0), high=(1, 1))
POINTS = np.array([[0.0, 0.0], [0.1, 0.1], [1.0, 1.0], [np.nan, np.nan], [0.0, 0.0], [1.0, 0.0]])
TERRAIN = np.array([0, 0, 0, 0, 1, 1])
IDENTITY = np.array([7, 7, 8, 9, 7, 7])
REWARDS = torch.tensor([4.0, 2.0, 3.0, -1.0, 5.0, 1.0])
IDS, MASK = torch.tensor([[1, 2], [1, 3], [4, 5], [1, 2], [1, 2], [6, 0]]), torch.ones(6, 2, dtype=torch.bool)


def step():
    n = len(TERRAIN)
    failures = [["broken"] if np.isnan(point).any() else [None] for point in POINTS]
    zeros = np.zeros((n, 1))
    return [
        Rollouts(0, 0, IDS.numpy(), MASK.numpy(), np.zeros((n, 2), np.float32), TERRAIN, list("xxzwxy"), zeros, zeros,
                 failures, descriptors=POINTS, identity=IDENTITY)
    ]  # fmt: skip


def paid(rewards=REWARDS, archive=None, **settings):
    variety = VarietyRewards(MethodConfig(**settings), GRID)
    group = torch.from_numpy(TERRAIN)
    found = variety(rewards, step(), (IDS, MASK), group, archive or CellArchive(2))
    return (*found, variety)


def test_without_settings_rewards_stay_and_variety_is_still_told():
    rewards, stats, _ = paid()
    assert rewards is REWARDS
    assert stats == {"variety/unique": 4 / 6, "variety/repeat_discount": 0.0}


@pytest.mark.parametrize(
    ("by", "shares"),
    [
        ("outcome", [1 / 2, 1 / 2, 1, 1, 1 / 2, 1 / 2]),
        ("program", [1 / 2, 1 / 2, 1, 1, 1, 1]),
        ("cell", [1 / 2, 1 / 2, 1, 1, 1, 1]),
    ],
)
def test_repeats_share_a_reward_and_failures_keep_theirs(by, shares):
    rewards, _, _ = paid(repeat_discount=1.0, repeats_by=by)
    assert rewards.tolist() == pytest.approx([r * s for r, s in zip(REWARDS.tolist(), shares, strict=True)])


def test_rewards_a_token_are_shared_token_by_token():
    dense = torch.stack([REWARDS / 2, REWARDS / 2], dim=1)
    rewards, _, _ = paid(dense, repeat_discount=1.0)
    assert rewards.sum(1).tolist() == pytest.approx(paid(repeat_discount=1.0)[0].tolist())


def test_the_discount_is_steered_after_it_was_used():
    rewards, stats, variety = paid(unique_target=1.0)
    assert rewards.tolist() == REWARDS.tolist() and stats["variety/repeat_discount"] == 0
    assert variety.controller.value == pytest.approx(0.2)


def test_distance_in_descriptors_multiplies_rewards():
    rewards, stats, _ = paid(distinct_by="descriptors")
    far, near = 1.0, 0.1
    wanted = [4 * (near + far) / 3, 2 * (near + 0.9) / 3, 3 * (far + 0.9) / 3, -1, 5 / 2**0.5, 1 / 2**0.5]
    assert rewards.tolist() == pytest.approx(wanted)
    assert 0 < stats["variety/distinctness"] < 1


def test_distance_in_tokens_multiplies_rewards():
    rewards, _, _ = paid(distinct_by="tokens")
    shares = [(0.5 + 1 + 0) / 3, (0.5 + 1 + 0.5) / 3, 1, None, 1, 1]
    assert rewards.tolist() == pytest.approx([r * s if s else r for r, s in zip(REWARDS.tolist(), shares, strict=True)])


def test_novelty_is_paid_to_valid_programs_far_from_their_own_terrains_archive():
    archive = CellArchive(2)
    archive.add(0, CellElite((1,), 1.0, cell=0, descriptors=(0.0, 0.0)))
    rewards, stats, _ = paid(archive=archive, novelty_weight=2.0)
    added = [0.0, 2 * 0.1, 2.0, 0.0, 2.0, 2.0]
    assert rewards.tolist() == pytest.approx([r + a for r, a in zip(REWARDS.tolist(), added, strict=True)])
    assert stats["variety/novelty"] == pytest.approx(sum(added) / 2 / 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("repeats_by", "cell"), ("distinct_by", "descriptors"), ("novelty_weight", 1.0), ("replay_from", "cells")],
)
def test_a_world_without_descriptors_cannot_be_asked_for_them(name, value):
    with pytest.raises(UserError, match=f"^method.{name}: it needs descriptors, and the world has no niches$"):
        VarietyRewards(MethodConfig(**{name: value}), None)


def test_evolution_strategies_take_rewards_as_they_are():
    with pytest.raises(ValueError, match="es compares rewards as they are"):
        MethodConfig(estimator="es", repeat_discount=1.0)
