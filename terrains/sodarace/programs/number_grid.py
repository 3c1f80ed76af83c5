"""The numbers that programs are written with, and how one becomes a neighbour of itself.

There are few of them, so that a small language model learns each one and a mutated program reads like a drawn one.
"""

from __future__ import annotations

import random

AMPLITUDES = (0.5, 1.0, 1.5, 2.0, 2.5)
"""The last one is cut by the physics, and so is the strongest muscle there is."""
PHASES = (0.0, 0.2, 0.4, 0.6, 0.8)
"""In turns."""
RATES = tuple(k / 10 for k in range(10))
"""Turns from one muscle of a series to the next; 0.8 is a wave that runs against 0.2."""
STEP = 2
"""Places of joints are multiples of this."""
WIDEST, TALLEST = 18, 10
"""Greatest place along x and along y."""
MOST_OF_A_KIND = 8
"""Joints in a series, such as the columns of a grid."""


def neighbour(value: float, values: tuple[float, ...], rng: random.Random) -> float:
    """Returns one of ``values`` beside the one nearest to ``value``; beside an end lies only one."""
    at = min(range(len(values)), key=lambda k: abs(values[k] - value))
    return values[rng.choice([k for k in (at - 1, at + 1) if 0 <= k < len(values)])]


def neighbour_in_turn(value: float, values: tuple[float, ...], rng: random.Random) -> float:
    """As `neighbour`, for values that go round: beyond the last one comes the first."""
    at = min(range(len(values)), key=lambda k: abs(values[k] - value))
    return values[(at + rng.choice([-1, 1])) % len(values)]
