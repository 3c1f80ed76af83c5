"""``terraprompt replay``: any program on any terrain, and one clear line where that cannot be."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from distributed.checkpoint.manager import save_checkpoint
from terrains.sodarace.ground.names import make_ground
from terrains.sodarace.physics import trace
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.walker import validate_walker
from tests.distributed.finished_runs import BUMPY, main_exit
from tests.distributed.full_disk import full_disk
from tests.distributed.pages import EVIL, Page

STILL = """\
import math
def make_walker():
    wc = walker_creator()
    wc.add_muscle(wc.add_joint(0, 0), wc.add_joint(3, 0), True, 0.0, 0.0)
    return wc.get_walker()
"""
START = {".html": b"<!doctype html>", ".gif": b"GIF89a", ".apng": b"\x89PNG", ".png": b"\x89PNG", ".svg": b"<?xml"}


@pytest.fixture
def square(tmp_path):
    """A program's file."""
    file = tmp_path / "square.py"
    file.write_text(SEEDS["square"])
    return file


def test_a_folder_gets_a_page_a_moving_and_a_still_picture(square, tmp_path, capsys):
    out = tmp_path / "new" / "shown"
    assert main_exit("replay", str(square), "--terrain", "tunnel", "--out", str(out), "--seconds", "1") == 0
    assert {file.name for file in out.iterdir()} == {"replay.html", "replay.gif", "replay.png"}
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("square.py on tunnel: ") and len(said) == 4


@pytest.mark.parametrize("ending", START)
def test_the_ending_of_a_file_says_what_is_written(square, tmp_path, ending):
    out = tmp_path / f"walker{ending}"
    assert main_exit("replay", str(square), "--out", str(out), "--seconds", "0.5") == 0
    assert out.read_bytes().startswith(START[ending])
    assert {file.name for file in tmp_path.iterdir()} == {"square.py", out.name}


def test_the_page_plays_what_the_simulation_computes(square, tmp_path):
    out = tmp_path / "walker.html"
    arguments = ["--terrain", "bumpy( seed=3, amplitude = 4 )", "--terrain", "flat", "--seconds", "2"]
    assert main_exit("replay", str(square), *arguments, "--out", str(out)) == 0
    page = Page(out.read_text())
    bumpy, flat = json.loads(page.scripts[0])["arenas"]
    assert "bumpy(amplitude=4," in page.text and page.links == []
    points = {"joints": [[0, 0], [6, 0], [6, 4], [0, 4], [3, 2]]}
    muscles = [m for i in range(4) for m in ([i, (i + 1) % 4, False, 1.5, i * 0.25], [i, 4, False, 2.0, i * 0.25])]
    walker = validate_walker(points | {"muscles": muscles})
    for [data], ground in ((bumpy, make_ground("bumpy(seed=3,amplitude=4)")), (flat, make_ground("flat"))):
        shown = np.array(data["frames"]).reshape(-1, 5, 2)
        assert np.abs(shown - trace(walker, ground, 2.0, 3)).max() < 0.051
        assert data["dt"] == pytest.approx(0.05)


def test_programs_and_file_names_never_become_markup(tmp_path):
    name = EVIL.replace("/", "\u2215") + ".py"
    (tmp_path / name).write_text(f"{SEEDS['wheel']}# {EVIL}\n")
    out = tmp_path / "walker.html"
    assert main_exit("replay", str(tmp_path / name), "--out", str(out), "--seconds", "0.5") == 0
    page = Page(out.read_text())
    assert page.tags.count("script") == 2 and "img" not in page.tags
    assert name in page.text
    assert EVIL in "".join(page.text)


def test_standard_input_is_a_program_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SEEDS["radial"].encode())))
    assert main_exit("replay", "-", "--out", str(tmp_path / "a.png"), "--seconds", "1") == 0
    assert "standard input on flat" in capsys.readouterr().err


def test_a_walker_that_stays_where_it_is_can_be_looked_at(tmp_path, capsys):
    (tmp_path / "still.py").write_text(STILL)
    assert main_exit("replay", str(tmp_path / "still.py"), "--out", str(tmp_path / "a.gif"), "--seconds", "1") == 0
    assert "still.py on flat: did_not_move: " in capsys.readouterr().err


def test_equal_names_are_told_apart_by_their_folders(tmp_path, capsys):
    files = [tmp_path / folder / "w.py" for folder in "ab"]
    for file, seed in zip(files, ("square", "wheel"), strict=True):
        file.parent.mkdir()
        file.write_text(SEEDS[seed])
    assert main_exit("replay", *map(str, files), "--out", str(tmp_path / "x.png"), "--seconds", "0.5") == 0
    said = capsys.readouterr().err
    assert all(f"{file} on flat" in said for file in files)


@pytest.mark.parametrize(
    ("program", "failure"),
    [
        ("def make_walker(:\n", "syntax: "),
        ("import math\n", "name: "),
        ("def make_walker():\n    return 3\n", "not_a_walker: "),
        (SEEDS["square"].replace("(6, 0)", "(0, 0)"), "invalid_walker: joints_at_one_place"),
        (STILL.replace("(3, 0)", "(40, 10)"), "does_not_fit: "),
        ("def make_walker():\n    raise ValueError('\x1b[2Jgone')\n", "value: "),
    ],
)
def test_an_invalid_program_is_one_line_with_its_failure_and_writes_nothing(tmp_path, capsys, program, failure):
    file, out = tmp_path / "bad.py", tmp_path / "shown"
    file.write_text(program)
    assert main_exit("replay", str(file), "--terrain", "tunnel", "--out", str(out)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"terraprompt: bad.py on tunnel: {failure}") and line.isprintable()
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/sqare.py"], "did you mean {}/square.py?"),
        (["{}/noise.py"], "it is not text in UTF-8"),
        (["{}/square.py", "--terrain", "tunel"], "did you mean 'tunnel'?"),
        (["{}/square.py", "--out", "{}/a.jpg"], "'.jpg'"),
        (["{}/square.py", "--out", "{}/no/a.gif"], "there is no directory '{}/no'"),
        (["{}/square.py", "--out", "{}/noise"], "is a file and not a folder"),
        (["{}/empty"], "is no finished run"),
        (["{}/square.py", *(f"--terrain=bumpy(seed={k})" for k in range(40))], "40 programs are too many"),
    ],
)
def test_mistakes_are_one_line(square, tmp_path, capsys, arguments, message):
    (tmp_path / "noise.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "noise").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    before = set(tmp_path.iterdir())
    assert main_exit("replay", *(a.format(tmp_path) for a in arguments)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message.format(tmp_path) in line
    assert set(tmp_path.iterdir()) == before


def test_a_run_shows_its_best_programs_on_their_own_terrains(run, tmp_path, capsys):
    tuned = {
        "fitness": np.array([[3.0, 1.0], [9.0, 2.0], [5.0, 7.0]]),
        "programs": [SEEDS["square"], SEEDS["wheel"], SEEDS["radial"]],
    }
    untuned = {"fitness": np.array([[4.0, 0.0]]), "best": [SEEDS["cppn_fixed"], STILL]}
    loop = {"terrains": ["tunnel", BUMPY], "untuned": untuned, "tuned": {"tunnel": tuned, BUMPY: tuned}}
    out = str(tmp_path / "run.html")
    assert main_exit("replay", str(run), "--out", out) == 2
    assert "has no checkpoint left" in capsys.readouterr().err
    save_checkpoint(run, 3, {"loop": loop, "run": {}})
    assert main_exit("replay", str(run), "--out", out) == 0
    said = [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()[:-1]]
    assert said == [
        "first, best untuned on tunnel",
        "first, best tuned on tunnel",
        "first, median tuned on tunnel",
        f"first, best tuned on {BUMPY}",
        f"first, median tuned on {BUMPY}",
    ]
    assert main_exit("replay", str(run), "--terrain", "tunnel", "--out", out) == 0
    assert BUMPY not in capsys.readouterr().err


@pytest.mark.parametrize("ending", START)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(square, tmp_path, ending, capsys):
    out = tmp_path / f"walker{ending}"
    out.write_text("before")
    with full_disk():
        assert main_exit("replay", str(square), "--out", str(out), "--seconds", "0.5") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert (
        line == f"terraprompt: cannot write '{out}': File too large; raise the limit on the size of files (ulimit -f)"
    )
    assert out.read_text() == "before" and {file.name for file in tmp_path.iterdir()} == {"square.py", out.name}


def test_a_place_that_cannot_be_made_is_one_line(square, tmp_path, capsys):
    out = square / "shown"
    assert main_exit("replay", str(square), "--out", str(out), "--seconds", "0.5") == 2
    assert f"cannot write '{out / 'replay.html'}': Not a directory" in capsys.readouterr().err.splitlines()[-1]
