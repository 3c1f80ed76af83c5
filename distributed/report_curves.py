"""The curves of a run's report: which metrics are drawn together, and where each point goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from distributed.summary import Summary

# Metrics per terrain that are drawn first, in this order: key, title, remark, whether it is a share.
MAIN_CURVES = (
    ("fitness", "Mean fitness", "dashed: untuned", False),
    ("best", "Best fitness", "", False),
    ("valid", "Valid programs", "", True),
    ("unique", "Distinct programs", "", True),
    ("kl", "KL to the untuned LM", "nats a program", False),
    ("drift", "Prompt drift", "distance from the first prompt", False),
)


def curves(history: Sequence[Mapping[str, Any]], summary: Summary) -> dict[str, Any]:
    """What the page draws of a history.

    Args:
        history: one mapping a step: ``step``, ``phase``, and metrics, those of one terrain as ``metric/terrain``.
        summary: names the terrains and what the untuned LM reached.

    Returns:
        ``steps``: the x of each entry; ``phases``: name, from and to of each run of entries; ``charts``: title, note,
        percent, main, and per series its label, terrain index or None, baseline or None, and finite points.
    """
    steps = _positions(history)
    phases = []
    for name, group in groupby(zip(steps, history, strict=True), key=lambda pair: str(pair[1].get("phase", ""))):
        own = [step for step, _ in group]
        phases.append({"name": name, "from": own[0], "to": own[-1]})
    main = {key: (title, note, percent) for key, title, note, percent in MAIN_CURVES}
    groups = _grouped(history, list(summary.terrains))
    charts = []
    for metric in sorted(groups, key=lambda m: list(main).index(m) if m in main else len(main)):
        series = [_series(key, terrain, steps, history, summary) for key, terrain in groups[metric]]
        title, note, percent = main.get(metric, (metric, "", False))
        drawn = [s for s in series if s["points"]]
        if drawn:
            charts.append({"title": title, "note": note, "percent": percent, "main": metric in main, "series": drawn})
    return {"steps": steps, "phases": phases, "charts": charts}


def _positions(history: Sequence[Mapping[str, Any]]) -> list[int]:
    """Each entry's step, or its place in the history where steps are missing or start again in a later phase."""
    steps = [entry.get("step") for entry in history]
    whole = [step for step in steps if isinstance(step, int)]
    if len(whole) == len(steps) and all(a < b for a, b in pairwise(whole)):
        return whole
    return list(range(1, len(history) + 1))


def _grouped(history: Sequence[Mapping[str, Any]], terrains: list[str]) -> dict[str, list[tuple[str, int | None]]]:
    """Keys that share a chart: those of one metric over the terrains together, every other key by itself."""
    groups: dict[str, list[tuple[str, int | None]]] = {}
    for key in dict.fromkeys(key for entry in history for key in entry if key not in ("step", "phase")):
        metric, _, terrain = key.partition("/")
        if terrain in terrains:
            groups.setdefault(metric, []).append((key, terrains.index(terrain)))
        else:
            groups.setdefault(key, []).append((key, None))
    return groups


def _series(
    key: str, terrain: int | None, steps: Sequence[int], history: Sequence[Mapping[str, Any]], summary: Summary
) -> dict[str, Any]:
    points = [[x, float(entry[key])] for x, entry in zip(steps, history, strict=True) if _is_number(entry.get(key))]
    if terrain is None:
        return {"label": key, "terrain": None, "baseline": None, "points": points}
    name = list(summary.terrains)[terrain]
    baseline = summary.terrains[name].untuned_mean if key.startswith("fitness/") else None
    return {"label": name, "terrain": terrain, "baseline": baseline, "points": points}


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and math.isfinite(value)
