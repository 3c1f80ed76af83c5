"""``terraprompt terrains``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.image import imread

from distributed.config.load import load_config
from terrains.sodarace.ground.families import FAMILIES
from terrains.sodarace.ground.names import make_ground
from terrains.sodarace.ground.sampler import sample_terrains
from terrains.sodarace.render.ground import text_sketch
from tests.distributed.cli.test_cli import run
from tests.distributed.full_disk import full_disk


def test_list_has_every_family_with_its_parameters(capsys):
    assert run("terrains", "list") == 0
    table = capsys.readouterr().out
    assert run("terrains", "list", "--json") == 0
    families = json.loads(capsys.readouterr().out)
    assert [each["family"] for each in families] == [*FAMILIES, "file"]
    for each in families:
        assert each["family"] in table and each["meaning"]
        assert all(p["name"] in table and p["meaning"] for p in each["parameters"])
    [hills] = [each for each in families if each["family"] == "hills"]
    assert [(p["name"], p["default"]) for p in hills["parameters"]] == [
        ("amplitude", 10),
        ("wavelength", 80),
        ("seed", 0),
    ]


def test_show_says_what_a_terrain_is_and_draws_it(capsys, tmp_path):
    assert run("terrains", "show", "tunnel + bumpy(seed=3)", "left_wall", "left_wall") == 0
    shown = capsys.readouterr().out
    assert "tunnel+bumpy(seed=3)\n" in shown and "54: heights" in shown and "V" in shown and "█" in shown
    assert shown.count("left_wall\n") == 1
    picture = tmp_path / "terrains.png"
    assert run("terrains", "show", "gap", "slope+hills", "--out", str(picture)) == 0
    pixels = imread(picture)
    assert pixels.shape[1] == 1200 and 0.05 < (pixels[..., :3].mean(axis=2) < 0.95).mean() < 0.95
    assert f"wrote {picture}" in capsys.readouterr().out


def test_a_sketch_has_the_ground_where_it_is():
    rows = text_sketch(make_ground("right_wall(distance=60)+gap(width=40,depth=60,first=100)"), 104).split("\n")
    solid = np.array([[column < len(row) and row[column] == "█" for column in range(104)] for row in rows])
    # Five units a column, ten a row, and the start in the middle.
    assert solid[:, 52 + 13 :].all(), "the wall"
    assert not solid[: len(rows) // 3, : 52 + 10].any()
    ditch = ~solid[-3, :52]
    assert ditch[52 - 27 : 52 - 21].all() and not ditch[52 - 19 :].any()


def test_sample_prints_names_that_a_configuration_takes(capsys, tmp_path):
    wanted = ["--families", "tunnel+bumpy", "--families", "slope", "--count", "4", "--difficulty", "0.2-0.4"]
    picture = tmp_path / "sampled.svg"
    assert run("terrains", "sample", *wanted, "--split", "held_out", "--seed", "5", "--out", str(picture)) == 0
    names = capsys.readouterr().out.splitlines()
    assert names == sample_terrains(["tunnel+bumpy", "slope"], 4, (0.2, 0.4), "held_out", 5)
    assert picture.stat().st_size > 1000
    file = tmp_path / "run.yml"
    file.write_text("terrains:\n  names:\n" + "".join(f"  - {name}\n" for name in names))
    assert list(load_config(file).terrains.names) == names
    assert run("terrains", "sample", "--difficulty", "0.5") == 0
    assert len(capsys.readouterr().out.splitlines()) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "bumby"], "did you mean 'bumpy'"),
        (["show", "tunnel+tunnel"], "two parts have a ceiling"),
        (["show", "file(path=nowhere.csv)"], "there is no 'nowhere.csv'"),
        (["show", "tunnel", "--out", "x.jpeg"], "no picture; its ending"),
        (["show", "tunnel", "--out", "nowhere/x.png"], "there is no directory 'nowhere'"),
        (["sample", "--families", "flat"], "flat has no parameter left to draw"),
        (["sample", "--difficulty", "hard"], "neither a number from 0 to 1 nor two"),
        (["sample", "--difficulty", "0.5-1.5"], "difficulty goes from 0 to 1"),
        (["sample", "--split", "heldout"], "did you mean held_out?"),
        (["sample", "--count", "65", "--out", "x.png"], "too many for one picture"),
    ],
)
def test_a_mistake_is_one_line_and_exits_with_2(arguments, words, capsys):
    assert run("terrains", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_picture_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, capsys):
    with full_disk():
        assert run("terrains", "show", "gap", "--out", str(tmp_path / "gap.png")) == 2
    error = capsys.readouterr().err
    assert "--out: cannot write" in error and "File too large; raise the limit" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
