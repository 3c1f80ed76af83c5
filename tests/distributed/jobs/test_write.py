"""Several programs behind a prompt: valid ones, unlike one another, in the order of their seeds."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from distributed.config.section import LARGEST_SEED
from distributed.jobs import write as write_command
from distributed.jobs.drawn_programs import TRIES, different
from distributed.jobs.scoring_world import WorldChoice
from distributed.jobs.writers import Writer, Written, from_registry, from_run
from distributed.results.run_folder import PROMPTS
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.distributed.finished_runs import export, main_exit
from tests.distributed.tiny_workers import LetterWorld

pytestmark = pytest.mark.timeout(120)


class Teller:
    """Writes the text of each seed's place in a list, and notes which seeds it was asked for."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = texts, list[int]()

    def __call__(self, seeds):
        self.asked += seeds
        return [Written(self.texts[seed % len(self.texts)]) for seed in seeds]


def letters(*texts: str) -> Writer:
    world = LetterWorld()
    return Writer(world.terrain("a"), Teller(*texts), world)


def walkers(*texts: str) -> Writer:
    world = SodaraceWorld(WorldConfig(seconds=3.0))
    return Writer(world.terrain("flat"), Teller(*texts), world)


@pytest.fixture
def several(run: Path) -> Path:
    """A run with three prompts a terrain."""
    torch.set_num_threads(1)
    saved = load_file(run / PROMPTS)
    save_file({name: np.stack([rows, -rows, rows[::-1]]) for name, rows in saved.items()}, run / PROMPTS)
    return run


def test_repeats_and_failures_are_passed_over_and_no_more_is_drawn_than_needed():
    writer = letters("a", "a", "no letter: o", "aa", "aaa", "a")
    found, tried = different(writer, 0, 3)
    assert [(each.seed, each.program) for each in found] == [(0, "a"), (3, "aa"), (4, "aaa")]
    assert len(tried) == 5 and writer.draw.asked == list(range(6))


def test_fewer_are_found_where_there_are_no_more_in_so_many_programs():
    writer = letters("a", "aa")
    found, tried = different(writer, 1, 4)
    assert [each.program for each in found] == ["aa", "a"]
    assert writer.draw.asked == [each.seed for each in tried] == list(range(1, 1 + 4 * TRIES))


def test_seeds_go_round_at_the_largest():
    found, _ = different(letters("a", "aa"), LARGEST_SEED, 2)
    assert [each.seed for each in found] == [LARGEST_SEED, 0]


def test_texts_that_make_the_same_walker_are_one():
    program, other = list(SEEDS.values())[:2]
    writer = walkers(program, f"{program}\n\n", other)
    with closing(writer.world):
        found, tried = different(writer, 0, 2)
    assert [each.seed for each in found] == [0, 2] and len(tried) == 3


def test_without_a_world_texts_are_compared():
    world = LetterWorld()
    writer = Writer(world.terrain("a"), Teller("x", "x", "y"), None, "not installed")
    found, _ = different(writer, 0, 2)
    assert [(each.program, each.score) for each in found] == [("x", None), ("y", None)]


def test_a_run_and_its_models_draw_for_each_seed_what_it_draws_alone_behind_prompts_in_turn(several, store):
    export(several, "tunnel")
    ran, registered = from_run("tunnel", str(several)), from_registry("tunnel", None, WorldChoice())
    with closing(ran.world), closing(registered.world):
        seeds = [4, 5, 6, 7]
        together = ran.draw(seeds)
        assert together == [ran.draw([seed])[0] for seed in seeds]
        assert [each.program for each in together] == [each.program for each in registered.draw(seeds)]
    saved = load_file(several / PROMPTS)
    save_file({name: np.ascontiguousarray(rows[1]) for name, rows in saved.items()}, several / PROMPTS)
    alone = from_run("tunnel", str(several))
    with closing(alone.world):
        assert alone.draw(seeds)[::3] == together[::3] and alone.draw(seeds)[1:3] != together[1:3]


def test_different_walkers_are_printed_listed_and_drawn(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = list(SEEDS.values())[:2]
    monkeypatch.setattr(write_command, "from_run", lambda *_: walkers(one, one, two))
    arguments = "write", "--terrain", "flat", "--from", str(run), "--seed", "3", "--count", "2"
    assert main_exit(*arguments) == 0
    out, err = capsys.readouterr()
    heads = [line for line in out.splitlines() if line.startswith("# ")]
    assert (
        one in out
        and two in out
        and [head.partition(",")[0] for head in heads] == ["# 1 of 2: seed 3", "# 2 of 2: seed 5"]
    )
    assert "2 different ones in 3 programs on flat\n" in err and "picture flat-seed3-count2.png" in err
    assert (tmp_path / "flat-seed3-count2.png").read_bytes().startswith(b"\x89PNG")
    assert main_exit(*arguments, "--json", "--picture", "mine.png") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(each["seed"], each["program"], each["failure"]) for each in listed] == [(3, one, None), (5, two, None)]
    assert all(f"fitness {each['fitness']:.1f}" in head for each, head in zip(listed, heads, strict=True))
    assert (tmp_path / "mine.png").exists()


def test_what_is_missing_is_said_and_texts_stand_in_a_table(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write_command, "from_run", lambda *_: letters("import math\nbanana\nbread", "a"))
    assert main_exit("write", "--terrain", "a", "--from", str(run), "--count", "4") == 0
    out, err = capsys.readouterr()
    assert "banana\nbread" in out and "banana bread" in err
    assert f"2 different ones in {4 * TRIES} programs on a; 4 were asked for" in err
    assert not list(tmp_path.glob("*.png"))


def test_several_of_which_none_is_valid_are_one_line(several: Path, capsys) -> None:
    assert main_exit("write", "--terrain", "tunnel", "--from", str(several), "--count", "2") == 2
    error = capsys.readouterr().err
    assert f"none of {2 * TRIES} programs is valid; that of seed 0: fitness 0 on tunnel: " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "1001"])
def test_counts_out_of_range_are_refused(count, capsys) -> None:
    assert main_exit("write", "--terrain", "flat", "--count", count) == 2
    assert "--count" in capsys.readouterr().err
