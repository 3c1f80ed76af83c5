"""Evolution strategies: prompts with noise added and taken away, compared by what their programs earn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from distributed.config import MethodConfig
from distributed.learner.batch import mean_reward, reward_std
from distributed.learner.policy import Policy
from distributed.rollout.types import PromptState, Rollouts
from softprompt.rl.advantages import evolution_gradient, perturbations
from softprompt.rl.ppo import PolicyStats


def candidates(policy: Policy, method: MethodConfig, version: int) -> list[PromptState]:
    """Returns the prompts to compare: those with each pair's noise added, then those with it taken away."""
    prompts, added = policy.materialised(), _noise(policy, method, version)
    both = torch.cat([prompts + added, prompts - added]).cpu().numpy()
    return [PromptState(version, each) for each in both]


def scores_of(results: Sequence[Sequence[Rollouts]], n_terrains: int) -> Tensor:
    """Returns the mean reward of each candidate's programs on each terrain, shape (2 * pairs, n_terrains)."""
    return torch.tensor([[mean_reward(each, k) for k in range(n_terrains)] for each in results])


def gradient_of(policy: Policy, method: MethodConfig, version: int, scores: Tensor) -> Tensor:
    """Returns the estimated gradient of the prompts that `candidates` of the same version vary.

    Args:
        policy: as it was when they were made.
        method: settings of the method.
        version: updates before.
        scores: of the candidates, as `scores_of` returns them.

    Returns:
        To be descended, shape (n_terrains, n_soft_tokens, d).
    """
    plus, minus = scores.chunk(2)
    return evolution_gradient(_noise(policy, method, version), plus, minus)


def statistics(results: Sequence[Sequence[Rollouts]], scores: Tensor) -> PolicyStats:
    """Returns mean and spread of the rewards of all programs, and of the candidates of each terrain."""
    rewards = np.concatenate([r.rewards[:, 0] for each in results for r in each])
    info = {"reward/mean": float(rewards.mean()), "rollout_scores/std": float(rewards.std())}
    return info | {f"reward_std/{k}": reward_std(own) for k, own in enumerate(scores.T)}


def _noise(policy: Policy, method: MethodConfig, version: int) -> Tensor:
    """What one version's candidates differ by, shape (pairs, n_terrains, n_soft_tokens, d)."""
    return perturbations(policy.materialised(), method.es_pairs, method.es_noise, policy.generator(version))
