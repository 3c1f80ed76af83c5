"""REINFORCE with a leave-one-out baseline: no critic, no division."""

from __future__ import annotations

import torch
from torch import Tensor

from softprompt.rl.advantages.groups import Groups, broadcast_to_tokens, program_rewards


def rloo(rewards: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None) -> Tensor:
    """Returns advantages, shape (b, l): a program's reward less the mean reward of the group's other programs.

    Source: Ahmadian et al. 2024, arXiv 2402.14740, section 3.3. A group of one program has nothing to compare
    with, and no advantage.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: each program's group, shape (b,) int64; see :class:`.Groups`.
        valid: which programs are valid, shape (b,) bool; see :func:`.broadcast_to_tokens`.
    """
    groups = Groups(group)
    totals = program_rewards(rewards, mask)
    others = groups.size() - 1
    baseline = (groups.sum(totals) - totals) / others.clamp(min=1)
    return broadcast_to_tokens(torch.where(others > 0, totals - baseline, 0), mask, groups, valid)
