"""Which terrains sodarace has: their names, and terrains drawn from families. It needs no compiler."""

from __future__ import annotations

from collections.abc import Sequence

from terrains.sodarace.ground import sampler
from terrains.sodarace.ground.names import canonical_name

__all__ = ["canonical_name", "sample_terrains"]


def sample_terrains(
    families: Sequence[str], count: int, difficulty: tuple[float, float], split: str, seed: int
) -> list[str]:
    """Draws names of terrains, from all families that have something to draw where none is named.

    Raises:
        ValueError: as `terrains.sodarace.ground.sampler.sample_terrains` does.
    """
    return sampler.sample_terrains(families or sampler.DRAWN_FAMILIES, count, difficulty, split, seed)
