"""Invariants of distributed.observability.console."""

import io
import sys
from importlib.util import find_spec

import pytest
from rich.console import Console

from distributed.observability.console import Display, can_be_live, make_console, plain_line, sparkline

TERRAINS = ["left_wall", "bumpy(amplitude=12,seed=3)"]
METRICS = {
    "step": 3,
    "seconds": 12.34,
    "fitness/left_wall": 64.12,
    "valid/left_wall": 0.92,
    "unique/left_wall": 0.8,
    "best/left_wall": 101.0,
    "fitness/bumpy(amplitude=12,seed=3)": 7.0,
}


def console_of(terminal, width=110):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def test_a_log_gets_one_whole_line_a_step():
    console = console_of(terminal=False, width=40)
    with Display(TERRAINS, console) as display:
        display.phase("ppo", 8)
        display.step(METRICS)
        display.message("saved [bold]checkpoint[/bold]")
    lines = console.file.getvalue().splitlines()
    assert lines == [
        "ppo: 8 to do",
        "step 1/8  left_wall 64.1 (valid 92%, unique 80%)  bumpy(amplitude=12,seed=3) 7.0  after 12.3 s",
        "saved [bold]checkpoint[/bold]",
    ]


def test_terminals_and_notebooks_with_widgets_are_live(tmp_path, monkeypatch):
    assert can_be_live(console_of(terminal=True)) and not can_be_live(console_of(terminal=False))
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    if find_spec("ipywidgets") is None:
        assert not can_be_live(notebook)
    (tmp_path / "ipywidgets.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert can_be_live(notebook)


def test_a_terminal_shows_every_terrain_with_its_best_so_far():
    console = console_of(terminal=True)
    with Display(TERRAINS, console) as display:
        display.phase("ppo", 8)
        display.step(METRICS)
        display.step(METRICS | {"fitness/left_wall": 70.0, "best/left_wall": 90.0})
        display.message("[saved]")
    last = console.file.getvalue().split("ppo")[-1]
    assert "2/8" in last
    row = next(line for line in last.splitlines() if line.startswith("left_wall"))
    assert row.split()[1:5] == ["70.0", "101.0", "92%", "80%"]
    assert "▁█" in row
    assert "bumpy(amplitude=12,seed=3)" in last
    assert "[saved]" in console.file.getvalue()


def test_ctrl_c_passes_through_and_gives_the_cursor_back():
    console = console_of(terminal=True)
    with pytest.raises(KeyboardInterrupt), Display(TERRAINS, console) as display:
        display.phase("ppo", 8)
        display.step(METRICS)
        raise KeyboardInterrupt
    written = console.file.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert "interrupted during ppo, after 1 of 8" in written


def test_a_phase_without_steps_tells_a_log_when_it_is_done():
    console = console_of(terminal=False)
    with Display(TERRAINS, console) as display:
        display.phase("evaluate", 100)
        for _ in range(10):
            display.advance(10)
    assert console.file.getvalue().splitlines() == ["evaluate: 100 to do", "evaluate 100/100"]


def test_a_step_may_report_some_terrains_only():
    assert plain_line({"fitness/left_wall": 1.0}, TERRAINS, 2, 5) == "step 2/5  left_wall 1.0"


def many(n):
    """Metrics of so many terrains, whose fitness is 0, 10, 20 and so on."""
    names = [f"t{k}" for k in range(n)]
    return names, {f"fitness/t{k}": 10.0 * k for k in range(n)} | {f"valid/t{k}": k % 2 for k in range(n)}


def test_a_logs_line_of_many_terrains_says_the_mean_the_worst_and_the_best():
    names, metrics = many(20)
    line = plain_line(metrics | {"seconds": 2}, names[::-1], 3, 8)
    assert line == "step 3/8  20 terrains: mean 95.0 (valid 50%), from 0.0 on t0 to 190.0 on t19  after 2.0 s"


@pytest.mark.parametrize("height", [3, 12, 13, 24, 25, 26, 27])
def test_a_terminal_shows_the_best_and_the_worst_where_not_all_terrains_fit(height):
    names, metrics = many(20)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=height, color_system=None)
    display = Display(names, console, live=False)
    display.phase("ppo", 8)
    display.step(metrics | {"best/t3": 100.0})
    lines = console.render_lines(display._render(), pad=False)
    rows = ["".join(part.text for part in line).split() for line in lines][2:]
    assert len(lines) <= max(6, height)
    if height >= 24:
        assert [row[0] for row in rows] == names
    else:
        shown = [row[0] for row in rows[:-2]]
        half = len(shown) - len(shown) // 2
        assert shown == [*names[::-1][:half], *names[::-1][20 - len(shown) // 2 :]]
        assert rows[-2] == ["and", str(20 - len(shown)), "terrains", "between", "them"]
        assert rows[-1] == ["all", "20", "95.0", "100.0", "50%", "-"]


def test_sparkline_has_one_character_a_value():
    assert sparkline([0.0, 7.0, float("nan"), 3.5]) == "▁█ ▅"
    assert sparkline([2.0, 2.0], ascii_only=True) == "__"
    assert sparkline([]) == ""


def test_what_is_printed_after_closing_comes_below_the_live_table_and_nothing_comes_after_it():
    console = console_of(terminal=True)
    with Display(TERRAINS, console) as display:
        display.phase("ppo", 8)
        display.step(METRICS)
        display.close()
        console.print("the end")
    out = console.file.getvalue()
    assert out.count("the end") == 1 and out.endswith("the end\n")
    assert out[: out.index("the end")].endswith("\n")


def test_lines_of_a_log_are_never_cut_to_a_terminals_width(capsys):
    console = make_console()
    console.print("word " * 60)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_heading_of_the_terrains_is_whole_on_a_narrow_terminal():
    console = console_of(terminal=True, width=44)
    with Display(["gap", "bumpy(amplitude=4,seed=31)"], console) as display:
        display.phase("train", 1)
        display.step({"step": 1, "fitness/gap": 1.0, "seconds": 1.0})
    assert "terrain " in console.file.getvalue()
