"""Where the kinds of program lie that several prompts of a terrain are to write, for a network that reads it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from terrains.niches import Niches


def points_of(owned: Sequence[int], per_terrain: int, niches: Niches, seed: int) -> Tensor:
    """Returns a point for each prompt: the centre of the cell that it owns, as shares of the grid's extent.

    A centre stays where it is while better programs of its cell are found, and no two cells have one that is nearly the
    same, as two programs on both sides of a border have. A terrain's prompts without a cell lie spread over the grid.

    Args:
        owned: of each prompt, the cell it owns; -1 for none.
        per_terrain: prompts of a terrain, which stand side by side.
        niches: the world's grid.
        seed: decides where prompts without a cell lie.

    Returns:
        Shape (n_terrains, per_terrain, n_descriptors), float32, in [0, 1].
    """
    cells = torch.tensor(owned).view(-1, per_terrain)
    centres = torch.from_numpy(niches.centres(cells.flatten().clamp(min=0).numpy()))
    free = SobolEngine(len(niches.names), scramble=True, seed=seed % 2**63).draw(per_terrain, dtype=torch.float64)
    return torch.where((cells >= 0)[..., None], centres.view(*cells.shape, -1), free).float()
