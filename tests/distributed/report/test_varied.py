"""Variety on a run's page and in its tables: figures before and after, and a map of kinds for each terrain."""

from __future__ import annotations

import io

from rich.console import Console

from distributed.report.page import render_report
from distributed.results.summary import Summary
from distributed.results.tables import summary_tables
from terrains.niches import Niches
from tests.distributed.pages import EVIL, Page
from tests.distributed.report.test_measures import summary_of

GRID = Niches(names=("height", "width", "mass"), cells=(2, 3, 2), low=(0, 0, 0), high=(2, 3, 2))
BEFORE = {"unique": 1.0, "distinct": 8, "unique_mean": 20.0, "entropy": 9.5, "cells": 3, "qd_score": 1234.0}
AFTER = {"unique": 0.25, "distinct": 2, "unique_mean": 50.0, "entropy": 1.25, "cells": 1, "qd_score": 99.0}
CELLS = {0: 10.0, 1: 30.0, 10: 60.0}


def varied(**extra) -> Summary:
    told = {"e": {"untuned": BEFORE, "tuned": AFTER}, "t": {"tuned": AFTER}}
    cells = {"e": CELLS, "t": {}}
    return summary_of(100.0, **{"variety": told, "niches": GRID, "best_of_cells": cells, **extra})


def test_the_page_tells_variety_before_and_after_and_what_is_not_known_is_a_dash() -> None:
    text = " ".join(Page(render_report(varied(), [])).text)
    for said in ("Variety", "100% →  25%", "–→", "1,234 →  99", "9.5 →  1.2", "cells of height, width and mass"):
        assert said.replace(" ", "") in text.replace(" ", ""), said


def test_a_map_shows_the_best_over_the_descriptors_it_does_not_show() -> None:
    page = render_report(varied(), [])
    [first, second] = page.split("<svg viewBox")[1:3]
    assert "3 kinds of programs behind the prompts of e, the best 60" in first
    squares = first.split("</svg>")[0].split('fill="var(--c)"')[1:]
    titles = [square.split("<title>")[1].split("<")[0] for square in squares]
    assert titles == ["30", "60"], "cells 0 and 1 differ in mass alone"
    assert 'fill-opacity="1.00"' in squares[1] and "width, 0 to 3" in first and "height, 0 to 2" in first
    assert 'fill="var(--c)"' not in second.split("</svg>")[0]


def test_names_of_descriptors_are_text() -> None:
    grid = Niches(names=(EVIL, "b"), cells=(1, 1), low=(0, 0), high=(1, 1))
    page = render_report(varied(niches=grid, best_of_cells={"e": {0: 1.0}, "t": {}}), [])
    assert EVIL not in page
    grid = Niches(names=("a", "b", "c&d"), cells=(1, 1, 1), low=(0, 0, 0), high=(1, 1, 1))
    page = render_report(varied(niches=grid, best_of_cells={"e": {0: 1.0}, "t": {}}), [])
    assert "over every c&amp;d;" in page


def test_a_world_without_descriptors_has_figures_and_no_map_and_older_runs_have_neither() -> None:
    few = {name: AFTER[name] for name in ("unique", "distinct", "unique_mean", "entropy")}
    page = render_report(varied(variety={"e": {"tuned": few}}, niches=None, best_of_cells=None), [])
    assert "Variety" in page and "QD" not in page and '<svg viewBox="-16' not in page
    assert "Variety" not in render_report(summary_of(100.0), [])


def test_tables_tell_it_and_a_summary_is_read_back_whole() -> None:
    summary = varied()
    assert Summary.from_json(summary.to_json()) == summary
    console = Console(width=100, file=io.StringIO())
    console.print(*summary_tables(summary, 100), sep="\n")
    said = console.file.getvalue()
    assert "How varied the programs are" in said and "kinds by height, width, mass" in said
    [row] = [line for line in said.splitlines() if line.split()[:2] == ["e", "untuned"]]
    assert row.split()[2:] == ["100%", "8", "3", "20.0", "1,234", "9.5"]
