"""What tells walkers apart: their descriptors, and a name that all programs of one walker share."""

from __future__ import annotations

import hashlib

import numpy as np

from terrains.niches import Niches
from terrains.sodarace.walker import Walker

NICHES = Niches(names=("height", "width", "mass"), cells=(12, 20, 15), low=(0, 0, 4), high=(12, 20, 64))
"""The kinds of walkers, in program units (ELM's descriptors, Lehman et al. 2022, section 5)."""

DECIMALS = 6
"""Numbers that agree to so many decimals are the same: far finer than programs write them."""


def descriptors(walker: Walker) -> tuple[float, float, float]:
    """Returns height, width and mass, in program units."""
    return round(walker.height, 3), round(walker.width, 3), round(walker.mass, 3)


def identity(walker: Walker) -> str:
    """Returns a hex digest that two walkers share if they differ in no more than place and order.

    So a walker that stands elsewhere, whose joints or muscles are listed in another order, or whose muscles are given
    from their other end is the same; what a rod's amplitude and phase would be does not count.
    """
    joints = np.round(walker.joints - walker.joints.min(axis=0), DECIMALS) + 0.0
    order = np.lexsort(joints.T[::-1])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ends = np.sort(place[walker.muscles], axis=1)
    moves = np.where(walker.rigid[:, None], 0.0, np.stack([walker.amplitude, walker.phase], axis=1))
    moves = np.round(moves, DECIMALS) + 0.0
    moves[:, 1] = np.mod(moves[:, 1], 1.0)
    muscles = np.column_stack([ends, walker.rigid, moves])
    muscles = muscles[np.lexsort(muscles.T[::-1])]
    digest = hashlib.blake2b(joints[order].tobytes(), digest_size=8)
    digest.update(muscles.tobytes())
    return digest.hexdigest()
