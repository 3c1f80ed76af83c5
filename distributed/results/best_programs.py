"""The programs of a run that are worth looking at: of each terrain the best, and a typical one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Found:
    """A program that a run found, on one of its terrains.

    Attributes:
        terrain: name of the terrain.
        title: which of the run's programs it is, for example ``best tuned``.
        program: its text.
        fitness: its fitness on that terrain.
    """

    terrain: str
    title: str
    program: str
    fitness: float


def best_found(terrains: Sequence[str], untuned: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[Found]:
    """Returns each terrain's best untuned program, and the best and the median under its tuned prompt.

    Those with a fitness of 0 or less are left out.

    Args:
        terrains: names, in the run's order.
        untuned: ``fitness`` (n, n_terrains) and ``best`` programs by terrain, as the training loop keeps them.
        tuned: by terrain, ``fitness`` (m, n_terrains) and ``programs``.
    """
    found = []
    for k, name in enumerate(terrains):
        own, programs = np.asarray(tuned[name]["fitness"])[:, k], tuned[name]["programs"]
        best, middle = int(own.argmax()), int(np.argsort(own)[len(own) // 2])
        found += [
            Found(name, "best untuned", untuned["best"][k], float(np.asarray(untuned["fitness"])[:, k].max())),
            Found(name, "best tuned", programs[best], float(own[best])),
            Found(name, "median tuned", programs[middle], float(own[middle])),
        ]
    return [each for each in found if each.fitness > 0]
