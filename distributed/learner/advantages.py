"""From the rewards of a step's programs to advantages: shaping, scaling, estimator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distributed.config import MethodConfig
from softprompt.rl.advantages import dr_grpo, gae, grpo, rank_advantages, reinforce_pp, rloo
from softprompt.rl.ppo import whiten
from softprompt.rl.reward_scaling import RunningMoments, clip_scores, log_scores, scale_by_terrain, scale_scores

GROUPED = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo, "reinforce_pp": reinforce_pp}


class RewardScaling:
    """Brings rewards to the size that the settings ask for, and keeps the moments that this takes.

    Args:
        method: settings of the method.
        n_terrains: how many terrains there are.

    Attributes:
        moments: of all scores so far, clipped.
    """

    def __init__(self, method: MethodConfig, n_terrains: int) -> None:
        self._method = method
        self.moments = RunningMoments()
        self._by_terrain = [RunningMoments() for _ in range(n_terrains)]
        self._ref_std = method.ref_std

    def __call__(self, rewards: Tensor, terrain: Tensor) -> Tensor:
        """Returns scores: logarithms where they are asked for, then in trlx's order clipped, taken note of and divided.

        Args:
            rewards: one per program, shape (b,).
            terrain: each program's terrain, shape (b,) int64.
        """
        method = self._method
        if method.advantage_shaping == "log":
            rewards = log_scores(rewards, method.log_unit)
        clipped = clip_scores(rewards, method.cliprange_reward)
        self.moments.update(clipped)
        for k, moments in enumerate(self._by_terrain):
            moments.update(clipped[terrain == k])
        if self._ref_std is None and len(clipped) > 1:
            # Where all scores are equal there is nothing to divide by: the first that differ count.
            self._ref_std = float(clipped.std()) or None
        if method.scale_reward == "running":
            return scale_scores(clipped, self.moments.std)
        if method.scale_reward == "terrain":
            return scale_by_terrain(clipped, terrain, [moments.std for moments in self._by_terrain])
        if method.scale_reward == "ref":
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
        self._ref_std = self._method.ref_std or state.get("ref_std")


def estimate(
    method: MethodConfig, rewards: Tensor, values: Tensor, mask: Tensor, terrain: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns advantages and what the critic should have said (zeros without one), each (b, l).

    Args:
        method: settings of the method.
        rewards: of each token, shape (b, l).
        values: the critic's, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        terrain: each program's terrain, shape (b,) int64.
        valid: which programs are valid, shape (b,) bool.
    """
    if method.estimator == "gae":
        advantages, returns = gae(rewards, values, mask, method.gamma, method.lam)
        return whiten(advantages, mask), returns
    if method.advantage_shaping == "rank":
        return rank_advantages(rewards, mask, terrain, valid), torch.zeros_like(rewards)
    return GROUPED[method.estimator](rewards, mask, terrain, valid), torch.zeros_like(rewards)
