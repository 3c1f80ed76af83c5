"""Rewards for variety: what a program earns depends on how much it is like the others that were drawn with it.

Each function takes the programs of a step and which group each belongs to, those that are compared with one another.
"""

from __future__ import annotations

import torch
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist
from torch import Tensor

MOST = 4.0
"""Beyond this exponent a repeat earns next to nothing already."""


def repeats(identity: Tensor, group: Tensor) -> Tensor:
    """Returns how many programs of its group each program is the same as, itself included, shape (b,) int64.

    Args:
        identity: numbers that programs share if they are the same, shape (b,) int64.
        group: each program's group, shape (b,) int64.
    """
    pairs = torch.stack([group, identity], dim=1)
    _, index, counts = pairs.unique(dim=0, return_inverse=True, return_counts=True)
    return counts[index]


def unique_share(identity: Tensor, group: Tensor) -> float:
    """Returns the number of different programs of each group, summed, as a share of all, in (0, 1]; 1 of nothing."""
    pairs = torch.stack([group, identity], dim=1)
    return len(pairs.unique(dim=0)) / len(pairs) if len(pairs) else 1.0


def scaled(rewards: Tensor, share: Tensor) -> Tensor:
    """Returns rewards of which each program keeps a share; what is below zero stays, as it would be made better.

    Args:
        rewards: one a program, shape (b,), or one a token, shape (b, l).
        share: of each program, in [0, 1], shape (b,).
    """
    factor = share.to(rewards).view(-1, *[1] * (rewards.ndim - 1))
    return torch.where(rewards > 0, rewards * factor, rewards)


def sharing(count: Tensor, exponent: float) -> Tensor:
    """Returns the share of its reward that a program keeps which stands k times in its group: 1 / k^a, shape (b,).

    With a = 1 the programs that are the same share one reward, as in fitness sharing (Goldberg & Richardson 1987).

    Args:
        count: k of each program, shape (b,) int64; see :func:`repeats`.
        exponent: a; at 0 repeats cost nothing.
    """
    return count.to(torch.get_default_dtype()).pow(-exponent)


class RepeatController:
    """The exponent of :func:`sharing`, steered to a wanted share of unique programs.

    It moves as a KL coefficient does, by an error that is clipped to 0.2 (Ziegler et al. 2019, arXiv 1909.08593,
    section 2.2); by sums instead of products, so that it can leave zero.

    Attributes:
        value: the exponent, in [0, 4].
        target: the share of unique programs that is asked for, None for an exponent that stays.
        rate: how far the exponent moves in a step, for an error of 1.
    """

    def __init__(self, value: float, target: float | None = None, rate: float = 1.0) -> None:
        """Takes the first exponent, the target and the rate."""
        self.value, self.target, self.rate = value, target, rate

    def update(self, unique: float) -> None:
        """Moves the exponent.

        Args:
            unique: share of unique programs of a step, in [0, 1].
        """
        if self.target is not None:
            error = min(max(1 - unique / self.target, -0.2), 0.2)
            self.value = min(max(self.value + self.rate * error, 0.0), MOST)

    def state_dict(self) -> dict[str, float]:
        """Returns what :meth:`load_state_dict` takes."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues where another controller was."""
        self.value = state["value"]


def edit_distances(ids: Tensor, mask: Tensor) -> Tensor:
    """Returns how far programs are from one another, shape (b, b) float64, in [0, 1].

    It is the least number of tokens put in, left out or replaced, over the longer one's length (Levenshtein 1966).

    Args:
        ids: tokens, shape (b, l) int64.
        mask: real tokens, shape (b, l) bool.
    """
    rows = [tuple(row[kept].tolist()) for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]
    return torch.from_numpy(cdist(rows, rows, scorer=Levenshtein.normalized_distance, dtype="float64"))


def point_distances(points: Tensor, others: Tensor) -> Tensor:
    """Returns how far points are from others, shape (b, n) float64, over the longest that is possible in a unit cube.

    Args:
        points: descriptors as shares of their extents, shape (b, d), in [0, 1]; a row of NaN is 0 from everything.
        others: the same, shape (n, d).
    """
    longest = max(points.shape[1], 1) ** 0.5
    apart = torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return (apart / longest).nan_to_num(0.0)


def distinctness(distances: Tensor) -> Tensor:
    """Returns how far each program of a group is from its others on average, shape (b,); 1 for a group of one.

    A reward times this is quality times distinctness, as in Darling (Li et al. 2025, arXiv 2509.02534), where a
    classifier tells which answers are alike. Groups are not divided by their deviation there, so take dr_grpo or rloo.

    Args:
        distances: between all programs of one group, shape (b, b), in [0, 1], 0 on the diagonal.
    """
    others = len(distances) - 1
    return distances.sum(dim=1) / others if others else torch.ones(len(distances), dtype=distances.dtype)


def novelty(distances: Tensor, neighbours: int) -> Tensor:
    """Returns the mean distance of each program to the nearest of those known already, shape (b,).

    Source: Lehman & Stanley 2011, Abandoning Objectives, section 3.

    Args:
        distances: to each of n known programs, shape (b, n); 1 each where none is known.
        neighbours: how many of them count; of fewer all do.
    """
    if not distances.shape[1]:
        return torch.ones(len(distances), dtype=distances.dtype)
    nearest = distances.topk(min(neighbours, distances.shape[1]), dim=1, largest=False).values
    return nearest.mean(dim=1)
