"""The programs of one step as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distributed.rollout.types import Rollouts
from softprompt.rl.kl import k1, k3
from softprompt.rl.ppo import PolicyStats, masked_mean


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


@dataclass
class Drawn:
    """The programs of one step as they were drawn, as tensors; shapes are (b, l) where none is said."""

    ids: Tensor
    mask: Tensor
    logprobs: Tensor
    terrain: Tensor  # (b,)
    prompt: Tensor  # (b,)
    instruction: Tensor  # (b,)
    rewards: Tensor  # (b,)
    valid: Tensor  # (b,) bool

    @classmethod
    def of(cls, rollouts: Sequence[Rollouts], device: torch.device) -> Drawn:
        """Joins the answers to a step's requests."""
        tokens = [join([getattr(r, name) for r in rollouts]) for name in ("ids", "mask", "logprobs")]
        places = [
            torch.from_numpy(np.concatenate([getattr(r, name) for r in rollouts]))
            for name in ("terrain", "prompt", "instruction")
        ]
        rewards = torch.from_numpy(np.concatenate([r.rewards[:, 0] for r in rollouts])).float()
        valid = torch.tensor([row[0] is None for r in rollouts for row in r.failures])
        return cls(*(each.to(device) for each in (*tokens, *places, rewards, valid)))

    def rows(self, index: Tensor) -> Drawn:
        """Some of the programs."""
        return Drawn(**{name: each[index] for name, each in vars(self).items()})

    def statistics(self, n_terrains: int) -> PolicyStats:
        """Statistics of what they earned and how likely they were, under trlx's names where it has them."""
        return {
            "rollout_scores/mean": self.rewards.mean().item(),
            "rollout_scores/std": self.rewards.std(correction=0).item(),
            "reward/mean": self.rewards.mean().item(),
            "policy/entropy_per_program": -(self.logprobs * self.mask).sum(1).mean().item(),
            **{f"reward_std/{k}": reward_std(self.rewards[self.terrain == k]) for k in range(n_terrains)},
        }

    def divergence(self, ref_logprobs: Tensor) -> PolicyStats:
        """How far the policy that drew them is from the reference, under trlx's names.

        Args:
            ref_logprobs: log-probabilities of their tokens under the reference, shape (b, l).
        """
        apart = k1(self.logprobs, ref_logprobs)
        return {
            "policy/kl_per_token": masked_mean(apart, self.mask).item(),
            "policy/kl_per_program": (apart * self.mask).sum(1).mean().item(),
            "policy/sqrt_kl": masked_mean(k3(ref_logprobs, self.logprobs), self.mask).clamp(min=0).sqrt().item(),
        }


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
