"""Bringing scores to a size that suits the KL penalty: trlx's ``cliprange_reward`` and ``scale_reward``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class RunningMoments:
    """Mean and standard deviation of all numbers seen so far (Chan, Golub, LeVeque 1979, pairwise update of moments).

    Attributes:
        mean: their mean, 0 before the first.
        std: their unbiased standard deviation, 1 before the second.
        count: how many there were.
    """

    def __init__(self) -> None:
        """Starts with nothing seen."""
        self.mean = 0.0
        self.count = 0
        self._squares = 0.0

    @property
    def std(self) -> float:
        """Unbiased standard deviation."""
        return (self._squares / (self.count - 1)) ** 0.5 if self.count > 1 else 1.0

    def update(self, x: Tensor) -> None:
        """Takes in more numbers, any shape."""
        n = x.numel()
        if n == 0:
            return
        variance, mean = (moment.item() for moment in torch.var_mean(x.double(), correction=0))
        delta, total = mean - self.mean, self.count + n
        self._squares += variance * n + delta**2 * self.count * n / total
        self.mean += delta * n / total
        self.count = total

    def state_dict(self) -> dict[str, float]:
        """Returns what :meth:`load_state_dict` takes."""
        return {"mean": self.mean, "count": self.count, "squares": self._squares}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues where another instance was."""
        self.mean, self.count, self._squares = state["mean"], int(state["count"]), state["squares"]


def clip_scores(scores: Tensor, cliprange_reward: float | None) -> Tensor:
    """Returns scores within +-cliprange_reward; None or 0 leaves them as they are."""
    return scores.clamp(-cliprange_reward, cliprange_reward) if cliprange_reward else scores


def log_scores(scores: Tensor, unit: float) -> Tensor:
    """Returns ``sign(x) log(1 + |x| / unit)``: about linear below the unit, by factors above it, signs kept.

    Source: Webber 2012, "A bi-symmetric log transformation for wide-range data", Measurement Science and Technology 24.

    Args:
        scores: any shape.
        unit: above 0.
    """
    return scores.sign() * (scores.abs() / unit).log1p()


def scale_by_terrain(scores: Tensor, terrain: Tensor, deviations: Sequence[float]) -> Tensor:
    """Returns each score over its own terrain's deviation, so that easy terrains do not drown hard ones.

    Args:
        scores: one per program, shape (b,), or one per token, shape (b, l).
        terrain: each program's terrain, shape (b,) int64.
        deviations: by terrain; as in :func:`scale_scores`, one that is 0 or not finite divides nothing.
    """
    usable = [each if 0 < each < float("inf") else 1.0 for each in deviations]
    divisors = torch.tensor(usable, dtype=scores.dtype, device=scores.device)[terrain]
    return scores / (divisors if scores.ndim == 1 else divisors[:, None])


def scale_scores(scores: Tensor, std: float) -> Tensor:
    """Returns scores over a standard deviation; as they are where it is 0 or not finite (one score, or all equal)."""
    return scores / std if 0 < std < float("inf") else scores


class RewardScaling:
    """Brings rewards to the size that settings ask for, and keeps the moments that this takes.

    Args:
        n_terrains: how many terrains there are.
        scale: divides by the deviation of all scores so far (``running``), of those of the program's terrain
            (``terrain``), or of the first scores (``ref``); anything else does not.
        cliprange: of the scores, as for `clip_scores`.
        ref_std: the deviation that ``ref`` divides by; None for that of the first scores that differ.
        log_unit: takes logarithms first, as `log_scores` does; None does not.

    Attributes:
        moments: of all programs' scores so far, clipped.
    """

    def __init__(
        self,
        n_terrains: int,
        scale: str | bool | None,
        cliprange: float | None,
        ref_std: float | None = None,
        log_unit: float | None = None,
    ) -> None:
        self._scale, self._cliprange, self._log_unit = scale, cliprange, log_unit
        self.moments = RunningMoments()
        self._by_terrain = [RunningMoments() for _ in range(n_terrains)]
        self._given_std = self._ref_std = ref_std

    def __call__(self, rewards: Tensor, terrain: Tensor) -> Tensor:
        """Returns scores: logarithms where they are asked for, then in trlx's order clipped, taken note of and divided.

        Of rewards a token each, every one is clipped by itself; the deviation that divides them is that of the
        programs' sums of clipped rewards. So does trlx's ``make_experience``.

        Args:
            rewards: one per program, shape (b,), or one per token, shape (b, l), 0 where there is no token.
            terrain: each program's terrain, shape (b,) int64.
        """
        if self._log_unit is not None:
            rewards = log_scores(rewards, self._log_unit)
        clipped = clip_scores(rewards, self._cliprange)
        sums = clipped if clipped.ndim == 1 else clipped.sum(dim=1)
        self.moments.update(sums)
        for k, moments in enumerate(self._by_terrain):
            moments.update(sums[terrain == k])
        if self._ref_std is None and len(sums) > 1:
            # Where all scores are equal there is nothing to divide by: the first that differ count.
            self._ref_std = float(sums.std()) or None
        if self._scale == "running":
            return scale_scores(clipped, self.moments.std)
        if self._scale == "terrain":
            return scale_by_terrain(clipped, terrain, [moments.std for moments in self._by_terrain])
        if self._scale == "ref":
            return scale_scores(clipped, self._ref_std or 1.0)
        return clipped

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` takes."""
        return {
            "all": self.moments.state_dict(),
            "terrains": [each.state_dict() for each in self._by_terrain],
            "ref_std": self._ref_std,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where another one was."""
        self.moments.load_state_dict(state["all"])
        for moments, saved in zip(self._by_terrain, state["terrains"], strict=True):
            moments.load_state_dict(saved)
        self._ref_std = self._given_std or state.get("ref_std")
