"""A kind of program as a person asks for it, such as ``height=low,width=high``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from distributed.errors import UserError, did_you_mean
from terrains.niches import Niches

WORDS: dict[str, Callable[[np.ndarray], float]] = {"low": np.min, "middle": np.median, "high": np.max}
"""What a word means: of the kinds that are known, the lowest number, the median or the highest."""


def wanted_point(said: str, niches: Niches, known: np.ndarray) -> np.ndarray:
    """Returns where a kind lies, each descriptor as a share of the grid's extent.

    Descriptors that are not named have the numbers of the known kind that is nearest in those that are.

    Args:
        said: descriptors and what each is to be: a number, or one of WORDS.
        niches: the world's grid.
        known: where the kinds lie that prompts were trained for, shape (n, n_descriptors), in [0, 1].

    Returns:
        Shape (n_descriptors,), float64.

    Raises:
        UserError: there is no such descriptor, or it is to be no number.
    """
    named = dict(_named(part, niches, known) for part in said.split(","))
    columns, values = list(named), np.array(list(named.values()))
    nearest = known[np.linalg.norm(known[:, columns] - values, axis=1).argmin()]
    point = np.array(nearest, dtype=np.float64)
    point[columns] = values
    return point


def _named(part: str, niches: Niches, known: np.ndarray) -> tuple[int, float]:
    """The number of a descriptor, and the share that it is to be."""
    name, _, value = (word.strip() for word in part.partition("="))
    if name not in niches.names:
        hint = did_you_mean(name, niches.names) or f"; there are {', '.join(niches.names)}"
        raise UserError(f"--kind: no descriptor {name!r}{hint}")
    column = niches.names.index(name)
    if value in WORDS:
        return column, float(WORDS[value](known[:, column]))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--kind: {name} must be a number or one of {', '.join(WORDS)}, not {value!r}")
    low, high = niches.low[column], niches.high[column]
    return column, float(np.clip((number - low) / (high - low), 0, 1))
