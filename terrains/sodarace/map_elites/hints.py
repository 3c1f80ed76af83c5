"""Hints for Stage 2: for each program of a corpus a text that has something to do with it.

Every hint comes from the programs that are given, so what a filter left out of a training is no hint in it either.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.spatial import cKDTree

from terrains.sodarace.map_elites.corpus import CorpusProgram

DESCRIPTORS = ("height", "width", "mass")


def hints_of(kind: str, programs: Sequence[CorpusProgram], seed: int = 0) -> list[str]:
    """Returns the hint of each program.

    Args:
        kind: one of `HINTS`.
        programs: the corpus; two different texts at least.
        seed: decides every choice.

    Raises:
        KeyError: there is no such kind.
        ValueError: the corpus lacks what this kind is made of.
    """
    if len({p.program for p in programs}) < 2:
        raise ValueError("a hint needs another program, and the corpus has none")
    return HINTS[kind](programs, random.Random(seed))


def relatives(programs: Sequence[CorpusProgram], rng: random.Random) -> list[str]:
    """A parent, a child or a sibling of each program; another program by chance where none of them is in the corpus.

    Raises:
        ValueError: the corpus does not tell who came from whom.
    """
    index = {p.id: k for k, p in enumerate(programs)}
    if len(index) < len(programs) or not any(p.parents for p in programs):
        raise ValueError("the corpus does not tell who came from whom: its programs have no ids or no parents")
    children: dict[int, list[int]] = defaultdict(list)
    for k, p in enumerate(programs):
        for parent in p.parents:
            children[parent].append(k)
    found = []
    for p in programs:
        parents = [index[i] for i in p.parents if i in index]
        siblings = [s for i in p.parents for s in children[i]]
        # A kind of relative first, then one of that kind: siblings are many, and would drown the parents.
        kinds = [[r for r in kin if programs[r].program != p.program] for kin in (parents, children[p.id], siblings)]
        known = [kin for kin in kinds if kin]
        found.append(rng.choice(rng.choice(known)) if known else _another(programs, p.program, rng))
    return [programs[k].program for k in found]


def neighbours(programs: Sequence[CorpusProgram], rng: random.Random) -> list[str]:
    """The program whose walker is nearest in height, width and mass, each divided by its standard deviation.

    Raises:
        ValueError: the corpus does not tell the walkers' descriptors.
    """
    place = dict(zip((p.program for p in programs), _table(programs), strict=True))
    texts, points = list(place), np.array(list(place.values()))
    spread = points.std(0)
    points = points / np.where(spread > 0, spread, 1)
    # Of many at one place a program itself need not be among the two nearest.
    _, nearest = cKDTree(points).query(points, k=2)
    hint = {text: texts[b if a == k else a] for k, (text, (a, b)) in enumerate(zip(texts, nearest, strict=True))}
    return [hint[p.program] for p in programs]


def descriptions(programs: Sequence[CorpusProgram], rng: random.Random) -> list[str]:
    """Height, width and mass of each walker in words, such as ``height 3.2 width 14 mass 21``.

    Raises:
        ValueError: the corpus does not tell the walkers' descriptors.
    """
    return [
        " ".join(f"{name} {round(value, 1):g}" for name, value in zip(DESCRIPTORS, row, strict=True))
        for row in _table(programs)
    ]


HINTS: Mapping[str, Callable[[Sequence[CorpusProgram], random.Random], list[str]]] = {
    "relative": relatives,
    "neighbour": neighbours,
    "descriptors": descriptions,
}
"""Kinds of hints."""


def _table(programs: Sequence[CorpusProgram]) -> np.ndarray:
    """Descriptors of the walkers, shape (n, 3)."""
    try:
        return np.array([[p.descriptors[name] for name in DESCRIPTORS] for p in programs], dtype=float)
    except KeyError as error:
        raise ValueError(f"the corpus does not tell every walker's {error.args[0]}") from None


def _another(programs: Sequence[CorpusProgram], text: str, rng: random.Random) -> int:
    while programs[k := rng.randrange(len(programs))].program == text:
        pass
    return k
