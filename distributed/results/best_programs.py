"""The programs of a run that are worth looking at: of each terrain the best, a typical one, and different good ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from terrains.niches import Niches

MOST = 8
"""Different programs of a terrain that are shown."""


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


def different_found(
    terrains: Sequence[str], tuned: Mapping[str, Any], niches: Niches | None, bars: Sequence[float], most: int = MOST
) -> list[Found]:
    """Returns each terrain's best programs with different outcomes, the best first; failures are left out.

    The best of each kind that is above the bar comes in before any others, and those fill up what room is left.

    Args:
        terrains: names, in the run's order.
        tuned: by terrain, what `evaluation.evaluate_prompts` of the training keeps.
        niches: the world's grid, None for a world without descriptors.
        bars: of each terrain, fitness above which a kind counts.
        most: how many programs of a terrain there are at most.
    """
    found: list[Found] = []
    for k, (name, bar) in enumerate(zip(terrains, bars, strict=True)):
        each = tuned[name]
        fitness, valid = _of(each, k)
        programs = each["programs"]
        outcomes = np.asarray(each["identity"]).tolist() if "identity" in each else programs
        first: dict[Any, int] = {}
        for i in np.argsort(-fitness, kind="stable").tolist():
            if valid[i]:
                first.setdefault(outcomes[i], i)
        rows = list(first.values())
        cells = _cells(each, niches)
        kinds = {cells[i]: i for i in reversed(rows) if fitness[i] > bar and cells[i] >= 0}
        chosen = sorted([*kinds.values()], key=lambda i: -fitness[i])[:most]
        chosen += [i for i in rows if i not in chosen][: most - len(chosen)]
        chosen.sort(key=lambda i: -fitness[i])
        found += [Found(name, _described(each, niches, i), programs[i], float(fitness[i])) for i in chosen]
    return found


def _cells(evaluated: Mapping[str, Any], niches: Niches | None) -> list[int]:
    """The cell of each program, -1 where it has none."""
    if niches is None or "descriptors" not in evaluated:
        return [-1] * len(evaluated["programs"])
    return niches.cell(np.asarray(evaluated["descriptors"])).tolist()


def _described(evaluated: Mapping[str, Any], niches: Niches | None, row: int) -> str:
    """A program's descriptors in words, such as ``height 40, width 51``; empty where it has none."""
    if niches is None or "descriptors" not in evaluated:
        return ""
    values = np.asarray(evaluated["descriptors"])[row].tolist()
    return ", ".join(f"{name} {value:.3g}" for name, value in zip(niches.names, values, strict=True))


def _of(evaluated: Mapping[str, Any], terrain: int) -> tuple[np.ndarray, np.ndarray]:
    """Fitness and validity on one terrain, each (n,)."""
    fitness = np.asarray(evaluated["fitness"])[:, terrain]
    valid = np.asarray(evaluated["valid"])[:, terrain] if "valid" in evaluated else fitness > 0
    return fitness, valid.astype(bool)
