"""One self-contained HTML page a run: before and after, curves, transfer matrix, the best walkers moving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed.report import sections as parts
from distributed.report.curves import curves
from distributed.report.html import render_page, write_page
from distributed.report.player import SCRIPT, arenas_data, by_terrain, walkers_section
from distributed.report.shows import Show
from distributed.report.varied import varied_section
from distributed.results.summary import Summary
from distributed.results.tables import fitness_decimals


def write_report(
    path: str | Path,
    summary: Summary,
    history: Sequence[Mapping[str, Any]],
    walkers: Sequence[Show] = (),
    meta: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page, whole or not at all.

    Args:
        path: the HTML file to write.
        summary: the run's summary.
        history: one mapping a step: ``step``, ``phase``, and metrics, those of one terrain as ``metric/terrain``.
            What is not a number is left out of the curves.
        walkers: programs to show, best first.
        meta: ``title`` for the heading; the rest is listed under it in its order.

    Returns:
        The path.
    """
    return write_page(path, render_report(summary, history, walkers, meta))


def render_report(
    summary: Summary,
    history: Sequence[Mapping[str, Any]],
    walkers: Sequence[Show] = (),
    meta: Mapping[str, Any] | None = None,
) -> str:
    """The page that ``write_report`` writes, as text."""
    names = list(summary.terrains)
    arenas = by_terrain(walkers, names)
    meta = dict(meta or {})
    decimals = fitness_decimals(summary)
    title = str(meta.pop("title", "What the prompts learnt"))
    return render_page(
        "report.html",
        title,
        [SCRIPT, "report.js"],
        {"terrains": names, **curves(history, summary), "arenas": arenas_data(arenas)},
        facts=parts.facts(summary, meta),
        tiles="".join(parts.tile(i, *each, decimals) for i, each in enumerate(summary.terrains.items())),
        counted_in=parts.counted_in(summary),
        measured=parts.measured(summary),
        varied=varied_section(summary),
        before_after=parts.before_after(summary),
        transfer=parts.transfer_section(summary),
        walkers=walkers_section(arenas, names, "The best programs"),
        config=parts.config_section(summary),
    )
