"""Rows of different lengths one behind the other, without padding, each behind one of several beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from softprompt.kernels.attention import padded


@dataclass(frozen=True)
class Rows:
    """Rows that are read together, behind beginnings of one length; those with the same beginning stand together.

    Attributes:
        lengths: cells of each row.
        beginnings: the beginning of each row, in ascending order.
        n_beginnings: how many there are.
        n_before: cells of each beginning.
    """

    lengths: Sequence[int]
    beginnings: Sequence[int]
    n_beginnings: int
    n_before: int

    @cached_property
    def starts(self) -> np.ndarray:
        """First cell of each row, and the number of cells."""
        return np.cumsum([0, *self.lengths])

    @cached_property
    def bounds(self) -> np.ndarray:
        """First row of each beginning, and the number of rows."""
        return np.searchsorted(np.array(self.beginnings), np.arange(self.n_beginnings + 1))

    @cached_property
    def positions(self) -> np.ndarray:
        """Position of every cell in its sequence, the beginning included, shape (cells,)."""
        return self.n_before + np.arange(self.starts[-1]) - np.repeat(self.starts[:-1], self.lengths)

    @cached_property
    def ends(self) -> Tensor | None:
        """The last cell of each row, where rows are beginnings themselves: what follows needs no other states."""
        return None if self.n_before else torch.from_numpy(self.starts[1:] - 1)

    def weights(self, n_heads: int) -> np.ndarray:
        """Where the weights of each row's attention begin, and how many there are."""
        lengths = np.array(self.lengths)
        return np.cumsum([0, *(n_heads * lengths * padded(lengths + self.n_before))])
