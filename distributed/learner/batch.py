"""The programs of one step as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distributed.rollout.types import Rollouts


@dataclass
class Batch:
    """The programs of one step, with what PPO needs of each token; every shape is (b, l) but that of ``terrain``."""

    ids: Tensor
    mask: Tensor
    terrain: Tensor  # (b,)
    logprobs: Tensor
    ref_logprobs: Tensor
    advantages: Tensor
    values: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> Batch:
        """Some of the programs, cut to the longest of them."""
        width = int(self.mask[index].sum(1).max())
        cut = {k: v[index][:, :width] for k, v in vars(self).items() if k != "terrain"}
        return Batch(terrain=self.terrain[index], **cut)


def join(parts: Sequence[np.ndarray]) -> Tensor:
    """Stacks right-padded arrays (b_i, l_i) to one (b, l)."""
    width = max(p.shape[1] for p in parts)
    return torch.from_numpy(np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts]))


def mean_reward(rollouts: Sequence[Rollouts], terrain: int) -> float:
    """Returns the mean reward of the programs that were written for a terrain."""
    return float(np.concatenate([r.rewards[r.terrain == terrain, 0] for r in rollouts]).mean())


def reward_std(rewards: Tensor) -> float:
    """Returns the standard deviation of a group's rewards; 0 for a group without programs."""
    return rewards.std(correction=0).item() if len(rewards) else 0.0
