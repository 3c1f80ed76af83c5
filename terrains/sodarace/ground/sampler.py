"""Draws terrains of a wanted difficulty, for training or held out from it.

Numbers are drawn in hundredths. A terrain of the split ``train`` has even ones and even seeds, one that is held out odd
ones and odd seeds: so that whatever is drawn, with any seed and from any families, nothing drawn of a terrain's
parameters is ever seen on both sides.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, get_args

from terrains.sodarace.ground.families import FAMILIES, parameters_of
from terrains.sodarace.ground.names import FILE, Part, parse_name

Split = Literal["train", "held_out"]
SPLITS: tuple[str, ...] = get_args(Split)

EASY_TO_HARD: dict[str, dict[str, tuple[float, float]]] = {
    "flat": {},
    "left_wall": {"distance": (100.0, 2.0)},
    "right_wall": {"distance": (100.0, 2.0)},
    "bumpy": {"amplitude": (2.0, 20.0), "spacing": (80.0, 25.0)},
    "tunnel": {"height": (60.0, 12.0), "mouth": (90.0, 45.0)},
    "hills": {"amplitude": (3.0, 30.0), "wavelength": (160.0, 70.0)},
    "stairs": {"height": (1.0, 12.0), "length": (80.0, 25.0)},
    "gap": {"width": (4.0, 45.0), "depth": (10.0, 100.0), "spacing": (150.0, 40.0)},
    "slope": {"angle": (1.0, 25.0)},
}
"""What each family's parameters are at difficulty 0 and at difficulty 1; others keep their defaults."""

_SPREAD = 0.1
_SEEDS = 5_000
_GOLDEN = 0.6180339887498949
_TRIES = 1000


def sample_terrains(
    families: Sequence[str],
    count: int,
    difficulty: float | tuple[float, float] = (0.0, 1.0),
    split: str = "train",
    seed: int = 0,
) -> list[str]:
    """Draws names of terrains, all different, the families taking turns.

    Args:
        families: names; combinations such as ``tunnel+bumpy`` are drawn part by part, and parameters that a name says,
            as in ``bumpy(spacing=30)``, stay as they are.
        count: how many. Fewer with the same other arguments are the first of these.
        difficulty: in [0, 1], or from where to where; each family is spread evenly over it. Each parameter of a terrain
            is drawn within a tenth of the terrain's own difficulty.
        split: ``train``, or ``held_out`` for terrains that no training with ``train`` sees.
        seed: decides every draw.

    Returns:
        Canonical names.

    Raises:
        ValueError: a family is misspelt or has nothing to draw, or another argument is none that makes sense.
    """
    low, high = (difficulty, difficulty) if isinstance(difficulty, int | float) else difficulty
    if not 0 <= low <= high <= 1:
        raise ValueError(f"difficulty goes from 0 to 1, the lower end first, not from {low:g} to {high:g}")
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}, but {' and '.join(SPLITS)}")
    if count < 1 or not families:
        raise ValueError("there has to be at least one terrain to draw and one family to draw from")
    entries = [_entry(family) for family in families]
    names: dict[str, None] = {}
    draws = [random.Random(f"{seed} {split} {k} {families[k].strip()}") for k in range(len(entries))]
    places = [draw.random() for draw in draws]
    for n in range(count):
        k = n % len(entries)
        for _ in range(_TRIES):
            places[k] = (places[k] + _GOLDEN) % 1.0
            hard = low + (high - low) * places[k]
            name = "+".join(str(_drawn(part, hard, split, draws[k])) for part in entries[k])
            if name not in names:
                names[name] = None
                break
        else:
            raise ValueError(f"{families[k]} has fewer terrains that differ than were asked for at this difficulty")
    return list(names)


def _entry(name: str) -> tuple[Part, ...]:
    parts = parse_name(name)
    if not any(_open(part) for part in parts):
        raise ValueError(f"{name} has no parameter left to draw: name it among the terrains instead")
    return parts


def _open(part: Part) -> list[str]:
    """Parameters that a name leaves open and that can be drawn."""
    if part.family == FILE:
        return []
    drawn = [*EASY_TO_HARD[part.family], *(["seed"] if "seed" in parameters_of(part.family) else [])]
    return [name for name in drawn if name not in part.parameters]


def _drawn(part: Part, difficulty: float, split: str, draw: random.Random) -> Part:
    """The part with what it leaves open drawn."""
    odd = SPLITS.index(split)
    found = dict(part.parameters)
    for name in _open(part):
        if name == "seed":
            found[name] = 2 * draw.randrange(_SEEDS) + odd
            continue
        easy, hard = EASY_TO_HARD[part.family][name]
        at = min(max(difficulty + draw.uniform(-_SPREAD, _SPREAD), 0.0), 1.0)
        found[name] = _hundredths(easy + (hard - easy) * at, odd)
    return Part(part.family, found, part.path)


def _hundredths(value: float, odd: int) -> float:
    """The nearest number with evenly or oddly many hundredths."""
    return (2 * round((100 * value - odd) / 2) + odd) / 100


DRAWN_FAMILIES = tuple(family for family in FAMILIES if EASY_TO_HARD[family])
"""Families that have something to draw: all but the flat one."""
