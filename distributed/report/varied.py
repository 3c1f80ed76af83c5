"""The section of a run's page on how varied its programs are, with a map of their kinds for each terrain."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from distributed.report.player import colour, terrain_name
from distributed.report.sections import counted_in, dotted
from distributed.results.summary import Summary
from distributed.results.tables import varied_columns, varied_text
from terrains.niches import Niches

SIDE = 14
"""Length of a cell's side, in units of the picture."""


def varied_section(summary: Summary) -> str:
    """The section; empty for runs of before variety was measured."""
    if not summary.variety:
        return ""
    maps = _maps(summary)
    note = (
        "Of the programs drawn: the share of different texts, different outcomes, the mean fitness of the different "
        "texts, and what a program costs under its own policy in nats."
    )
    if summary.niches is not None:
        note += (
            f" Kinds of programs are cells of {_listed(summary.niches.names)}; a cell counts where a program of it "
            f"reaches half of the untuned model's best. The QD score is the summed fitness of each cell's best"
            f"{counted_in(summary)}."
        )
    return (
        f'<section><h2>Variety</h2><p class="note">{note}</p>'
        '<div class="wide"><div class="frame"><div class="scroll" role="region" aria-label="Variety">'
        f'{_table(summary)}</div></div><p class="hint">More columns: scroll the table sideways.</p></div>'
        f"{maps}</section>"
    )


def _table(summary: Summary) -> str:
    assert summary.variety is not None
    columns = varied_columns(summary)
    heads = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in columns.values())
    body = ""
    for i, terrain in enumerate(summary.terrains):
        said, cells = summary.variety.get(terrain, {}), ""
        for name in columns:
            before, after = (varied_text(summary, said.get(when, {}), name, "–") for when in ("untuned", "tuned"))
            cells += f"<td>{before} → <b>{after}</b></td>"
        head = f'<th scope="row"><span class="named">{dotted(terrain)}</span></th>'
        body += f'<tr style="{colour(i)}">{head}{cells}</tr>'
    return f"<table><thead><tr><th>terrain</th>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _maps(summary: Summary) -> str:
    """A map a terrain: the first two descriptors, and in each place the best over the others."""
    niches = summary.niches
    if niches is None or len(niches.names) < 2 or not summary.best_of_cells:
        return ""
    figures = "".join(
        f'<figure style="{colour(i)}">{_map(niches, summary.best_of_cells.get(name, {}), name)}'
        f"<figcaption>{terrain_name(name)}</figcaption></figure>"
        for i, name in enumerate(summary.terrains)
    )
    others = f", over every {_listed(niches.names[2:])}" if niches.names[2:] else ""
    return (
        f'<p class="note">The best fitness behind each terrain\'s prompts by {escape(niches.names[1])} and '
        f"{escape(niches.names[0])}{others}; the darker, the better.</p><div class='cells'>{figures}</div>"
    )


def _map(niches: Niches, best: Mapping[int, float], name: str) -> str:
    down, along = niches.cells[:2]
    table = np.zeros((down, along))
    for cell, place in zip(best, niches.places(np.array(list(best), dtype=np.int64)), strict=True):
        table[place[0], place[1]] = max(table[place[0], place[1]], best[cell])
    top = table.max() or 1.0
    squares = ""
    for y, x in np.argwhere(table > 0).tolist():
        share = 0.15 + 0.85 * table[y, x] / top
        squares += (
            f'<rect x="{x * SIDE}" y="{(down - 1 - y) * SIDE}" width="{SIDE - 1}" height="{SIDE - 1}" '
            f'fill="var(--c)" fill-opacity="{share:.2f}"><title>{table[y, x]:.4g}</title></rect>'
        )
    wide, high = along * SIDE, down * SIDE
    label = f"{len(best)} kinds of programs behind the prompts of {name}, the best {table.max():.4g}"
    ends = [f"{niches.low[1]:g} to {niches.high[1]:g}", f"{niches.low[0]:g} to {niches.high[0]:g}"]
    return (
        f'<svg viewBox="-16 0 {wide + 17} {high + 18}" role="img" aria-label="{escape(label)}">'
        f'<rect x="-.5" y="-.5" width="{wide}" height="{high}" fill="none" stroke="currentColor" stroke-opacity=".3"/>'
        f"{squares}"
        f'<text x="{wide / 2}" y="{high + 13}" text-anchor="middle">{escape(niches.names[1])}, {ends[0]}</text>'
        f'<text x="{-high / 2}" y="-6" text-anchor="middle" transform="rotate(-90)">'
        f"{escape(niches.names[0])}, {ends[1]}</text></svg>"
    )


def _listed(names: tuple[str, ...]) -> str:
    """Names with commas, and one "and"."""
    said = [escape(name) for name in names]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
