"""What trlx computes from the same numbers: data/trlx_3340c2f.json has both, and record_trlx.py makes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from softprompt.logprobs.token_logprobs import token_logprobs
from softprompt.rl.advantages import gae
from softprompt.rl.kl import AdaptiveKLController, k3, make_kl_controller
from softprompt.rl.ppo import policy_loss, token_rewards, value_loss, whiten
from softprompt.rl.reward_scaling import RunningMoments, clip_scores, scale_scores

GOLDEN = json.loads((Path(__file__).parent / "data" / "trlx_3340c2f.json").read_text())


def tensor(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask_of(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def ids_and_logprobs(case: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Responses, right-padded, and their log-probabilities under both logits."""
    rows = case["responses"]
    ids = torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    logits = (tensor(case[name])[:, :-1].log_softmax(-1) for name in ("logits", "ref_logits"))
    return ids, *(each.gather(2, ids[..., None])[..., 0] for each in logits)


def padded(rows: list[list[float]], width: int) -> torch.Tensor:
    return tensor([row + [0.0] * (width - len(row)) for row in rows])


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


def test_coefficients():
    case = GOLDEN["kl_controller"]
    controller = make_kl_controller(case["init_kl_coef"], case["target"], case["horizon"])
    fixed = make_kl_controller(case["init_kl_coef"], None, case["horizon"])
    for update in case["updates"]:
        controller.update(update["kl"], case["n"])
        fixed.update(update["kl"], case["n"])
        assert controller.value == pytest.approx(update["value"], rel=1e-14)
        assert fixed.value == update["fixed"]


def test_rewards_of_tokens_and_the_divergence_in_them():
    case = GOLDEN["token_rewards"]
    ids, logprobs, ref_logprobs = ids_and_logprobs(case)
    close(logprobs, tensor(case["logprobs"]))
    scores = clip_scores(tensor(case["scores"]), case["cliprange_reward"])
    mask = torch.ones_like(ids, dtype=torch.bool)
    close(token_rewards(scores, logprobs, ref_logprobs, mask, case["kl_coef"]), tensor(case["rewards"]))
    kl = k3(ref_logprobs, logprobs)
    assert kl.sum(1).mean().item() == pytest.approx(case["mean_kl"], rel=1e-12)


@pytest.mark.parametrize("kind", GOLDEN["dense_rewards"]["kinds"])
def test_scores_of_each_token_are_clipped_noted_by_their_sums_and_divided(kind):
    case = GOLDEN["dense_rewards"]
    moments, first = RunningMoments(), None
    for step, expected in zip(case["steps"], case["kinds"][kind], strict=True):
        ids, logprobs, ref_logprobs = ids_and_logprobs(step)
        mask = mask_of([len(row) for row in step["responses"]])
        close(logprobs * mask, padded(expected["logprobs"], ids.shape[1]))
        scores = clip_scores(padded(step["scores"], ids.shape[1]), case["cliprange_reward"])
        moments.update(scores.sum(1))
        assert (moments.mean, moments.std) == pytest.approx((expected["running_mean"], expected["running_std"]))
        first = first or scores.sum(1).std().item()
        scores = scale_scores(scores, {"running": moments.std, "ref": first, "ignored": 1.0}[kind])
        rewards = token_rewards(torch.zeros(len(ids)), logprobs, ref_logprobs, mask, case["kl_coef"]) + scores
        close(rewards, padded(expected["rewards"], ids.shape[1]))


def test_a_whole_batch_from_logits_to_the_loss():
    case = GOLDEN["whole_batch"]
    ids, logprobs, ref_logprobs = ids_and_logprobs(case)
    mask = torch.ones_like(ids, dtype=torch.bool)
    scores, moments = clip_scores(tensor(case["scores"]), case["cliprange_reward"]), RunningMoments()
    moments.update(scores.sum(1))
    rewards = token_rewards(torch.zeros(len(ids)), logprobs, ref_logprobs, mask, case["kl_coef"])
    rewards += scale_scores(scores, moments.std)
    close(rewards, tensor(case["rewards"]))
    values = tensor(case["values"])[:, :-1]
    advantages, returns = gae(rewards, values, mask, case["gamma"], case["lam"])
    close(returns, tensor(case["returns"]))
    close(whiten(advantages), tensor(case["advantages"]))
    policy, _ = policy_loss(tensor(case["new_logprobs"]), logprobs, whiten(advantages), mask, case["cliprange"])
    value, _ = value_loss(tensor(case["new_values"]), values, returns, mask, case["cliprange_value"])
    close(policy, tensor(case["policy_loss"]))
    close(value, tensor(case["value_loss"]))
    close(policy + case["vf_coef"] * value, tensor(case["loss"]))
    kl = k3(ref_logprobs, logprobs).sum(1).mean().item()
    assert kl == pytest.approx(case["mean_kl"], rel=1e-12)
    controller = AdaptiveKLController(case["kl_coef"], case["target"], case["horizon"])
    controller.update(kl, len(ids))
    assert controller.value == pytest.approx(case["next_kl_coef"], rel=1e-14)
