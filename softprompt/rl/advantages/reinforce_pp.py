"""REINFORCE++: rewards to go, standardised over the whole batch instead of the group."""

from __future__ import annotations

import torch
from torch import Tensor

from softprompt.rl.advantages.groups import Groups
from softprompt.rl.ppo import whiten


def reinforce_pp(rewards: Tensor, mask: Tensor, group: Tensor, valid: Tensor | None = None) -> Tensor:
    """Returns advantages, shape (b, l): the reward from each token on, whitened over all real tokens of the batch.

    Source: Hu 2025, arXiv 2501.03262, section 3. Groups matter to the validity gate alone: tokens of a group in
    which nothing is valid count neither for the mean nor for the deviation, and have no advantage.

    Args:
        rewards: per token, KL penalty included, shape (b, l).
        mask: real tokens, shape (b, l) bool.
        group: each program's group, shape (b,) int64; see :class:`.Groups`.
        valid: which programs are valid, shape (b,) bool; None leaves the gate open.
    """
    if valid is not None:
        mask = mask & Groups(group).any(valid)[:, None]
    to_go = torch.where(mask, rewards, 0).flip(1).cumsum(1).flip(1)
    return whiten(to_go, mask)
