"""What a world measures, and what it counts fitness in, on a run's page."""

from __future__ import annotations

import json
import re

import pytest

from distributed.report.curves import curves
from distributed.report.metrics import described
from distributed.report.page import render_report
from distributed.results.summary import Summary, TerrainSummary
from tests.distributed.pages import EVIL, Page

MEASURED = {"words": {"e": {"untuned": 3.0, "tuned": 4.5}, "t": {"tuned": 0.1234}}}
HISTORY = [
    {"step": 0, "phase": "untuned", "metrics/words": 3.0, "metrics/words/e": 3.0},
    {"step": 0, "phase": "warm start", "fitness/e": 1.0, "fitness/t": 1.0},
    {"step": 1, "phase": "steps", "fitness/e": 1.5, "fitness/t": 1.0},
    {"step": 2, "phase": "steps", "fitness/e": 2.0, "fitness/t": 1.0, "metrics/words/e": 4.0, "metrics/words/t": 0.1},
    {"step": 2, "phase": "evaluation", "metrics/words/e": 4.5, "metrics/words/t": 0.1234},
]


def summary_of(scale: float = 1.0, **extra) -> Summary:
    row = TerrainSummary(
        untuned_mean=0.1 * scale, untuned_valid=1.0, best_of_n=0.9 * scale, n=8, tuned_mean=0.3 * scale,
        tuned_valid=1.0, tuned_interval=(min(0.2 * scale, 0.4 * scale), max(0.2 * scale, 0.4 * scale)),
        tuned_unique=1.0,
    )  # fmt: skip
    names = ("e", "t")
    transfer = {name: {name: row.tuned_mean} for name in names}
    return Summary(seed=0, rollouts=8, seconds=1.0, terrains=dict.fromkeys(names, row), transfer=transfer, **extra)


def test_measures_have_a_table_and_a_chart_with_a_line_a_terrain_from_before_to_after() -> None:
    summary = summary_of(metrics=MEASURED, units={"fitness": "%", "words": "a text"})
    page = Page(render_report(summary, HISTORY))
    text = page.text
    assert {"Measures", "words (a text)", "3 → ", "4.5", "– → ", "0.123"} <= set(text)
    data = json.loads(page.scripts[0])
    [chart] = [each for each in data["charts"] if each["title"] == "words"]
    assert chart["axis"] == "words (a text)" and chart["main"]
    assert [(s["label"], s["baseline"]) for s in chart["series"]] == [("e", 3.0), ("t", None)]
    assert [y for _, y in chart["series"][0]["points"]] == [3.0, 4.0, 4.5]
    assert "metrics" not in " ".join(each["title"] for each in data["charts"])


def test_steps_stand_at_their_numbers_whatever_comes_before() -> None:
    assert curves(HISTORY, summary_of())["steps"] == [-1, 0, 1, 2, 3]
    assert curves(HISTORY[1:-1], summary_of())["steps"] == [0, 1, 2]


def test_fitness_is_counted_in_what_the_world_says_and_else_in_world_units() -> None:
    said = [render_report(summary_of(units=units), HISTORY) for units in (None, {"fitness": "%"}, {"fitness": ""})]
    assert "programs drawn, in world units, a failed" in said[0] and "fitness (world units)" in said[0]
    assert "programs drawn, in %, a failed" in said[1] and "fitness (%)" in said[1]
    assert "programs drawn, a failed" in said[2]
    assert not any(words in page for page in said[1:] for words in (", in world units", "fitness (world units)"))
    assert "Measures" not in said[0]
    assert described("eval/fitness", {"fitness": ""}).axis == "fitness" != described("eval/fitness").axis


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_small_and_negative_numbers_are_told_apart_and_stay_in_their_cells(scale: float) -> None:
    text = render_report(summary_of(scale=scale), HISTORY)
    assert f"{0.3 * scale:.3f}" in text and f"{0.1 * scale:.3f}" in text
    places = [float(x) for x in re.findall(r"--x:(-?[\d.]+)", text)]
    assert places and all(0 <= place <= 100 for place in places)


def test_names_of_measures_and_units_are_no_markup() -> None:
    summary = summary_of(metrics={EVIL: {"e": {"tuned": 1.0}}}, units={"fitness": EVIL, EVIL: EVIL})
    page = Page(render_report(summary, [{"step": 1, "phase": "steps", f"metrics/{EVIL}/e": 1.0}]))
    assert page.tags.count("script") == 2 and "img" not in page.tags
