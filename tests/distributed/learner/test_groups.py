"""Programs compared within their terrain or their instruction; one reward a program, or one a token, in one step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distributed.config import MethodConfig
from distributed.learner.advantages import estimate, groups_of
from distributed.learner.batch import rewards_of
from distributed.rollout.scoring import TOLERANCE, WRONG_TOKEN_REWARDS, checked, token_rewards
from distributed.rollout.types import Rollouts
from terrains.base import Attempt, Score

pytestmark = pytest.mark.arithmetic

TERRAIN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
INSTRUCTION = torch.tensor([0, 0, 3, 3, 0, 3, 0, 3])
REWARDS = np.array([1.0, 3.0, 10.0, 20.0, 5.0, 0.0, 5.0, 8.0])
GROUPS = {"instruction": [[0, 1], [2, 3], [4, 6], [5, 7]], "terrain": [[0, 1, 2, 3], [4, 5, 6, 7]]}


def by_hand(estimator: str, rows: np.ndarray) -> np.ndarray:
    """Advantages of one group's programs, float64."""
    n, mean = len(rows), rows.mean()
    if estimator == "rloo":
        return np.array([r - (rows.sum() - r) / (n - 1) for r in rows])
    if estimator == "grpo":
        return (rows - mean) / (np.sqrt(((rows - mean) ** 2).sum() / (n - 1)) + 1e-4)
    if estimator == "dr_grpo":
        return rows - mean
    if (rows == rows[0]).all():
        return np.zeros(n)
    savage = np.array([sum(1 / (n - k) for k in range(rank + 1)) - 1 for rank in range(n)])
    return np.array([savage[(rows < r).sum() : (rows <= r).sum()].mean() for r in rows])


@pytest.mark.parametrize(("side_by_side", "kind"), [(1, "terrain"), (2, "instruction")])
@pytest.mark.parametrize("estimator", ["rloo", "grpo", "dr_grpo", "rank"])
def test_advantages_are_of_the_group_that_the_settings_ask_for(estimator: str, side_by_side: int, kind: str) -> None:
    method = MethodConfig(
        estimator="rloo" if estimator == "rank" else estimator,
        advantage_shaping="rank" if estimator == "rank" else "none",
        samples_per_instruction=side_by_side,
    )
    mask = torch.tensor([[True, True, k % 2 == 0] for k in range(8)])
    by_token = torch.zeros(8, 3, dtype=torch.float64)
    by_token[:, 0], by_token[:, 1] = torch.from_numpy(REWARDS) - 0.25, 0.25
    by_token[1::2, 2] = 99.0  # no token stands there
    group = groups_of(method, TERRAIN, INSTRUCTION)
    valid = torch.ones(8, dtype=torch.bool)
    found, returns = estimate(method, by_token, torch.zeros_like(by_token), mask, group, valid)
    expected = np.zeros(8)
    for rows in GROUPS[kind]:
        expected[rows] = by_hand(estimator, REWARDS[rows])
    np.testing.assert_allclose(found.numpy(), np.where(mask, expected[:, None], 0.0), rtol=1e-12, atol=1e-12)
    assert not returns.any()


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_reinforce_pp_whitens_over_all_and_shuts_the_groups_where_nothing_is_valid(side_by_side: int) -> None:
    method = MethodConfig(estimator="reinforce_pp", advantage_shaping="none", samples_per_instruction=side_by_side)
    valid = torch.tensor([False, False, True, False, True, True, True, True])
    rewards = torch.from_numpy(np.stack([REWARDS, np.zeros(8)], axis=1))
    group = groups_of(method, TERRAIN, INSTRUCTION)
    found, _ = estimate(method, rewards, torch.zeros_like(rewards), torch.ones(8, 2, dtype=torch.bool), group, valid)
    counts = np.ones((8, 2), dtype=bool)
    if side_by_side == 2:  # of terrain 0's first instruction no program is valid
        counts[:2] = False
    tokens = rewards.numpy()[counts]  # a token's reward to go: all of it before the first, nothing before the last
    variance = ((tokens - tokens.mean()) ** 2).sum() / (len(tokens) - 1)
    expected = np.where(counts, (rewards.numpy() - tokens.mean()) / np.sqrt(variance + 1e-8), 0.0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)


def answer(rows: list[list[bool]], rewards: list[float], dense: np.ndarray | None) -> Rollouts:
    mask = np.array(rows)
    b = len(rows)
    return Rollouts(
        0, 0, mask.astype(np.int64), mask, mask.astype(np.float32), np.zeros(b, dtype=np.int64), [""] * b,
        np.array(rewards)[:, None], np.zeros((b, 1)), [[None]] * b, token_rewards=dense,
    )  # fmt: skip


def test_one_reward_a_program_and_one_a_token_are_one_batch() -> None:
    mask = np.array([[True, True, False], [True, True, True], [False, False, False]])
    scores = [Score(0.75, 0.0, token_rewards=(0.25, 0.5)), Score(4.0, 0.0), Score(2.0, 0.0)]
    dense = token_rewards(scores, mask)
    assert dense is not None and dense.tolist() == [[0.25, 0.5, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]]
    assert token_rewards(scores[1:], mask[1:]) is None
    first = answer(mask.tolist(), [0.75, 4.0, 2.0], dense)
    second = answer([[True, False], [True, True], [False, False]], [7.0, -1.0, 3.0], None)
    assert rewards_of([first, second]).tolist() == [
        [0.25, 0.5, 0.0],
        [0.0, 0.0, 4.0],
        [0.0, 0.0, 0.0],
        [7.0, 0.0, 0.0],
        [0.0, -1.0, 0.0],
        [0.0, 0.0, 0.0],
    ]
    assert rewards_of([second]).tolist() == [7.0, -1.0, 3.0]


@pytest.mark.parametrize(
    ("score", "failure", "detail"),
    [
        (Score(3.0, 1.0, token_rewards=(1.0, 2.0)), None, ""),
        (Score(3.0, 1.0, token_rewards=(3.0,)), WRONG_TOKEN_REWARDS, "1 token rewards for 2 tokens"),
        (Score(3.0, 1.0, token_rewards=(1.0, 1.0, 1.0)), WRONG_TOKEN_REWARDS, "3 token rewards for 2 tokens"),
        (Score(4.0, 1.0, token_rewards=(1.0, 2.0)), WRONG_TOKEN_REWARDS, "token rewards add up to 3, the reward is 4"),
        (Score(3.0 + 2.9 * TOLERANCE, 1.0, token_rewards=(1.0, 2.0)), None, ""),
        (Score(3.0, 1.0, token_rewards=(float("nan"), 2.0)), "not_finite", "reward 3.0, fitness 1.0"),
    ],
)
def test_token_rewards_that_are_not_one_a_token_are_a_failure(score: Score, failure: str | None, detail: str) -> None:
    found = checked(score, Attempt("a", "x", 0, (5, 6)))
    assert (found.failure, found.detail) == (failure, detail)
    assert found.reward == (score.reward if failure is None else 0.0)
