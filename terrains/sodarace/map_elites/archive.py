"""The archives of MAP-Elites: of every kind of walker, the one that goes furthest (Mouret & Clune 2015, section 3)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terrains.sodarace.canonical import NICHES


class NicheConfig(BaseModel):
    """The grid of niches: what counts as the same kind of walker."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cells: tuple[int, int, int] = (NICHES.cells[0], NICHES.cells[1], NICHES.cells[2])
    """Cells along height, width and mass."""
    low: tuple[float, float, float] = (NICHES.low[0], NICHES.low[1], NICHES.low[2])
    """Lower ends, program units; what lies below belongs to the first cell."""
    high: tuple[float, float, float] = (NICHES.high[0], NICHES.high[1], NICHES.high[2])
    """Upper ends; what lies above belongs to the last cell."""
    keep_above: float = Field(0.5, ge=0, le=1)
    """A program is kept while its fitness is at least this share of its niche's best, in one archive or more (ELM's
    filter, Lehman et al. 2022, section 6)."""


class Archives:
    """One archive per group of terrains; the objective is the mean fitness over the group.

    Programs are known by their numbers. Nothing here is random but what the caller's generator draws.

    Args:
        groups: names of the terrains of each group, by the group's name.
        terrains: names of all terrains, in the order in which fitness is given.
        niches: the grid.
        min_fitness: what reaches less in a group is no elite of it.
    """

    def __init__(
        self, groups: Mapping[str, Sequence[str]], terrains: Sequence[str], niches: NicheConfig, min_fitness: float
    ) -> None:
        # Where torch is installed pyribs imports it, and whoever only reads a corpus should not wait for that.
        from ribs.archives import GridArchive

        self.groups = list(groups)
        self.niches = niches
        self.min_fitness = min_fitness
        self._columns = [[list(terrains).index(name) for name in names] for names in groups.values()]
        self._archives = [
            GridArchive(
                solution_dim=(),
                dims=niches.cells,
                ranges=list(zip(niches.low, niches.high, strict=True)),
                solution_dtype=np.int64,
            )
            for _ in groups
        ]
        self._best = np.zeros((len(groups), int(np.prod(niches.cells))))
        self._elites = [(np.empty(0, np.int64), np.empty(0)) for _ in groups]

    def objectives(self, fitness: np.ndarray) -> np.ndarray:
        """Mean fitness over the terrains of each group.

        Args:
            fitness: shape (n, n_terrains).

        Returns:
            Shape (n, n_groups).
        """
        return np.stack([fitness[:, columns].mean(1) for columns in self._columns], axis=1)

    def niche(self, descriptors: np.ndarray) -> np.ndarray:
        """Number of the cell of each walker, shape (n,), from descriptors of shape (n, 3)."""
        return self._archives[0].index_of(descriptors)

    def add(self, ids: np.ndarray, fitness: np.ndarray, descriptors: np.ndarray) -> None:
        """Offers programs to every archive.

        Args:
            ids: their numbers, shape (n,).
            fitness: shape (n, n_terrains).
            descriptors: height, width, mass, shape (n, 3).
        """
        objectives = self.objectives(fitness)
        for k, (archive, values) in enumerate(zip(self._archives, objectives.T, strict=True)):
            fit = values >= self.min_fitness
            if fit.any():
                archive.add(ids[fit], values[fit], descriptors[fit])
                elites = archive.data(["index", "solution", "objective"])
                order = np.argsort(elites["index"])
                self._best[k, elites["index"]] = elites["objective"]
                self._elites[k] = elites["solution"][order], elites["objective"][order]

    def shares(self, fitness: np.ndarray, niche: np.ndarray) -> np.ndarray:
        """How near programs come to their niche's best: the greatest share of it over the groups.

        Args:
            fitness: shape (n, n_terrains).
            niche: numbers of their cells, shape (n,).

        Returns:
            Shape (n,), in [0, 1] for programs that were offered; 0 where the niche has no elite.
        """
        best = self._best[:, niche].T
        return np.divide(self.objectives(fitness), best, out=np.zeros_like(best), where=best > 0).max(1)

    def best_of(self, niche: int) -> dict[str, float]:
        """The best objective of a niche, by group; 0 where it has no elite."""
        return {name: round(float(best[niche]), 2) for name, best in zip(self.groups, self._best, strict=True)}

    def draw(self, rng: random.Random, rivals: int) -> int:
        """Draws a parent: an archive at random, then the best of ``rivals`` elites of it, each from a random niche.

        Raises:
            IndexError: all archives are empty.
        """
        ids, values = rng.choice([elites for elites in self._elites if len(elites[0])])
        return int(ids[max((rng.randrange(len(ids)) for _ in range(rivals)), key=lambda k: values[k])])

    def elites(self) -> set[int]:
        """Numbers of the programs that are an elite now."""
        return {int(k) for ids, _ in self._elites for k in ids}

    def coverage(self) -> dict[str, float]:
        """Share of the niches that have an elite, by group."""
        return {name: float(a.stats.coverage) for name, a in zip(self.groups, self._archives, strict=True)}

    def qd_score(self) -> dict[str, float]:
        """Summed fitness of the elites, by group (Pugh et al. 2016)."""
        return {name: float(a.stats.qd_score) for name, a in zip(self.groups, self._archives, strict=True)}
