"""Invariants of distributed.display."""

import io

import pytest
from rich.console import Console

from distributed.display import Display, make_console, plain_line, sparkline

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
        "step 1/8  left_wall 64.1 (valid 92%, unique 80%)  bumpy(amplitude=12,seed=3) 7.0  12.3 s",
        "saved [bold]checkpoint[/bold]",
    ]


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
