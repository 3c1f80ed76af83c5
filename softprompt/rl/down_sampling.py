"""Which of a step's programs are worth an update, where drawing is cheap and updates are dear."""

from __future__ import annotations

import torch
from torch import Tensor


def most_spread(rewards: Tensor, size: int) -> Tensor:
    """Returns the subset of programs whose rewards have the largest variance, as ascending indices.

    It consists of the lowest and the highest rewards, so that only the number of low ones is to be found (Xu et al.
    2025, Not All Rollouts are Useful, arXiv 2504.13818, section 3.2). Of two equally good subsets it is the one with
    fewer low ones.

    Args:
        rewards: one a program, shape (b,).
        size: how many are wanted; with b or more all are returned.
    """
    if size >= len(rewards):
        return torch.arange(len(rewards), device=rewards.device)
    order = rewards.argsort(stable=True)
    ranked = rewards[order].double()
    variances = torch.stack([_ends(ranked, low, size - low).var(correction=0) for low in range(size + 1)])
    return _ends(order, int(variances.argmax()), size - int(variances.argmax())).sort().values


def down_sampled(rewards: Tensor, group: Tensor, size: int) -> Tensor:
    """Returns which programs are learnt from, as ascending indices: of each group the same share, the most spread.

    Args:
        rewards: one a program, shape (b,).
        group: which programs are compared with one another, shape (b,) int64.
        size: how many of all b are wanted; each group keeps at least 2 of its own, if it has them.
    """
    chosen = []
    for name in group.unique():
        own = (group == name).nonzero().flatten()
        chosen.append(own[most_spread(rewards[own], max(2, round(size * len(own) / len(group))))])
    return torch.cat(chosen).sort().values


def _ends(values: Tensor, low: int, high: int) -> Tensor:
    return torch.cat([values[:low], values[len(values) - high :]])
