"""From the rewards of a step's programs to advantages: the scaling and the estimator that the settings name."""

from __future__ import annotations

import torch
from torch import Tensor

from distributed.config import MethodConfig
from softprompt.rl.advantages import dr_grpo, gae, grpo, rank_advantages, reinforce_pp, rloo
from softprompt.rl.ppo import whiten
from softprompt.rl.reward_scaling import RewardScaling

GROUPED = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo, "reinforce_pp": reinforce_pp}


def make_scaling(method: MethodConfig, n_terrains: int) -> RewardScaling:
    """Returns what brings rewards to the size that the settings ask for."""
    return RewardScaling(
        n_terrains,
        method.scale_reward,
        method.cliprange_reward,
        method.ref_std,
        log_unit=method.log_unit if method.advantage_shaping == "log" else None,
    )


def groups_of(method: MethodConfig, terrain: Tensor, instruction: Tensor) -> Tensor:
    """Returns which programs are compared with one another, shape (b,) int64.

    They are those of a terrain or, where samples_per_instruction is above 1, of one of its instructions: then some are
    sure to have it in common, and what it is worth by itself does not count for or against them.

    Args:
        method: settings of the method.
        terrain: each program's terrain, shape (b,) int64.
        instruction: which of its terrain's instructions each was written behind, shape (b,) int64.
    """
    if method.samples_per_instruction == 1:
        return terrain
    return terrain * (int(instruction.max()) + 1) + instruction


def estimate(
    method: MethodConfig, rewards: Tensor, values: Tensor, mask: Tensor, group: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns advantages and the returns that the critic learns (zeros without one), each (b, l).

    Args:
        method: settings of the method.
        rewards: of each token, shape (b, l).
        values: the critic's, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: which programs are compared with one another, shape (b,) int64; see `groups_of`.
        valid: which programs are valid, shape (b,) bool.
    """
    if method.estimator == "gae":
        advantages, returns = gae(rewards, values, mask, method.gamma, method.lam)
        return whiten(advantages, mask), returns
    if method.advantage_shaping == "rank":
        return rank_advantages(rewards, mask, group, valid), torch.zeros_like(rewards)
    return GROUPED[method.estimator](rewards, mask, group, valid), torch.zeros_like(rewards)
