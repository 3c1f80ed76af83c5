"""The grid of niches of a world: which programs are the same kind of answer (Mouret & Clune 2015, section 3)."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator


class Niches(BaseModel):
    """A grid over numbers that tell programs apart, its descriptors: programs in one cell are of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    names: tuple[str, ...]
    """Names of the descriptors."""
    cells: tuple[int, ...]
    """Cells along each of them."""
    low: tuple[float, ...]
    """Lower ends; what lies below belongs to the first cell."""
    high: tuple[float, ...]
    """Upper ends; what lies above belongs to the last cell."""

    @model_validator(mode="after")
    def _is_a_grid(self) -> Niches:
        if not self.names or {len(self.cells), len(self.low), len(self.high)} != {len(self.names)}:
            raise ValueError(f"cells, low and high must have a number for each of the descriptors {self.names}")
        if min(self.cells) < 1 or any(not a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError("every descriptor needs 1 cell or more, and a lower end below its upper one")
        return self

    @property
    def size(self) -> int:
        """How many cells there are."""
        return int(np.prod(self.cells))

    def cell(self, descriptors: np.ndarray) -> np.ndarray:
        """Returns the number of each program's cell, -1 for one without descriptors.

        Args:
            descriptors: shape (n, n_descriptors), float64; a row with a NaN is of a program that has none.

        Returns:
            Shape (n,), int64, in [-1, size); the last descriptor's cells are next to one another.
        """
        known = np.isfinite(descriptors).all(axis=1)
        low, high = np.array(self.low), np.array(self.high)
        share = (np.where(known[:, None], descriptors, low) - low) / (high - low)
        along = np.clip(share, 0, 1) * np.array(self.cells)
        places = np.minimum(along.astype(np.int64), np.array(self.cells) - 1)
        return np.where(known, np.ravel_multi_index(tuple(places.T), self.cells), -1)

    def places(self, cells: np.ndarray) -> np.ndarray:
        """Returns where cells are along each descriptor, shape (n, n_descriptors), int64, from their numbers (n,)."""
        return np.stack(np.unravel_index(cells, self.cells), axis=1).astype(np.int64)

    def centres(self, cells: np.ndarray) -> np.ndarray:
        """Returns the middle of cells as shares of the grid's extent, shape (n, n_descriptors), from numbers (n,)."""
        return (self.places(cells) + 0.5) / np.array(self.cells)

    def scaled(self, descriptors: np.ndarray) -> np.ndarray:
        """Returns descriptors as shares of the grid's extent, in [0, 1], of the same shape."""
        low, high = np.array(self.low), np.array(self.high)
        return np.clip((descriptors - low) / (high - low), 0, 1)
