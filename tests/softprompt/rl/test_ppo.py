"""Golden numbers worked out by hand from the formulas; those of trlx itself are in test_trlx_golden.py."""

from __future__ import annotations

import math

import pytest
import torch

from softprompt.rl.ppo import masked_mean, policy_loss, tensor_stats, token_rewards, value_loss, whiten
from softprompt.rl.reward_scaling import RunningMoments, clip_scores, log_scores, scale_by_terrain, scale_scores
from tests.accuracy import assert_rounded

pytestmark = pytest.mark.arithmetic

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_masked_mean_ignores_what_the_mask_hides():
    x = torch.tensor([[1.0, 2.0, 6.0], [3.0, math.nan, math.inf]])
    assert masked_mean(x, MASK).item() == 3.0
    assert masked_mean(x, torch.zeros_like(MASK)).item() == 0.0


def test_policy_loss_golden_numbers():
    ratios = torch.tensor([[1.5, 0.5, 1.1], [0.5, 1.0, 1.0]])
    advantages = torch.tensor([[2.0, 1.0, -1.0], [-4.0, 100.0, 100.0]])
    loss, stats = policy_loss(ratios.log(), torch.zeros(2, 3), advantages, MASK, cliprange=0.2)
    # max(-A r, -A clip(r)): -2.4 (clipped at 1.2), -0.5, 1.1, 3.2 (clipped at 0.8).
    assert_rounded(loss, (-2.4 - 0.5 + 1.1 + 3.2) / 4, ulps=16)
    assert stats["policy/clipfrac"] == 0.5
    assert_rounded(stats["ratio"], 0.9)
    assert_rounded(stats["padding_percentage"], 2 / 6)
    expected_kl = sum(r - 1 - math.log(r) for r in (1.5, 0.5, 1.1, 0.5)) / 4
    assert_rounded(1 + stats["policy/approx_kl"], 1 + expected_kl)  # as large as the ratios are


def test_policy_gradient_ends_where_the_ratio_is_clipped():
    logprobs = torch.tensor([[1.5, 1.1, 0.5, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, 1.0, -1.0, 1.0]])
    policy_loss(logprobs, torch.zeros(1, 4), advantages, torch.ones(1, 4, dtype=torch.bool), 0.2)[0].backward()
    assert_rounded(logprobs.grad, [[0.0, -1.1 / 4, 0.0, -0.5 / 4]])


def test_divisor_replaces_the_number_of_tokens():
    arguments = torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3), MASK, 0.2
    assert policy_loss(*arguments)[0].item() == -1.0
    assert policy_loss(*arguments, divisor=8.0)[0].item() == -0.5


def test_value_loss_golden_numbers():
    values = torch.tensor([[1.0, 0.3, 0.0], [2.0, 9.0, 9.0]])
    old_values = torch.tensor([[0.0, 0.2, 1.0], [1.9, 0.0, 0.0]])
    returns = torch.tensor([[1.0, 0.0, 0.0], [0.0, 5.0, 5.0]])
    loss, stats = value_loss(values, old_values, returns, MASK, cliprange_value=0.2)
    # max of plain and clipped: (0.2 - 1)^2, 0.3^2, 0.8^2, 2^2; clipped is the worse twice.
    assert_rounded(loss, 0.5 * (0.64 + 0.09 + 0.64 + 4.0) / 4)
    assert stats["values/clipfrac"] == 0.5
    assert_rounded(stats["values/values_error"], (0 + 0.09 + 0 + 4) / 4)
    assert_rounded([stats["values/max"], stats["old_values/max"]], [2.0, 1.9], ulps=1)


def test_whitening_golden_numbers():
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    # Masked: mean 2.5, unbiased variance 5/3. Over the padded batch: mean 10/6, unbiased variance 8/3.
    masked = torch.tensor([[-1.5, -0.5, 0.5], [1.5, 0.0, 0.0]]).double() / math.sqrt(5 / 3)
    assert_rounded(whiten(x, MASK), masked * MASK)
    assert_rounded(whiten(x), (x.double() - 10 / 6) / math.sqrt(8 / 3))


def test_whitening_one_number_is_zero():
    assert torch.equal(whiten(torch.tensor([[5.0, 9.0]]), torch.tensor([[True, False]])), torch.zeros(1, 2))


def test_token_rewards_golden_numbers():
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -7.0, -7.0], [-7.0, -7.0, -7.0]])
    ref_logprobs = torch.tensor([[-2.0, -2.0, -1.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    mask = torch.cat([MASK, torch.zeros(1, 3, dtype=torch.bool)])
    rewards = token_rewards(torch.tensor([5.0, -3.0, 9.0]), logprobs, ref_logprobs, mask, kl_coef=0.1)
    assert_rounded(rewards, [[-0.1, 0.0, 5.2], [-3.1, 0.0, 0.0], [0.0, 0.0, 0.0]], ulps=1)


def test_scores_are_clipped_and_scaled():
    clipped = clip_scores(torch.tensor([-30.0, 4.0, 30.0]), 10.0)
    assert_rounded(scale_scores(clipped, 4.0), [-2.5, 1.0, 2.5], ulps=1)
    scores = torch.tensor([-30.0, 30.0])
    assert torch.equal(clip_scores(scores, None), scores)
    assert torch.equal(scale_scores(scores, 0.0), scores)


def test_running_moments_equal_those_of_all_numbers_together():
    x = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 3 + 5
    moments = RunningMoments()
    for part in x.split([1, 7, 0, 20, 12]):
        moments.update(part)
    assert moments.count == 40
    assert_rounded([moments.mean, moments.std], [x.double().mean(), x.double().std()], ulps=1)
    copy = RunningMoments()
    copy.load_state_dict(moments.state_dict())
    assert (copy.mean, copy.std, copy.count) == (moments.mean, moments.std, moments.count)


def test_one_number_has_no_deviation_to_scale_by():
    moments = RunningMoments()
    moments.update(torch.tensor([7.0]))
    assert (moments.mean, moments.std) == (7.0, 1.0)


def test_tensor_stats_of_real_cells_only():
    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, 99.0, -99.0]])
    stats = tensor_stats("values", x, MASK)
    expected = {"values/mean": 2.0, "values/min": 1.0, "values/max": 3.0, "values/std": 0.5**0.5}
    assert stats.keys() == expected.keys()
    assert_rounded([stats[name] for name in expected], list(expected.values()))
    assert set(tensor_stats("values", x, torch.zeros_like(MASK)).values()) == {0.0}


def test_logarithms_of_scores_keep_sign_and_order_and_turn_factors_into_sums():
    scores = torch.tensor([-0.1, 0.0, 0.001, 1.0, 10.0, 100.0])
    shaped = log_scores(scores, 0.1)
    assert shaped[0] == -math.log(2) and shaped[1] == 0 and bool((shaped.diff() > 0).all())
    assert shaped[2] == pytest.approx(0.01, rel=0.01)
    assert shaped[5] - shaped[4] == pytest.approx(math.log(10), rel=0.01)


def test_each_terrain_is_scaled_by_its_own_deviation():
    scores, terrain = torch.tensor([2.0, 30.0, 4.0, 5.0]), torch.tensor([0, 1, 0, 2])
    assert scale_by_terrain(scores, terrain, [2.0, 10.0, 0.0]).tolist() == [1.0, 3.0, 2.0, 5.0]
