"""Group relative policy optimisation: rewards compared within the group, with (GRPO) or without division (Dr. GRPO)."""

from __future__ import annotations

from torch import Tensor

from softprompt.rl.advantages.groups import Groups, broadcast_to_tokens, program_rewards


def grpo(rewards: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None, epsilon: float = 1e-4) -> Tensor:
    """Returns advantages, shape (b, l): reward less the group's mean, over the group's standard deviation.

    Source: Shao et al. 2024, arXiv 2402.03300, section 4.1.2, with the KL penalty in the reward instead of the loss.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: each program's group, shape (b,) int64; see :class:`.Groups`.
        valid: which programs are valid, shape (b,) bool; see :func:`.broadcast_to_tokens`.
        epsilon: added to the standard deviation.
    """
    groups = Groups(group)
    totals = program_rewards(rewards, mask)
    return broadcast_to_tokens((totals - groups.mean(totals)) / (groups.std(totals) + epsilon), mask, groups, valid)


def dr_grpo(rewards: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None) -> Tensor:
    """Returns advantages, shape (b, l): a program's reward less its group's mean.

    Unlike GRPO's, they are not divided by the standard deviation, which favours groups in which all programs do
    alike.

    Source: Liu et al. 2025, arXiv 2503.20783, section 3.2. Its other half, a loss that does not divide by the number
    of tokens, is the ``divisor`` of :func:`softprompt.rl.ppo.policy_loss`.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: each program's group, shape (b,) int64; see :class:`.Groups`.
        valid: which programs are valid, shape (b,) bool; see :func:`.broadcast_to_tokens`.
    """
    groups = Groups(group)
    totals = program_rewards(rewards, mask)
    return broadcast_to_tokens(totals - groups.mean(totals), mask, groups, valid)
