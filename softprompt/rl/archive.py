"""The archive of elites: of every kind of program that was found on a terrain, the best (Mouret & Clune 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softprompt.rl.elites import Elite


@dataclass(frozen=True)
class CellElite(Elite):
    """The best program of a cell.

    Attributes:
        cell: number of its cell.
        descriptors: the numbers by which it belongs there.
        origin: which of its terrain's prompts wrote it; -1 for the language model without one.
    """

    cell: int = 0
    descriptors: tuple[float, ...] = ()
    origin: int = -1


class CellArchive:
    """Of each terrain, the best program of each cell. Of equally good ones the first found stays.

    Only cells that have an elite take memory, so that it grows with what is found and not with grid or terrains.
    """

    def __init__(self, n_terrains: int) -> None:
        """Starts empty.

        Args:
            n_terrains: how many terrains there are.
        """
        self._cells: list[dict[int, CellElite]] = [{} for _ in range(n_terrains)]

    def __len__(self) -> int:
        """Returns how many elites there are on all terrains."""
        return sum(map(len, self._cells))

    def add(self, terrain: int, elite: CellElite) -> bool:
        """Offers a program; returns whether it is its cell's best now.

        A program without tokens or without a cell, or whose fitness is no number, is turned away.
        """
        if not elite.ids or elite.cell < 0 or not math.isfinite(elite.fitness):
            return False
        known = self._cells[terrain].get(elite.cell)
        if known is not None and known.fitness >= elite.fitness:
            return False
        self._cells[terrain][elite.cell] = elite
        return True

    def cells(self, terrain: int) -> Mapping[int, CellElite]:
        """Returns a terrain's elites by the numbers of their cells."""
        return self._cells[terrain]

    def elites(self, terrain: int, share: float = 0.0) -> list[CellElite]:
        """Returns a terrain's elites, best first, then by cell.

        Args:
            terrain: which one.
            share: of the best one's fitness that the others must have: a bar that rises with the best.
        """
        found = sorted(self._cells[terrain].values(), key=lambda elite: (-elite.fitness, elite.cell))
        return [elite for elite in found if elite.fitness >= share * found[0].fitness]

    def qd_score(self, terrain: int) -> float:
        """Returns the summed fitness of a terrain's elites (Pugh et al. 2016, Quality Diversity, section 3)."""
        return math.fsum(elite.fitness for elite in self._cells[terrain].values())

    def state_dict(self) -> dict[str, Any]:
        """Returns plain lists and numbers from which :meth:`load_state_dict` continues."""
        return {"cells": [[_plain(elite) for elite in cells.values()] for cells in self._cells]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the elites of another archive.

        Raises:
            ValueError: the other archive had another number of terrains.
        """
        saved = state["cells"]
        if len(saved) != len(self._cells):
            raise ValueError(f"elites of {len(saved)} terrains do not fit an archive of {len(self._cells)}")
        self._cells = [{elite.cell: elite for elite in map(_elite, elites)} for elites in saved]


def spread(elites: Sequence[CellElite], points: Sequence[Sequence[float]], count: int) -> list[CellElite]:
    """Returns elites that lie far apart: the best, then each time the one farthest from those chosen.

    This is the greedy cover of Gonzalez (1985, Clustering to Minimize the Maximum Intercluster Distance), at most twice
    as coarse as the finest. Of two equally far the better one is taken.

    Args:
        elites: best first.
        points: where each lies, of the same length, such as its descriptors as shares of their extents.
        count: how many are chosen at most.
    """
    if not elites:
        return []
    chosen = [0]
    apart = [math.dist(points[0], point) for point in points]
    while len(chosen) < min(count, len(elites)):
        farthest = max(range(len(elites)), key=lambda k: (apart[k] if k not in chosen else -1.0, -k))
        chosen.append(farthest)
        apart = [min(a, math.dist(points[farthest], point)) for a, point in zip(apart, points, strict=True)]
    return [elites[k] for k in chosen]


def _plain(elite: CellElite) -> dict[str, Any]:
    return {**vars(elite), "ids": list(elite.ids), "descriptors": list(elite.descriptors)}


def _elite(plain: Mapping[str, Any]) -> CellElite:
    numbers: Iterable[float] = plain["descriptors"]
    return CellElite(**{**plain, "ids": tuple(plain["ids"]), "descriptors": tuple(numbers)})
