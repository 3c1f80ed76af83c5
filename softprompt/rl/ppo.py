"""Proximal policy optimisation as pure functions, with trlx's formulas and trlx's names for what is logged.

Source: Schulman et al. 2017, arXiv 1707.06347, section 3 (clipped ratio); Ziegler et al. 2019, arXiv 1909.08593,
section 2.2 (KL in the reward); trlx 0.7.0, ``PPOConfig.loss`` (masks and averages).
"""

from __future__ import annotations

import torch
from torch import Tensor

from softprompt.rl.kl import k3

PolicyStats = dict[str, float]
"""What a step reports, under trlx's names."""


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean over cells where the mask holds, 0 where it holds nowhere; other cells may hold anything."""
    return torch.where(mask, x, 0).sum() / mask.sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns ``(x - mean) / sqrt(variance + 1e-8)``, the variance unbiased.

    Args:
        x: any shape.
        mask: cells that count; the others become 0. None counts padding too, as trlx does.
    """
    chosen = x if mask is None else x[mask]
    if chosen.numel() < 2:
        return torch.zeros_like(x)
    variance, mean = torch.var_mean(chosen)
    whitened = (x - mean) * torch.rsqrt(variance + 1e-8)
    return whitened if mask is None else torch.where(mask, whitened, 0)


def token_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Returns rewards, shape (b, l): ``-kl_coef (logp - logp_ref)``, and the scores added to that.

    One score a program is added on its last token, scores a token each on their own, as in trlx's ``make_experience``.
    There a list of scores may be shorter than the program and counts from its first token on, so that of a batch in
    which some programs have lists and others single scores these land on the first tokens. Here every list is as long
    as its program, and a single score stays on the last token.

    Args:
        scores: one per program, shape (b,), or one per token, shape (b, l), clipped and scaled.
        logprobs: of the policy, shape (b, l).
        ref_logprobs: of the reference, shape (b, l).
        mask: real tokens, right-padded, shape (b, l) bool.
        kl_coef: price of one nat.
    """
    rewards = torch.where(mask, -kl_coef * (logprobs - ref_logprobs), 0)
    if scores.ndim == 2:
        return rewards + torch.where(mask, scores, 0).to(rewards)
    last = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    return rewards.scatter_add(1, last, torch.where(mask.any(dim=1), scores, 0)[:, None].to(rewards))


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    cliprange: float,
    divisor: float | None = None,
) -> tuple[Tensor, PolicyStats]:
    """Returns the clipped surrogate loss.

    Args:
        logprobs: of the policy now, shape (b, l), differentiable.
        old_logprobs: of the policy that drew the tokens, shape (b, l).
        advantages: shape (b, l).
        mask: real tokens, shape (b, l) bool.
        cliprange: how far the ratio may go from 1 before its gradient ends.
        divisor: what the sum over tokens is divided by; None for the number of real tokens. A constant, such as b
            times the longest length there can be, makes long programs weigh as much as short ones token by token (Dr.
            GRPO, arXiv 2503.20783, section 3.2).
    """
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0)
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    count = mask.sum().clamp(min=1)
    loss = torch.where(mask, torch.maximum(plain, clipped), 0).sum() / (count if divisor is None else divisor)
    with torch.no_grad():
        stats = {
            "policy/approx_kl": masked_mean(k3(old_logprobs, logprobs), mask).item(),
            "policy/clipfrac": masked_mean((clipped > plain).float(), mask).item(),
            "ratio": masked_mean(ratio, mask).item(),
            "padding_percentage": 1 - mask.sum().item() / max(1, mask.numel()),
            "losses/policy_loss": loss.item(),
        }
    return loss, stats


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, cliprange_value: float
) -> tuple[Tensor, PolicyStats]:
    """Returns half the squared error of the critic, the worse of clipped and not.

    Args:
        values: of the critic now, shape (b, l), differentiable.
        old_values: of the critic when the rollouts were evaluated, shape (b, l).
        returns: what the values should be, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        cliprange_value: how far values may go from the old ones before their gradient ends.
    """
    clipped_values = torch.clamp(values, old_values - cliprange_value, old_values + cliprange_value)
    plain, clipped = (values - returns) ** 2, (clipped_values - returns) ** 2
    loss = 0.5 * masked_mean(torch.maximum(plain, clipped), mask)
    with torch.no_grad():
        stats = {
            "losses/value_loss": loss.item(),
            "values/values_error": masked_mean(plain, mask).item(),
            "values/clipfrac": masked_mean((clipped > plain).float(), mask).item(),
            **tensor_stats("values", values, mask),
            **tensor_stats("old_values", old_values, mask),
            **tensor_stats("returns", returns, mask),
        }
    return loss, stats


def tensor_stats(name: str, x: Tensor, mask: Tensor) -> PolicyStats:
    """Returns mean, min, max and (biased) std over masked-in cells under ``name/``; zeros where there are none."""
    chosen = x.detach()[mask]
    if chosen.numel() == 0:
        return {f"{name}/{key}": 0.0 for key in ("mean", "min", "max", "std")}
    std, mean = torch.std_mean(chosen, correction=0)
    return {
        f"{name}/mean": mean.item(),
        f"{name}/min": chosen.min().item(),
        f"{name}/max": chosen.max().item(),
        f"{name}/std": std.item(),
    }
