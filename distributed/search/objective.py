"""What members are compared by, fitness or how varied their programs are, and what a search says of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from distributed.config import RunConfig
from distributed.errors import UserError
from distributed.infra.numbers import fitness_text
from distributed.results.tables import VARIED
from distributed.rollout.types import Rollouts
from distributed.search.lineage import Entry, Record
from distributed.training.variety import FIGURES, variety_of
from terrains.niches import Niches

FITNESS = "fitness"
OF_KINDS = ("cells", "qd_score")
"""Objectives that need descriptors."""


def check_objective(config: RunConfig, niches: Niches | None) -> None:
    """Checks that the world can give what members are to be compared by.

    Args:
        config: settings of the search.
        niches: the world's grid, None for a world without descriptors.

    Raises:
        UserError: it cannot.
    """
    wanted = [name for name in config.search.objective if name in OF_KINDS]
    if niches is None and wanted:
        others = ", ".join(name for name in (FITNESS, *FIGURES) if name not in OF_KINDS)
        raise UserError(
            f"search.objective: {wanted[0]} needs descriptors, and the world {config.terrains.world} has no niches; "
            f"there are {others}"
        )


def figures_of(
    results: Sequence[Rollouts], terrains: Sequence[str], niches: Niches | None, bars: Sequence[float]
) -> dict[str, float]:
    """Returns how varied the programs of an evaluation are, by name: means over the terrains.

    Args:
        results: scored on their own terrain.
        terrains: names.
        niches: the world's grid, or None.
        bars: by terrain, fitness above which a cell counts.
    """
    found = [variety_of(results, k, niches, bar) for k, (_, bar) in enumerate(zip(terrains, bars, strict=True))]
    return {name: float(np.mean([each[name] for each in found])) for name in FIGURES if name in found[0]}


def value_of(found: Mapping[str, Any], objective: str) -> float:
    """Returns what a member's state, or a round of the record, reached; minus infinity where nobody noted it.

    Args:
        found: has ``fitness``, a number or one a terrain, and ``variety``, figures by name.
        objective: the name of one of these.
    """
    if objective == FITNESS:
        return float(np.mean(found["fitness"]))
    return float(found.get("variety", {}).get(objective, -math.inf))


def rank(found: Mapping[str, Any], objectives: Sequence[str]) -> tuple[float, ...]:
    """Returns what states and rounds are put in order by: the first objective, and where it is equal the next ones.

    Args:
        found: as for `value_of`.
        objectives: in their order; fitness comes last where it is none of them.
    """
    return tuple(value_of(found, name) for name in (*objectives, FITNESS))


def figures_in(found: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures of variety among the metrics of a round, by name."""
    return {name: float(found[name]) for name in FIGURES if name in found}


def front(rounds: Sequence[Entry], objectives: Sequence[str]) -> list[Entry]:
    """Returns the rounds that no other round beats in one objective without losing in another (Pareto).

    Of rounds that are equal in all, the first alone is returned.
    """
    rows = np.array([[value_of(each, name) for name in objectives] for each in rounds])
    kept = []
    for i, row in enumerate(rows):
        beaten = (rows >= row).all(axis=1) & (rows > row).any(axis=1)
        if not beaten.any() and not (rows[:i] == row).all(axis=1).any():
            kept.append(rounds[i])
    return kept


def value_text(name: str, value: float) -> str:
    """Returns what was reached as a text."""
    if not math.isfinite(value):
        return "-"
    if name in ("distinct", "cells"):
        return f"{value:.1f}"  # a mean over the terrains
    form = VARIED[name][1] if name in VARIED else None
    return (form or fitness_text)(value)


def standings(record: Record, objectives: Sequence[str]) -> Table:
    """Returns a table of the members as their last rounds left them, the best by the objectives on top."""
    last = [each for member in record.members() if (each := record.last(member))]
    told = [name for name in VARIED if any(name in each.get("variety", {}) for each in last)]
    table = Table(title="Members", title_justify="left", caption_justify="left", box=box.SIMPLE, pad_edge=False)
    table.caption = f"ranked by {objectives[0]} on the evaluation set, means over the terrains"
    for heading in ("member", "step", FITNESS, *(VARIED[name][0] for name in told)):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in sorted(last, key=lambda one: rank(one, objectives), reverse=True):
        texts = [value_text(name, value_of(each, name)) for name in (FITNESS, *told)]
        table.add_row(str(each["member"]), str(each["step"]), *texts)
    return table
