"""How varied programs are: shares of different ones, kinds of them that are any good, and what these are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distributed.rollout.types import Rollouts
from distributed.training.evaluation import scored_on
from terrains.niches import Niches

VARIETY = ("distinct", "unique_mean", "entropy", "cells", "qd_score")
"""Names of the figures beside ``unique``; the last two are of worlds with descriptors alone."""


FIGURES = ("unique", *VARIETY)
"""All of them."""


def variety_of(
    results: Sequence[Rollouts], terrain: int, niches: Niches | None, bar: float, prompted: bool = True
) -> dict[str, Any]:
    """Returns how varied the programs that were written for a terrain are.

    Args:
        results: scored on their own terrain, or on all.
        terrain: its index.
        niches: the world's grid, or None.
        bar: fitness above which a cell counts.
        prompted: False takes programs that were scored on the terrain, whichever they were written for.

    Returns:
        ``unique``, the share of different texts; ``distinct``, the number of different outcomes; ``unique_mean``, mean
        fitness of the different texts; ``entropy``, nats a program: what a program cost on average under the policy
        that drew it, an unbiased estimate of the entropy where the temperature is 1 and nothing is cut off. With a
        grid also ``cells``, how many have a program above the bar, ``qd_score``, the summed fitness of each cell's best
        (Pugh et al. 2016), and ``best_of_cells``, that best by the cell's number.
    """
    chosen = [(r, np.flatnonzero(r.terrain == terrain) if prompted else scored_on(r, terrain)[0]) for r in results]
    rows = [(r, i) for r, own in chosen for i in own.tolist()]
    fitness = np.array([r.fitness[i, terrain if r.fitness.shape[1] > 1 else 0] for r, i in rows])
    programs = [r.programs[i] for r, i in rows]
    first = {text: value for text, value in zip(reversed(programs), reversed(fitness.tolist()), strict=True)}
    found: dict[str, Any] = {
        "unique": len(first) / len(programs),
        "distinct": len({int(r.identity[i]) for r, i in rows}),
        "unique_mean": float(np.mean(list(first.values()))),
        "entropy": float(np.mean([-(r.logprobs[i] * r.mask[i]).sum(dtype=np.float64) for r, i in rows])),
    }
    return found | (_cells(rows, fitness, niches, bar) if niches else {})


def _cells(rows: Sequence[tuple[Rollouts, int]], fitness: np.ndarray, niches: Niches, bar: float) -> dict[str, Any]:
    cells = niches.cell(np.stack([r.descriptors[i] for r, i in rows]))
    best: dict[int, float] = {}
    for cell, value in zip(cells.tolist(), fitness.tolist(), strict=True):
        if cell >= 0 and value > 0:
            best[cell] = max(best.get(cell, 0.0), value)
    good = sum(value > bar for value in best.values())
    return {"cells": good, "qd_score": float(sum(best.values())), "best_of_cells": dict(sorted(best.items()))}


def variety_metrics(terrains: Sequence[str], found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the figures of `variety_of` by terrain, as metrics of a step, and means of all but ``unique``."""
    names = [name for name in VARIETY if all(name in each for each in found)]
    pairs = list(zip(terrains, found, strict=True))
    own = {f"{name}/{t}": float(each[name]) for name in ("unique", *names) for t, each in pairs}
    return own | {f"{name}/mean": float(np.mean([each[name] for each in found])) for name in names}


def bars(untuned: Mapping[str, Any]) -> list[float]:
    """Returns by terrain what makes a cell count: half the best fitness of the bare language model's programs."""
    return (np.asarray(untuned["fitness"]).max(axis=0) / 2).tolist()
