from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softprompt.rl.advantages import dr_grpo, gae, grpo, rank_advantages, reinforce_pp, rloo
from softprompt.rl.advantages.rank import savage_scores
from tests.accuracy import assert_rounded

pytestmark = pytest.mark.arithmetic

GROUPED = [rloo, grpo, dr_grpo, rank_advantages]
ALL = [*GROUPED, reinforce_pp]

TERRAIN = torch.tensor([7, 2, 7, 2, 7])
MASK = torch.arange(3) < torch.tensor([3, 1, 2, 3, 1])[:, None]


def rewards_of(totals: list[float], mask: torch.Tensor = MASK) -> torch.Tensor:
    """Rewards that sum to these totals over real tokens, with something to be ignored in the others."""
    rewards = torch.where(mask, 0.25, 1e6)
    rewards[:, 0] += torch.tensor(totals) - 0.25 * mask.sum(1)
    return rewards


def per_program(advantages: torch.Tensor, mask: torch.Tensor = MASK) -> torch.Tensor:
    """Advantages by program, after seeing that they are the same on all its tokens and zero elsewhere."""
    assert torch.equal(advantages, torch.where(mask, advantages[:, :1], 0))
    return advantages[:, 0]


def test_gae_golden_numbers():
    rewards = torch.tensor([[0.0, 1.0, 2.0], [3.0, 9.0, 9.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [1.0, 8.0, 8.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    # delta: 0 + .9 - .5 = .4, 1 + 1.35 - 1 = 1.35, 2 - 1.5 = .5; A_2 = .5, A_1 = 1.35 + .45 * .5, A_0 = .4 + .45 * A_1.
    assert_rounded(advantages, [[1.10875, 1.575, 0.5], [2.0, 0.0, 0.0]])
    assert_rounded(returns, [[1.60875, 2.575, 2.0], [3.0, 0.0, 0.0]])


def test_gae_without_a_critic_is_the_reward_to_go():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    advantages, _ = gae(rewards, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), gamma=1.0, lam=1.0)
    assert_rounded(advantages, [[7.0, 6.0, 4.0]])


def test_gae_returns_carry_no_gradient_to_the_critic():
    values = torch.zeros(1, 2, requires_grad=True)
    advantages, returns = gae(torch.ones(1, 2), values, torch.ones(1, 2, dtype=torch.bool))
    assert not advantages.requires_grad and not returns.requires_grad


def test_rloo_golden_numbers():
    advantages = per_program(rloo(rewards_of([1.0, 10.0, 2.0, 4.0, 6.0]), MASK, TERRAIN))
    # Terrain 7: 1 - 4, 2 - 3.5, 6 - 1.5; terrain 2: 10 - 4, 4 - 10.
    assert_rounded(advantages, [-3.0, 6.0, -1.5, -6.0, 4.5])


def test_grpo_golden_numbers():
    advantages = per_program(grpo(rewards_of([1.0, 10.0, 2.0, 4.0, 6.0]), MASK, TERRAIN, epsilon=0.0))
    # Terrain 7: mean 3, std sqrt(7); terrain 2: mean 7, std sqrt(18).
    a, b = math.sqrt(7), math.sqrt(18)
    assert_rounded(advantages, [-2 / a, 3 / b, -1 / a, -3 / b, 3 / a])


def test_dr_grpo_golden_numbers():
    advantages = per_program(dr_grpo(rewards_of([1.0, 10.0, 2.0, 4.0, 6.0]), MASK, TERRAIN))
    assert_rounded(advantages, [-2.0, 3.0, -1.0, -3.0, 3.0])


def test_reinforce_pp_whitens_rewards_to_go():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [5.0, 1e6, 1e6]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    advantages = reinforce_pp(rewards, mask, torch.tensor([0, 1]))
    # To go: 7, 6, 4 and 5; mean 5.5, unbiased variance 5/3.
    deviation = math.sqrt(5 / 3)
    assert_rounded(advantages, [[1.5 / deviation, 0.5 / deviation, -1.5 / deviation], [-0.5 / deviation, 0.0, 0.0]])


def test_rank_advantages_golden_numbers():
    advantages = per_program(rank_advantages(rewards_of([-1.0, 500.0, 2.0, 4.0, 2.0]), MASK, TERRAIN))
    # Savage scores of 3: 1/3 - 1, 1/3 + 1/2 - 1, 1/3 + 1/2 + 1 - 1; the upper two are tied. Of 2: -1/2, 1/2.
    tied = (-1 / 6 + 5 / 6) / 2
    assert_rounded(advantages, [-2 / 3, 0.5, tied, -0.5, tied])


def test_savage_scores_favour_the_top():
    scores = savage_scores(torch.arange(32.0))
    exact = [sum(1 / k for k in range(32 - rank, 33)) - 1 for rank in range(32)]
    assert_rounded(scores, exact)
    assert round(exact[-1], 4) == 3.0585
    assert (scores[1:] > scores[:-1]).all()


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_savage_scores_are_centred_and_follow_order(numbers):
    x = torch.tensor(numbers, dtype=torch.float64)
    scores = savage_scores(x)
    assert abs(scores.sum().item()) < 1e-9
    difference = (x[:, None] - x).sign()
    assert torch.equal((scores[:, None] - scores).sign(), difference)


@pytest.mark.parametrize("estimator", GROUPED)
def test_a_group_of_one_has_no_advantage(estimator):
    mask = torch.ones(3, 2, dtype=torch.bool)
    advantages = estimator(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]]), mask, torch.tensor([0, 1, 0]))
    assert torch.equal(advantages[1], torch.zeros(2))
    assert torch.isfinite(advantages).all() and advantages[0].any()


@pytest.mark.parametrize("estimator", ALL)
def test_a_batch_of_one_token_has_no_advantage(estimator):
    advantages = estimator(torch.tensor([[3.0]]), torch.tensor([[True]]), torch.tensor([0]))
    assert torch.equal(advantages, torch.zeros(1, 1))


@pytest.mark.parametrize("estimator", ALL)
def test_a_group_in_which_nothing_is_valid_has_no_advantage(estimator):
    rewards = rewards_of([-0.1, 3.0, -0.2, 2.0, -0.3])
    valid = torch.tensor([False, True, False, False, False])
    advantages = estimator(rewards, MASK, TERRAIN, valid)
    assert not advantages[TERRAIN == 7].any()
    assert advantages[TERRAIN == 2].any(dim=1).all()
    assert estimator(rewards, MASK, TERRAIN)[TERRAIN == 7].any()


def test_tokens_of_a_group_without_signal_do_not_count_in_whitening():
    rewards = rewards_of([-50.0, 3.0, -60.0, 2.0, -70.0])
    gated = reinforce_pp(rewards, MASK, TERRAIN, torch.tensor([False, True, False, True, False]))
    # To go in terrain 2: 3; and 2, 0.5, 0.25.
    to_go = np.array([[3.0, 0.0, 0.0], [2.0, 0.5, 0.25]])
    real = to_go[to_go > 0]
    exact = np.where(to_go > 0, (to_go - real.mean()) / real.std(ddof=1), 0)
    assert_rounded(gated[TERRAIN == 2], exact)
    assert_rounded(reinforce_pp(rewards[TERRAIN == 2], MASK[TERRAIN == 2], TERRAIN[TERRAIN == 2]), exact)


@pytest.mark.parametrize("estimator", GROUPED)
def test_a_mixed_batch_equals_its_terrains_one_by_one(estimator):
    rewards = rewards_of([1.0, 10.0, 2.0, 4.0, 6.0])
    together = estimator(rewards, MASK, TERRAIN)
    for terrain in (2, 7):
        rows = TERRAIN == terrain
        exact = estimator(rewards[rows].double(), MASK[rows], TERRAIN[rows])
        assert_rounded(together[rows], exact)
        assert_rounded(estimator(rewards[rows], MASK[rows], TERRAIN[rows]), exact)
