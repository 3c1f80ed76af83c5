"""What trlx computes from the same numbers: tests/data/trlx_golden.json has both, and says how they were made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from softprompt.logprobs.token_logprobs import token_logprobs
from softprompt.rl.advantages import gae
from softprompt.rl.kl import AdaptiveKLController, k3
from softprompt.rl.ppo import policy_loss, token_rewards, value_loss, whiten
from softprompt.rl.reward_scaling import RunningMoments, clip_scores

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "trlx_golden.json").read_text())


def tensor(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask_of(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_advantages_and_returns():
    case = GOLDEN["advantages"]
    mask = mask_of(case["lengths"])
    advantages, returns = gae(tensor(case["rewards"]), tensor(case["values"]), mask, case["gamma"], case["lam"])
    close(advantages, tensor(case["advantages"]))
    close(returns, tensor(case["returns"]))
    close(whiten(advantages), tensor(case["whitened"]))


def test_whitening():
    close(whiten(tensor(GOLDEN["whiten"]["x"])), tensor(GOLDEN["whiten"]["whitened"]))


def test_loss_its_parts_and_its_gradients():
    case = GOLDEN["loss"]
    mask, stats = mask_of(case["lengths"]), case["stats"]
    logprobs, values = tensor(case["logprobs"]).requires_grad_(), tensor(case["values"]).requires_grad_()
    old_logprobs, old_values = tensor(case["old_logprobs"]), tensor(case["old_values"])
    policy, ours = policy_loss(logprobs, old_logprobs, tensor(case["advantages"]), mask, case["cliprange"])
    value, more = value_loss(values, old_values, tensor(case["returns"]), mask, case["cliprange_value"])
    loss = policy + case["vf_coef"] * value
    close(loss.detach(), tensor(case["loss"]))
    gradients = torch.autograd.grad(loss, [logprobs, values])
    close(gradients[0], tensor(case["logprobs_gradient"]))
    close(gradients[1], tensor(case["values_gradient"]))
    ours |= more
    # trlx divides approx_kl by all cells, padding included, and its shares are of type float32.
    ours["policy/approx_kl"] *= mask.float().mean().item()
    names = stats.keys() & ours.keys()
    assert len(names) == 20
    assert {name: ours[name] for name in names} == pytest.approx({name: stats[name] for name in names}, rel=1e-6)


def test_logprobs_of_labels():
    case = GOLDEN["logprobs_of_labels"]
    logits, labels = tensor(case["logits"]), torch.tensor(case["labels"])
    vocabulary = torch.eye(logits.shape[-1], dtype=torch.float64)
    found = token_logprobs(logits.flatten(0, 1), vocabulary, None, labels.flatten())
    torch.testing.assert_close(found.double(), tensor(case["logprobs"]).flatten(), rtol=1e-6, atol=1e-6)


def test_running_moments():
    moments = RunningMoments()
    for update in GOLDEN["running_moments"]["updates"]:
        moments.update(tensor(update["numbers"]))
        # trlx begins with 1e-24 numbers instead of none.
        assert (moments.mean, moments.std) == pytest.approx((update["mean"], update["std"]), rel=1e-12)


def test_adaptive_coefficient():
    case = GOLDEN["kl_controller"]
    controller = AdaptiveKLController(case["init_kl_coef"], case["target"], case["horizon"])
    for update in case["updates"]:
        controller.update(update["kl"], case["n"])
        assert controller.value == pytest.approx(update["value"], rel=1e-14)


def test_rewards_of_tokens_and_the_divergence_in_them():
    case = GOLDEN["token_rewards"]
    logits, ref_logits, ids = tensor(case["logits"]), tensor(case["ref_logits"]), torch.tensor(case["responses"])
    logprobs, ref_logprobs = (
        every[:, :-1].log_softmax(-1).gather(2, ids[..., None])[..., 0] for every in (logits, ref_logits)
    )
    close(logprobs, tensor(case["logprobs"]))
    scores = clip_scores(tensor(case["scores"]), case["cliprange_reward"])
    mask = torch.ones_like(ids, dtype=torch.bool)
    close(token_rewards(scores, logprobs, ref_logprobs, mask, case["kl_coef"]), tensor(case["rewards"]))
    kl = k3(ref_logprobs, logprobs)
    assert kl.sum(1).mean().item() == pytest.approx(case["mean_kl"], rel=1e-12)
