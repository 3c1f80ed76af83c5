"""The summary as tables that a person reads at the end of a run, on a terminal of 80 columns or in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from distributed.infra.numbers import decimals_for, interval_text, measure_text
from distributed.results.summary import Summary

MOST_TERRAINS = 12
"""With more terrains than this the transfer matrix is left to the report."""

MOST_MEASURES = 36
"""With more measures of terrains than this their table is left to the report."""

LONGEST_NAME = 28
"""Characters of a name on one line of a terminal; a longer one wraps."""

SHARES = len("valid  unique  ")

VARIED: dict[str, tuple[str, Callable[[float], str] | None]] = {
    "unique": ("unique", lambda share: f"{share:.0%}"),
    "distinct": ("distinct", lambda count: f"{count:.0f}"),
    "cells": ("cells", lambda count: f"{count:.0f}"),
    "unique_mean": ("mean of\nunique", None),
    "qd_score": ("QD\nscore", lambda score: f"{score:,.0f}"),
    "entropy": ("nats", lambda nats: f"{nats:.1f}"),
}
"""Columns of the table of variety: the heading, and how a figure is written; None as fitness is."""


def summary_tables(summary: Summary, width: int) -> Iterator[RenderableType]:
    """Yields the tables of a run, none wider than ``width`` characters and none of their numbers cut.

    Args:
        summary: what to show.
        width: characters of a line.
    """
    yield _titled(
        "Before and after tuning",
        [_before_and_after(summary, width)],
        "mean fitness, a failure counts as 0; 95% interval by bootstrap over the programs",
    )
    if summary.metrics and len(summary.terrains) * len(summary.metrics) <= MOST_MEASURES:
        yield _titled(
            "What the world measured",
            [_measures(summary, width)],
            "means over the programs that were evaluated, those of failures too",
        )
    elif summary.metrics:
        yield Text(f"What the world measured: the report has the table of {', '.join(summary.metrics)}\n")
    if summary.variety and len(summary.terrains) <= MOST_TERRAINS:
        yield _titled("How varied the programs are", [_varied(summary, width)], _what_is_counted(summary))
    if len(summary.terrains) > MOST_TERRAINS:
        yield Text(f"Every prompt on every terrain: the report has the table of {len(summary.terrains)} prompts\n")
        return
    if len(summary.terrains) > 1 and all(set(means) <= {name} for name, means in summary.transfer.items()):
        yield Text("No prompt was tried on another terrain, as their instructions differ\n")
        return
    yield _titled(
        "Every prompt on every terrain",
        _transfer(summary, width),
        "mean fitness; valid (on its own terrain) and unique: of a prompt's programs",
    )


def _titled(title: str, tables: Sequence[Table], caption: str) -> Group:
    """Tables between their title and their caption, which rich would wrap to the width of a table."""
    return Group(Text(title, style="italic"), *tables, Text(f"{caption}\n", style="dim italic"))


def _table(names: str, labels: Sequence[str], width: int) -> Table:
    """A table whose first column holds names, whole where ``width`` characters allow it; numbers are never broken."""
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(names, overflow="fold", max_width=_label_width([names, *labels], width), min_width=len(names))
    return table


def _label_width(labels: Sequence[str], width: int) -> int:
    # A log has lines of any length, so there a name stays whole and can be searched.
    return min(max(map(len, labels)), max(LONGEST_NAME, width // 3))


def _before_and_after(summary: Summary, width: int) -> Table:
    table = _table("terrain", list(summary.terrains), width)
    n = max(row.n for row in summary.terrains.values())
    for heading in ("untuned", f"best\nof {n}", "warm\nstart", "tuned", "95%\ninterval", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    digits = fitness_decimals(summary)
    for name, row in summary.terrains.items():
        low, high = row.tuned_interval
        table.add_row(
            Text(name),
            f"{row.untuned_mean:.{digits}f}",
            f"{row.best_of_n:.{digits}f}",
            "-" if row.warm_start_mean is None else f"{row.warm_start_mean:.{digits}f}",
            Text(f"{row.tuned_mean:.{digits}f}", style="bold"),
            interval_text(low, high, 0 if digits == 1 else digits, "-"),
            "-" if row.ratio is None else f"{row.ratio:.1f}x",
        )
    return table


def _measures(summary: Summary, width: int) -> Table:
    """What was measured before and after, a row a measure and terrain."""
    assert summary.metrics is not None
    units = {name: summary.unit(name) for name in summary.metrics}
    heads = [f"{name} ({unit})" if unit not in ("", name) else name for name, unit in units.items()]
    table = _table("measure", heads, width)
    table.add_column("terrain", overflow="fold", min_width=len("terrain"))
    for heading in ("untuned", "tuned"):
        table.add_column(heading, justify="right", no_wrap=True)
    for head, terrains in zip(heads, summary.metrics.values(), strict=True):
        for k, (terrain, means) in enumerate(terrains.items()):
            before, after = (measure_text(means.get(when)) for when in ("untuned", "tuned"))
            table.add_row(Text(head if k == 0 else ""), Text(terrain), before, Text(after, style="bold"))
    return table


def _varied(summary: Summary, width: int) -> Table:
    """Variety before and after, a row each; a column only of what is known."""
    assert summary.variety is not None
    table, columns = _table("terrain", list(summary.variety), width), varied_columns(summary)
    table.add_column("", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for terrain, said in summary.variety.items():
        for k, (when, figures) in enumerate(said.items()):
            texts = [varied_text(summary, figures, name, "-") for name in columns]
            bold = "bold" if when == "tuned" else ""
            table.add_row(Text(terrain if k == 0 else ""), when, *texts, style=bold)
    return table


def varied_columns(summary: Summary) -> dict[str, str]:
    """Returns the figures of variety that a run has, by name, with their headings."""
    told = {name for terrain in (summary.variety or {}).values() for said in terrain.values() for name in said}
    return {name: heading for name, (heading, _) in VARIED.items() if name in told}


def varied_text(summary: Summary, figures: Mapping[str, float], name: str, missing: str) -> str:
    """Returns one of the figures of variety as a text.

    Args:
        summary: says how many decimals fitness has.
        figures: by name.
        name: which one.
        missing: what stands for one that is not known.
    """
    if name not in figures:
        return missing
    form = VARIED[name][1]
    return f"{figures[name]:.{fitness_decimals(summary)}f}" if form is None else form(figures[name])


def _what_is_counted(summary: Summary) -> str:
    """What the columns of `_varied` mean."""
    said = "distinct: different outcomes; nats: what a program costs under its own policy"
    if summary.niches is None:
        return said
    kinds = ", ".join(summary.niches.names)
    return f"{said}\ncells: kinds by {kinds} that have a program above half of the untuned best"


def fitness_decimals(summary: Summary) -> int:
    """Returns how many decimals means of fitness have in tables and on pages."""
    rows = summary.terrains.values()
    return decimals_for(value for row in rows for value in (row.untuned_mean, row.tuned_mean, *row.tuned_interval))


def _transfer(summary: Summary, width: int) -> list[Table]:
    """Every prompt on every terrain: one table, or several where its columns are too many for one."""
    names = list(summary.terrains)
    labels, headings = _headings(summary, width)
    rows = {"none": {name: row.untuned_mean for name, row in summary.terrains.items()}} | summary.transfer
    digits = fitness_decimals(summary)
    cells = {name: [f"{means[name]:.{digits}f}" if name in means else "-" for means in rows.values()] for name in names}
    widths = [2 + max(len(heading), *map(len, cells[name])) for name, heading in zip(names, headings, strict=True)]
    label_width = _label_width(["prompt", *(labels.get(prompt, prompt) for prompt in rows)], width)
    tables = []
    for k, block in enumerate(_blocks(widths, width - label_width - SHARES)):
        table = _table("prompt", [labels.get(prompt, prompt) for prompt in rows], width)
        for heading in ("valid", "unique") if k == 0 else ():
            table.add_column(heading, justify="right", no_wrap=True)
        for j in block:
            table.add_column(Text(headings[j]), justify="right", no_wrap=True)
        for i, prompt in enumerate(rows):
            shares = _shares(summary, prompt) if k == 0 else ()
            own = [Text(cells[names[j]][i], style="bold" if names[j] == prompt else "") for j in block]
            table.add_row(Text(labels.get(prompt, prompt)), *shares, *own, style="dim" if prompt == "none" else "")
        tables.append(table)
    return tables


def _headings(summary: Summary, width: int) -> tuple[dict[str, str], list[str]]:
    """Labels of the rows and headings of the columns: names where all fit on one line, else numbers."""
    names = list(summary.terrains)
    if sum(2 + max(6, len(name)) for name in names) <= width - _label_width(["prompt", *names], width) - SHARES:
        return {}, names
    # A space that does not break keeps the number beside a name that wraps.
    return {name: f"{k}\u00a0{name}" for k, name in enumerate(names, 1)}, [str(k) for k in range(1, len(names) + 1)]


def _blocks(widths: Sequence[int], room: int) -> list[list[int]]:
    """Cuts columns of some widths into runs that each fit into the room."""
    blocks: list[list[int]] = [[]]
    for j, each in enumerate(widths):
        if blocks[-1] and sum(widths[i] for i in blocks[-1]) + each > room:
            blocks.append([])
        blocks[-1].append(j)
    return blocks


def _shares(summary: Summary, prompt: str) -> tuple[str, str]:
    """Valid and unique programs of a prompt; of the untuned model the mean over the terrains."""
    if prompt == "none":
        untuned = [row.untuned_valid for row in summary.terrains.values()]
        return f"{sum(untuned) / len(untuned):.0%}", ""
    own = summary.terrains.get(prompt)
    return (f"{own.tuned_valid:.0%}", f"{own.tuned_unique:.0%}") if own else ("-", "-")
