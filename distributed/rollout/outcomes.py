"""What programs turned out to be: their descriptors, and which of them are the same."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from terrains.base import Score
from terrains.errors import WorldError
from terrains.niches import Niches


def identities(programs: Sequence[str], scores: Sequence[Sequence[Score | None]] = ()) -> np.ndarray:
    """Returns a number for each program that programs with the same outcome share, shape (b,), int64.

    Args:
        programs: b whole texts.
        scores: of each, on one terrain or more. Left out, and where the world says nothing, texts are compared.
    """
    said = [next((s.identity for s in row if s and s.identity), "") for row in scores] or [""] * len(programs)
    # A text and a world's name for an outcome are told apart by what stands before them.
    texts = [f"o{name}" if name else f"t{text}" for name, text in zip(said, programs, strict=True)]
    return np.array([_number(text) for text in texts], dtype=np.int64)


def descriptors_of(scores: Sequence[Sequence[Score | None]], niches: Niches | None, world: str) -> np.ndarray:
    """Returns the descriptors of programs, shape (b, n_descriptors), float64; a row of NaN for one without.

    Args:
        scores: of each program, on one terrain or more.
        niches: the world's grid; None for a world without descriptors, of which nothing is kept: shape (b, 0).
        world: what messages call the world.

    Raises:
        WorldError: a program has another number of descriptors than the world names.
    """
    width = len(niches.names) if niches else 0
    found = np.full((len(scores), width), np.nan)
    for place, row in enumerate(scores if width else ()):
        told = next((s.descriptors for s in row if s and s.descriptors), ())
        if told and len(told) != width:
            assert niches is not None
            raise WorldError(
                f"{world}: the Score of attempt {place} has {len(told)} descriptors, and not {', '.join(niches.names)}"
            )
        if told and all(map(math.isfinite, told)):
            found[place] = told
    return found


def _number(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
