"""Generalised advantage estimation, for which a critic is needed."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Returns advantages, not whitened, and returns, both (b, l), zero where the mask is.

    ``delta_t = r_t + gamma V_{t+1} - V_t`` and ``A_t = delta_t + gamma lam A_{t+1}``, with nothing behind the last
    token; returns are ``A + V``.
    Source: Schulman et al. 2016, arXiv 1506.02438, section 3, as trlx's ``get_advantages_and_returns`` computes it.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        values: of the critic at each token, shape (b, l).
        mask: real tokens, right-padded, shape (b, l) bool.
        gamma: discount per token.
        lam: 1 trusts what happened, 0 trusts the critic.
    """
    rewards, values = torch.where(mask, rewards, 0), torch.where(mask, values.detach(), 0)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    advantage = torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        advantage = deltas[:, t] + gamma * lam * advantage
        advantages[:, t] = advantage
    return advantages, advantages + values
