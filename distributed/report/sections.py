"""The HTML sections of a run's report: tiles, tables and panels. Names and settings are escaped here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from distributed.infra.numbers import interval_text, measure_text
from distributed.report.metrics import with_unit
from distributed.report.player import colour, terrain_name
from distributed.results.summary import Summary, TerrainSummary
from distributed.results.tables import fitness_decimals


def facts(summary: Summary, meta: Mapping[str, Any]) -> str:
    """Facts about the run as labels and values: those of ``meta`` first, then those of the summary that it lacks."""
    minutes, seconds = divmod(round(summary.seconds), 60)
    rows = dict(meta)
    known = {
        "digest of the weights": summary.lm_hash and summary.lm_hash[:12],
        "seed": summary.seed,
        "steps": summary.steps,
        "training rollouts": f"{summary.rollouts:,}",
        "time": f"{minutes} min {seconds:02d} s",
        "requests sent again": None if summary.losses is None else _sent_again(summary.losses),
    }
    rows |= {key: value for key, value in known.items() if value is not None and key not in rows}
    return "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd></div>" for key, value in rows.items()
    )


def _sent_again(losses: Mapping[str, int]) -> int:
    """Requests sent again: all fault counters of the pool but that of replaced workers."""
    return sum(count for fault, count in losses.items() if fault != "replacements")


def dotted(terrain: str) -> str:
    """A terrain's name behind a dot of its colour."""
    return f'<span class="dot"></span><span>{terrain_name(terrain)}</span>'


def tile(index: int, name: str, row: TerrainSummary, decimals: int = 1) -> str:
    """One terrain's result: mean, ratio, interval and share of valid programs."""
    interval = interval_text(*row.tuned_interval, decimals)
    ratio = "" if row.ratio is None else f"<small>{row.ratio:.1f}× untuned</small>"
    return (
        f'<div class="tile" style="{colour(index)}"><div class="name named">{dotted(name)}</div>'
        f'<div class="big">{row.tuned_mean:.{decimals}f}{ratio}</div>'
        f'<div class="sub">{interval} &nbsp; {row.tuned_valid:.0%} valid</div></div>'
    )


def before_after(summary: Summary) -> str:
    """The table before and after tuning, with a small chart in each row."""
    rows = summary.terrains.values()
    low, high = _reach(list(rows))
    n = fitness_decimals(summary)
    heads = ("untuned", "valid", "best of n", "warm start", "tuned", "95% interval", "ratio", "valid", "unique")
    lines = []
    for i, (name, row) in enumerate(summary.terrains.items()):
        cells = [
            f"<td>{row.untuned_mean:.{n}f}</td><td>{row.untuned_valid:.0%}</td>",
            f"<td>{row.best_of_n:.{n}f} <small>of {row.n:,}</small></td>",
            "<td>–</td>" if row.warm_start_mean is None else f"<td>{row.warm_start_mean:.{n}f}</td>",
            f'<td class="strong">{row.tuned_mean:.{n}f}</td><td>{interval_text(*row.tuned_interval, n)}</td>',
            "<td>–</td>" if row.ratio is None else f'<td class="strong">{row.ratio:.1f}×</td>',
            f"<td>{row.tuned_valid:.0%}</td><td>{row.tuned_unique:.0%}</td>",
        ]
        lines.append(
            f'<tr style="{colour(i)}"><th scope="row"><span class="named">{dotted(name)}</span></th>'
            f'<td style="width:22%">{_range(row, low, high)}</td>{"".join(cells)}</tr>'
        )
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    head = f'<tr><th>terrain</th><th aria-label="range"></th>{head}</tr>'
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def _reach(rows: Sequence[TerrainSummary]) -> tuple[float, float]:
    """The ends of the small charts: 0, or the least of all marks where it is below, and the greatest of all."""
    marks = [mark for r in rows for mark in (r.untuned_mean, r.warm_start_mean, *r.tuned_interval, r.tuned_mean)]
    known = [mark for mark in marks if mark is not None] + [r.best_of_n for r in rows]
    low, high = min(0.0, *known), max(known)
    return low, high if high > low else low + 1.0


def _range(row: TerrainSummary, start: float, end: float) -> str:
    """Untuned, warm, tuned and best of n on one line from ``start`` to ``end``."""

    def place(value: float) -> float:
        return 100 * (value - start) / (end - start)

    low, high = map(place, row.tuned_interval)
    marks = [
        ("best", row.best_of_n),
        ("untuned", row.untuned_mean),
        ("warm", row.warm_start_mean),
        ("tuned", row.tuned_mean),
    ]
    dots = "".join(f'<i class="mark-{k}" style="--x:{place(v):.2f}"></i>' for k, v in marks if v is not None)
    return f'<div class="range"><b style="--x:{low:.2f};--w:{high - low:.2f}"></b>{dots}</div>'


def measured(summary: Summary) -> str:
    """The section with what the world measured, before and after tuning; empty where it measures nothing."""
    if not summary.metrics:
        return ""
    heads = "".join(f'<th scope="col">{escape(with_unit(name, summary.unit(name)))}</th>' for name in summary.metrics)
    body = ""
    for i, terrain in enumerate(summary.terrains):
        cells = "".join(_before_to_after(means.get(terrain, {})) for means in summary.metrics.values())
        name = f'<th scope="row"><span class="named">{dotted(terrain)}</span></th>'
        body += f'<tr style="{colour(i)}">{name}{cells}</tr>'
    table = f"<table><thead><tr><th>terrain</th>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return (
        "<section><h2>Measures</h2>"
        '<p class="note">What the world measured besides: untuned → tuned, means over all programs that were '
        "evaluated, failed ones too.</p>"
        '<div class="wide"><div class="frame"><div class="scroll" role="region" aria-label="Measures">'
        f'{table}</div></div><p class="hint">More columns: scroll the table sideways.</p></div></section>'
    )


def _before_to_after(means: Mapping[str, float]) -> str:
    before, after = (measure_text(means.get(when)) for when in ("untuned", "tuned"))
    return f"<td>{before} → <b>{after}</b></td>"


def counted_in(summary: Summary) -> str:
    """What fitness is counted in, as part of a sentence."""
    unit = summary.unit("fitness")
    return f", in {escape(unit)}" if unit else ""


def transfer_section(summary: Summary) -> str:
    """The section of prompts on each other's terrains; one line where none was tried on another."""
    alone = all(set(means) <= {prompt} for prompt, means in summary.transfer.items())
    if len(summary.terrains) > 1 and alone:
        return (
            '<section><h2>Transfer</h2><p class="note">No prompt was tried on another terrain, as their instructions '
            "differ.</p></section>"
        )
    return (
        "<section>\n<h2>Transfer</h2>\n"
        f'<p class="note">Each prompt\'s mean fitness on each terrain{counted_in(summary)}, and its 95% bootstrap '
        "interval over the programs drawn. A column is shaded relative to its best prompt; a prompt's own terrain is "
        "outlined.</p>\n"
        '<div class="wide"><div class="frame"><div class="scroll" role="region" aria-label="Transfer">'
        f'{transfer_matrix(summary)}</div></div><p class="hint">More columns: scroll the table sideways.</p></div>\n'
        "</section>"
    )


def transfer_matrix(summary: Summary) -> str:
    """The heat map of prompts over terrains, under a row for the LM without a prompt."""
    names = list(summary.terrains)
    digits = fitness_decimals(summary)
    best = {t: max((row[t] for row in summary.transfer.values() if t in row), default=0.0) for t in names}
    untuned = {t: summary.terrains[t].untuned_mean for t in names}
    untuned_ends = {t: row.untuned_interval for t, row in summary.terrains.items()}
    intervals: dict[str, Mapping[str, tuple[float, float] | None]] = {"": untuned_ends}
    intervals.update(summary.transfer_interval or {})

    def cell(prompt: str, terrain: str, mean: float | None) -> str:
        if mean is None:
            return "<td>–</td>"
        ends = intervals.get(prompt, {}).get(terrain)
        interval = "" if ends is None else f"<small>{interval_text(*ends, digits)}</small>"
        heat = min(max(mean / best[terrain], 0.0), 1.0) if best[terrain] > 0 else 0.0
        own = ' class="own"' if prompt == terrain else ""
        return f'<td{own} style="--h:{heat:.3f}">{mean:.{digits}f}{interval}</td>'

    head = "".join(f'<th scope="col">{terrain_name(t)}</th>' for t in names)
    none = "".join(cell("", t, untuned[t]) for t in names)
    body = "".join(
        f'<tr><th scope="row">{terrain_name(prompt)}</th>{"".join(cell(prompt, t, means.get(t)) for t in names)}</tr>'
        for prompt, means in summary.transfer.items()
    )
    return (
        f'<table class="heat" style="--columns:{len(names)}"><thead><tr><th>prompt</th>{head}</tr></thead>'
        f'<tbody><tr class="none"><th scope="row">no prompt</th>{none}</tr>{body}</tbody></table>'
    )


def _fold(title: str, text: str) -> str:
    code = f"<pre><code>{escape(text)}</code></pre>"
    return f'<details class="more"><summary>{escape(title)}</summary>{code}</details>'


def config_section(summary: Summary) -> str:
    """Configuration, versions and lost requests, folded away; empty where there are none."""
    parts = {
        "Configuration": summary.config,
        "Package versions": summary.versions,
        "Requests lost and sent again": summary.losses,
        "Tokens nearest to the rows of the prompts": summary.nearest,
    }
    shown = "".join(_fold(title, json.dumps(part, indent=2)) for title, part in parts.items() if part)
    return f"<section><h2>How it was run</h2>{shown}</section>" if shown else ""
