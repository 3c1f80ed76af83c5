"""What a person reads at the end of a run, on a narrow terminal and in a log."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from distributed.infra.numbers import fitness_text, interval_text
from distributed.results.summary import Summary, summarise
from distributed.results.tables import MOST_MEASURES, MOST_TERRAINS, summary_tables

SHORT = ["left_wall", "right_wall", "tunnel"]
LONG = ["left_wall", "hills(difficulty=0.75,seed=1204)", *(f"bumpy(amplitude=4,seed={k})" for k in range(31, 37))]


def summary_of(names: list[str], scale: float = 3000.0) -> Summary:
    rng, n = np.random.default_rng(0), len(names)
    draw = {name: rng.uniform(1, scale, (6, n)) for name in names}
    ok = {name: np.ones((6, n), dtype=bool) for name in names}
    untuned = rng.uniform(0, scale, (512, n)), np.ones((512, n), dtype=bool)
    programs = {name: list("abccba") for name in names}
    return summarise(1, 1, 1.0, names, *untuned, [rng.uniform(0, 9, 5)] * n, draw, ok, programs)


def lines(summary: Summary, width: int) -> list[str]:
    out = io.StringIO()
    Console(width=width, file=out).print(*summary_tables(summary, width), sep="\n")
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 1000])
@pytest.mark.parametrize("names", [["flat"], SHORT, LONG])
def test_no_line_is_too_long_and_no_number_is_cut(names: list[str], width: int) -> None:
    summary = summary_of(names)
    text = lines(summary, width)
    assert max(map(len, text)) <= width
    found = re.findall(r"[\w.-]+", "\n".join(text))
    assert "\u2026" not in "".join(text)
    for row in summary.terrains.values():
        low, high = row.tuned_interval
        for value in (row.untuned_mean, row.best_of_n, row.tuned_mean):
            assert f"{value:.1f}" in found
        assert f"{low:.0f}-{high:.0f}" in found
    for means in summary.transfer.values():
        assert all(f"{value:.1f}" in found for value in means.values())


@pytest.mark.parametrize("width", [60, 80, 1000])
def test_headings_of_names_are_whole_above_names_that_are_shorter(width: int) -> None:
    text = "\n".join(lines(summary_of(["gap", "flat"], scale=9.0), width))
    assert re.search(r"^terrain ", text, re.M) and re.search(r"^prompt ", text, re.M)


def test_short_names_head_the_columns_and_a_log_keeps_long_ones_whole() -> None:
    assert any(line.split() == ["prompt", "valid", "unique", *SHORT] for line in lines(summary_of(SHORT), 80))
    log = lines(summary_of(LONG), 1000)
    for name in LONG:
        assert sum(line.startswith(f"{name} ") for line in log) == 2


def test_columns_that_do_not_fit_are_numbered_like_their_rows_and_go_on_below() -> None:
    summary = summary_of(LONG)
    text = lines(summary, 80)
    headed = [line.split() for line in text if line.startswith("prompt")]
    assert len(headed) > 1
    assert [cell for heading in headed for cell in heading if cell.isdigit()] == [str(k + 1) for k in range(len(LONG))]
    first = next(line for line in text if line.startswith("1\u00a0left_wall"))
    assert first.split()[4] == f"{summary.transfer['left_wall'][LONG[0]]:.1f}"


def test_very_many_terrains_are_one_table_and_a_word_on_the_other() -> None:
    names = [f"bumpy(seed={k})" for k in range(MOST_TERRAINS + 1)]
    text = lines(summary_of(names), 80)
    assert sum(line.startswith("bumpy(seed=3) ") for line in text) == 1
    assert any("the report has the table of 13 prompts" in line for line in text)


def test_what_was_not_measured_is_a_dash() -> None:
    names = ["flat"]
    array, ok = np.ones((2, 1)), np.ones((2, 1), dtype=bool)
    summary = summarise(1, 1, 1.0, names, array * 0, ok, None, {"flat": array}, {"flat": ok}, {"flat": ["a", "b"]})
    [row] = [line for line in lines(summary, 80) if line.startswith("flat ")][:1]
    assert row.split() == ["flat", "0.00", "0.00", "-", "1.00", "1.00-1.00", "-"]


MEASURED = {"words": {"flat": {"untuned": 3.0, "tuned": 4.5}, "gap": {"tuned": 12345.6}}}


def test_measures_are_a_table_with_their_units_and_no_line_where_there_are_none() -> None:
    summary = summary_of(["flat", "gap"])
    assert not any("measured" in line for line in lines(summary, 80))
    measured = summary.model_copy(update={"metrics": MEASURED, "units": {"fitness": "", "words": "a text"}})
    text = [line.split() for line in lines(measured, 80)]
    place = text.index(["measure", "terrain", "untuned", "tuned"])
    assert text[place + 2] == ["words", "(a", "text)", "flat", "3", "4.5"]
    assert text[place + 3] == ["gap", "\u2013", "12,346"]
    many = {f"m{k}": dict.fromkeys(["flat", "gap"], {"tuned": 1.0}) for k in range(MOST_MEASURES)}
    said = " ".join(lines(summary.model_copy(update={"metrics": many}), 80))
    assert "the report has the table of m0, m1," in said


@pytest.mark.parametrize(("scale", "decimals"), [(3000.0, 1), (9.0, 2), (0.9, 3)])
def test_small_numbers_have_the_digits_that_tell_them_apart(scale: float, decimals: int) -> None:
    row = summary_of(["flat"]).terrains["flat"]
    numbers = ("untuned_mean", "tuned_mean", "best_of_n")
    changed = {name: getattr(row, name) * scale / 3000 for name in numbers} | {"tuned_interval": (0.1 * scale, scale)}
    summary = summary_of(["flat"]).model_copy(update={"terrains": {"flat": row.model_copy(update=changed)}})
    mean = summary.terrains["flat"].tuned_mean
    assert f"{mean:.{decimals}f}" in "\n".join(lines(summary, 80)).split()


def test_an_interval_below_zero_has_no_two_dashes() -> None:
    assert interval_text(-3.2, -1.0, 1, "-") == "-3.2 to -1.0" and interval_text(0.1, 0.25, 2, "-") == "0.10-0.25"
    assert [fitness_text(value) for value in (50.04, 0.4231, 0.0, -0.05)] == ["50.0", "0.423", "0.0", "-0.05"]
