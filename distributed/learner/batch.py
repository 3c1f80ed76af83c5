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
    """The programs of one step, with what PPO needs of each token; every shape is (b, l) but those of the first two."""

    prompt: Tensor  # (b,)
    instruction: Tensor  # (b,)
    ids: Tensor
    mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    advantages: Tensor
    values: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> Batch:
        """Some of the programs, cut to the longest of them."""
        width = int(self.mask[index].sum(1).max())
        return Batch(
            **{name: each[index] if each.ndim == 1 else each[index][:, :width] for name, each in vars(self).items()}
        )


def join(parts: Sequence[np.ndarray]) -> Tensor:
    """Stacks right-padded arrays (b_i, l_i) to one (b, l)."""
    width = max(p.shape[1] for p in parts)
    return torch.from_numpy(np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts]))


def rewards_of(rollouts: Sequence[Rollouts]) -> Tensor:
    """Returns the rewards of a step: one a program, shape (b,), or one a token, shape (b, l), where any had such.

    Those of programs with a single reward stand on their last tokens then.
    """
    if all(r.token_rewards is None for r in rollouts):
        return torch.from_numpy(np.concatenate([r.rewards[:, 0] for r in rollouts]))
    return join([_by_token(r) if r.token_rewards is None else r.token_rewards for r in rollouts])


def _by_token(rollouts: Rollouts) -> np.ndarray:
    by_token, lengths = np.zeros(rollouts.mask.shape), rollouts.mask.sum(axis=1)
    rows = np.flatnonzero(lengths)
    by_token[rows, lengths[rows] - 1] = rollouts.rewards[rows, 0]
    return by_token


def mean_reward(rollouts: Sequence[Rollouts], terrain: int) -> float:
    """Returns the mean reward of the programs that were written for a terrain."""
    return float(np.concatenate([r.rewards[r.terrain == terrain, 0] for r in rollouts]).mean())


def reward_std(rewards: Tensor) -> float:
    """Returns the standard deviation of a group's rewards; 0 for a group without programs."""
    return rewards.std(correction=0).item() if len(rewards) else 0.0
