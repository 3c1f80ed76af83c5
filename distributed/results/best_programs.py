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

    Failures are left out.

    Args:
        terrains: names, in the run's order.
        untuned: ``fitness`` and ``valid`` (n, n_terrains) and ``best`` programs by terrain, as the training loop keeps
            them.
        tuned: by terrain, ``fitness`` and ``valid`` (m, n_terrains) and ``programs``.
    """
    found: list[Found] = []
    for k, name in enumerate(terrains):
        bare, bare_valid = _of(untuned, k)
        own, valid = _of(tuned[name], k)
        programs = tuned[name]["programs"]
        best, middle = int(np.where(valid, own, -np.inf).argmax()), int(np.argsort(own)[len(own) // 2])
        if bare_valid.any():
            top = float(bare[bare_valid].max())
            found.append(Found(name, "best untuned", untuned["best"][k], top))
        rows = {"best tuned": best, "median tuned": middle}
        found += [Found(name, title, programs[i], float(own[i])) for title, i in rows.items() if valid[i]]
    return found


def _of(evaluated: Mapping[str, Any], terrain: int) -> tuple[np.ndarray, np.ndarray]:
    """Fitness and validity on one terrain, each (n,)."""
    fitness = np.asarray(evaluated["fitness"])[:, terrain]
    valid = np.asarray(evaluated["valid"])[:, terrain] if "valid" in evaluated else fitness > 0
    return fitness, valid.astype(bool)
