"""The curves of a run's report: which metrics share a chart, and the points of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from distributed.report.metrics import MEASURED, METRICS, RENAMED, TOGETHER, X_AXIS, described
from distributed.results.summary import Summary

Entry = Mapping[str, Any]
Point = list[float | None]


def curves(history: Sequence[Entry], summary: Summary) -> dict[str, Any]:
    """Returns the data of the charts of a history.

    Args:
        history: one mapping a step: ``step``, ``phase``, and metrics, those of one terrain as ``metric/terrain``.
        summary: has the terrains' names and the fitness of the untuned LM.

    Returns:
        ``steps``: the x of each entry; ``labels``: the name of each entry; ``x_axis``: the axis's title; ``phases``:
        name, from and to of each phase; ``charts``: title, note, axis, percent, main, and per series its label, terrain
        index or None, colour index or None, baseline or None, and points. A point is x and y; one without a y is
        where the metric was no finite number, and its line has a gap there.
    """
    steps = _positions(history)
    phases = []
    for name, group in groupby(zip(steps, history, strict=True), key=lambda pair: _phase(pair[1])):
        own = [step for step, _ in group]
        phases.append({"name": name, "from": own[0], "to": own[-1]})
    history = with_absent_failures([_with_current_names(entry) for entry in history])
    groups, order = _grouped(history, list(summary.terrains)), list(METRICS)
    charts = []
    for metric in sorted(groups, key=lambda m: order.index(m) if m in METRICS else len(order)):
        series = [_series(key, terrain, steps, history, summary) for key, terrain in groups[metric]]
        drawn = [s for s in series if any(y is not None for _, y in s["points"])]
        for k, one in enumerate(drawn):
            one["colour"] = one["terrain"] if one["terrain"] is not None else k if len(drawn) > 1 else None
        if drawn:
            charts.append({**described(metric, summary.units)._asdict(), "series": drawn})
    labels = [_label(step, entry) for step, entry in zip(steps, history, strict=True)]
    return {"steps": steps, "labels": labels, "x_axis": X_AXIS, "phases": phases, "charts": charts}


def with_absent_failures(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """The history with a 0 for each kind of failure that a step had none of.

    A step records the kinds that occurred in it. An entry that counts no programs, such as the warm start's, gets none.
    """
    kinds = sorted({key for entry in history for key in entry if key.startswith("failures/")})
    counted = [any(key.startswith(("valid/", "failures/")) for key in entry) for entry in history]
    return [
        dict.fromkeys(kinds, 0.0) | dict(entry) if known else dict(entry)
        for known, entry in zip(counted, history, strict=True)
    ]


def _with_current_names(entry: Entry) -> dict[str, Any]:
    """An entry of an older run, which may have been resumed since, under the names that metrics have now."""
    return {RENAMED.get(head := key.partition("/")[0], head) + key[len(head) :]: value for key, value in entry.items()}


def _phase(entry: Entry) -> str:
    return str(entry.get("phase", ""))


def _positions(history: Sequence[Entry]) -> list[int]:
    """The x of each entry: its step, or the x before plus 1 where that is missing or does not increase.

    What comes before the first step counts backwards from it, so that the steps stand where they belong.
    """
    first = next((k for k, entry in enumerate(history) if _phase(entry) == "steps"), 0)
    start = history[first].get("step") if history else None
    positions = [start - first + k for k in range(first)] if isinstance(start, int) else []
    for entry in history[len(positions) :]:
        step, behind = entry.get("step"), positions[-1] + 1 if positions else 1
        positions.append(step if isinstance(step, int) and (not positions or step >= behind) else behind)
    return positions


def _label(position: int, entry: Entry) -> str:
    step = f"step {entry.get('step', position)}"
    return step if _phase(entry) in ("", "steps") else f"{_phase(entry)}, {step}"


def _grouped(history: Sequence[Entry], terrains: Sequence[str]) -> dict[str, list[tuple[str, int | None]]]:
    """Keys by chart: one chart for a metric of all terrains, one for each name in `TOGETHER`, one for any other key.

    Of a world's own metrics, the mean over all terrains is left to the tracker.
    """
    places = {name: k for k, name in enumerate(terrains)}
    groups: dict[str, list[tuple[str, int | None]]] = {}
    for key in dict.fromkeys(key for entry in history for key in entry if key not in ("step", "phase")):
        metric, terrain = _metric_and_terrain(key, places)
        if terrain is None and metric.startswith(MEASURED):
            continue
        head = metric.partition("/")[0]
        place = None if terrain is None else places[terrain]
        groups.setdefault(head if head in TOGETHER else metric, []).append((key, place))
    return groups


def _metric_and_terrain(key: str, terrains: Collection[str]) -> tuple[str, str | None]:
    """Splits ``eval/fitness/tunnel``; both parts may hold slashes, as the name of a terrain from a file does."""
    parts = key.split("/")
    for k in range(1, len(parts)):
        if (terrain := "/".join(parts[k:])) in terrains:
            return "/".join(parts[:k]), terrain
    return key, None


def _series(
    key: str, terrain: int | None, steps: Sequence[int], history: Sequence[Entry], summary: Summary
) -> dict[str, Any]:
    points: list[Point] = [[x, _number(entry[key])] for x, entry in zip(steps, history, strict=True) if key in entry]
    if terrain is None:
        head, _, rest = key.partition("/")
        label = rest.replace("_", " ") if head in TOGETHER else key
        return {"label": label, "terrain": None, "baseline": None, "points": points}
    name = list(summary.terrains)[terrain]
    row, metric = summary.terrains[name], key.removesuffix(f"/{name}")
    baseline = {"fitness": row.untuned_mean, "best": row.best_of_n}.get(metric)
    if metric.startswith(MEASURED):
        measured = (summary.metrics or {}).get(metric.removeprefix(MEASURED), {})
        baseline = measured.get(name, {}).get("untuned")
    if metric == "best":
        points = _so_far(points)
    return {"label": name, "terrain": terrain, "baseline": baseline, "points": points}


def _so_far(points: Sequence[Point]) -> list[Point]:
    """The highest value up to each point; one without a value has that of those before."""
    highest, found = -math.inf, []
    for x, y in points:
        highest = highest if y is None else max(highest, y)
        found.append([x, highest if math.isfinite(highest) else None])
    return found


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None
