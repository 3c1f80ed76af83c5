"""Rank advantages: only the order of a group's programs counts, and most of all who is first."""

from __future__ import annotations

import torch
from torch import Tensor

from softprompt.rl.advantages.groups import Groups, broadcast_to_tokens, program_rewards


def rank_advantages(rewards: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None) -> Tensor:
    """Returns advantages, shape (b, l): Savage scores of the programs' rewards within their group.

    Where a few programs are many times better than the rest, rewards as they are let one program decide the step's
    size, and standardised ones drown in its variance; ranks do neither.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: each program's group, shape (b,) int64; see :class:`.Groups`.
        valid: which programs are valid, shape (b,) bool; see :func:`.broadcast_to_tokens`.
    """
    groups = Groups(group)
    totals = program_rewards(rewards, mask)
    advantages = torch.zeros_like(totals)
    for index in range(len(groups.sizes)):
        members = groups.index == index
        advantages[members] = savage_scores(totals[members])
    return broadcast_to_tokens(advantages, mask, groups, valid)


def savage_scores(x: Tensor) -> Tensor:
    """Returns centred scores of the ranks of x, shape (n,) to (n,): long at the top, short at the bottom.

    The score of rank r out of n, counted from the lowest, is ``1/n + 1/(n-1) + ... + 1/(n-r+1) - 1``: what the r-th
    smallest of n draws from an exponential distribution is expected to be, less its mean (Savage 1956, Annals of
    Mathematical Statistics 27). The best of 32 gets 3.06, the worst -0.97, the sum is 0. Equal entries share the mean
    score of their ranks, so if all are equal, all get 0.

    Args:
        x: any numbers, shape (n,).
    """
    n = len(x)
    scores = (1 / torch.arange(n, 0, -1, dtype=x.dtype, device=x.device)).cumsum(0) - 1
    _, tie, counts = x.unique(return_inverse=True, return_counts=True)  # sorted, so a tie's ranks are consecutive
    tie_of_rank = torch.arange(len(counts), device=x.device).repeat_interleave(counts)
    tied = scores.new_zeros(len(counts)).index_add(0, tie_of_rank, scores)
    return (tied / counts)[tie] if len(counts) > 1 else torch.zeros_like(x)
