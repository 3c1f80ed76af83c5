"""What the network of a finished run makes of a terrain: prompts for the kinds it knows best, or for one asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from distributed.errors import UserError
from distributed.results.wanted_kind import wanted_point
from softprompt.prompts.ten_io import WEIGHTS_FILE, load_network
from terrains.base import Terrain
from terrains.niches import Niches


def has_network(folder: Path) -> bool:
    """Whether the prompts of the run in a folder come from a network."""
    return (folder / WEIGHTS_FILE).exists()


def network_prompts(
    folder: Path, terrain: Terrain, terrain_of: Callable[[str], Terrain], niches: Niches | None, kind: str | None = None
) -> np.ndarray:
    """Returns the prompts of any terrain, shape (n, n_soft_tokens, d); of a kind that is asked for, one.

    Args:
        folder: of a finished run.
        terrain: what they are for.
        terrain_of: returns the terrain of a name, with its features as this version computes them.
        niches: the grid of the run's world.
        kind: of program that is wanted, as `wanted_point` reads it.

    Raises:
        UserError: the network is damaged or was trained on other features, or there is no such kind.
    """
    if kind is not None and not has_network(folder):
        raise _no_kinds(folder)
    try:
        network, trained = load_network(folder)
        known = terrain_of(trained[0]).features
        if known.shape != network.features[0].shape or not np.allclose(known, network.features[0], atol=1e-5):
            raise ValueError("the features of terrains are not what they were when the network was trained")
        points = None
        if kind is not None:
            if network.points is None or niches is None:
                raise _no_kinds(folder)
            learnt = network.points.flatten(0, 1).numpy().astype(np.float64)
            points = torch.from_numpy(wanted_point(kind, niches, learnt))[None]
        return network.prompts_for(torch.from_numpy(terrain.features)[None], points).numpy()
    except ValueError as error:
        raise UserError(f"{folder}: no prompt for {terrain.name}: {error}") from None


def _no_kinds(folder: Path) -> UserError:
    return UserError(
        f"--kind: {str(folder)!r} has prompts for no kinds but its own; that needs method.prompt_source=ten and "
        "method.prompts_per_terrain above 1"
    )
