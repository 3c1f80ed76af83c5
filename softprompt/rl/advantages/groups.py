"""Arithmetic on groups of programs in a batch, wherever their rows are: those of one terrain, or of one instruction."""

from __future__ import annotations

import torch
from torch import Tensor


class Groups:
    """Rows of a batch by what they are compared within: their terrain or, finer, their instruction.

    Attributes:
        index: each row's group, 0 .. n_groups - 1, shape (b,).
        sizes: rows per group, shape (n_groups,).
    """

    def __init__(self, group: Tensor) -> None:
        """Groups rows whose entries of ``group``, shape (b,) int64, are equal."""
        _, self.index, self.sizes = group.unique(return_inverse=True, return_counts=True)

    def sum(self, x: Tensor) -> Tensor:
        """Returns each group's sum, given back to its rows: shape (b,) to (b,)."""
        return x.new_zeros(len(self.sizes)).index_add(0, self.index, x)[self.index]

    def size(self) -> Tensor:
        """Returns the size of each row's group, shape (b,)."""
        return self.sizes[self.index]

    def mean(self, x: Tensor) -> Tensor:
        """Returns each group's mean, given back to its rows: shape (b,) to (b,)."""
        return self.sum(x) / self.size()

    def std(self, x: Tensor) -> Tensor:
        """Returns each group's unbiased standard deviation, given back to its rows; 0 for groups of one."""
        return (self.sum((x - self.mean(x)) ** 2) / (self.size() - 1).clamp(min=1)).sqrt()

    def any(self, x: Tensor) -> Tensor:
        """Returns whether x holds anywhere in the group, given back to its rows: shape (b,) bool to (b,) bool."""
        return self.sum(x.float()) > 0


def program_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """Returns each program's total reward, KL penalty included, shape (b, l) to (b,)."""
    return torch.where(mask, rewards, 0).sum(dim=1)


def broadcast_to_tokens(advantages: Tensor, mask: Tensor, groups: Groups, valid: Tensor | None) -> Tensor:
    """Gives every token its program's advantage, shape (b,) to (b, l); the validity gate closes here.

    Where no program of a group is valid, differences of reward are noise, and dividing or ranking would blow them up
    to look like a signal: such a group has no advantage.

    Args:
        advantages: one per program, shape (b,).
        mask: real tokens, shape (b, l) bool.
        groups: the rows by group.
        valid: which programs did what is asked of every program, shape (b,) bool; None leaves the gate open.
    """
    if valid is not None:
        advantages = torch.where(groups.any(valid), advantages, 0)
    return torch.where(mask, advantages[:, None], 0)
