"""A world of one's own: written by new-world, trained, reported, exported; mistakes are one line."""

from __future__ import annotations

import json
from pathlib import Path

import cloudpickle
import pytest

from distributed.cli import main
from distributed.config.load import load_config
from distributed.config.worlds import KEPT, make_world, world_factory
from distributed.errors import UserError
from distributed.jobs.new_world import new_world
from distributed.results.run_folder import open_run
from terrains.base import Attempt
from terrains.optional import Counting, Listing, Rendering
from tests.distributed.finished_runs import main_exit
from tests.distributed.pages import Page

FAST = [
    "ray.enabled=false", "train.tracker=null", "train.total_steps=1", "warm_start.samples=8", "warm_start.steps=1",
    "method.num_rollouts=8", "method.n_soft_tokens=2", "method.gen_kwargs.max_new_tokens=6",
    "evaluation.samples_per_terrain=4", "evaluation.bootstrap=100",
]  # fmt: skip


def test_what_it_writes_trains_at_once_and_is_reported_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main_exit("new-world", "letters") == 0
    assert main_exit("train", "--config", "letters.yml", f"model.model_path={tiny_lm[1]}", *FAST) == 0
    folder = tmp_path / "runs" / "letters"
    run = open_run(folder)
    assert list(run.summary.terrains) == ["e", "t"] == list(run.config.terrains.names)
    assert run.config.terrains.world == f"{tmp_path / 'letters.py'}:Letters"
    assert (folder / KEPT).read_text() == (tmp_path / "letters.py").read_text()
    assert not (folder / "walkers.png").exists()
    page = Page((folder / "report.html").read_text())
    assert "table" in page.tags and "canvas" not in page.tags
    (tmp_path / "letters.py").unlink()  # the run's own copy serves from here on
    capsys.readouterr()
    assert main_exit("replay", str(folder), "--out", "shown") == 0
    assert "the programs of letters are texts" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "shown").iterdir()] == ["replay.html"]
    assert main_exit("export", str(folder)) == 0
    assert main_exit("write", "--terrain", "e", "--from", str(folder)) == 0
    assert main_exit("write", "--terrain", "e") == 0  # by the registered model


def test_it_refuses_to_overwrite_and_names_that_are_none(tmp_path: Path) -> None:
    new_world("mine", tmp_path)
    before = (tmp_path / "mine.py").read_text()
    with pytest.raises(UserError, match="already"):
        new_world("mine", tmp_path)
    with pytest.raises(UserError, match="no name for a world"):
        new_world("my-world", tmp_path)
    assert (tmp_path / "mine.py").read_text() == before


@pytest.mark.parametrize("name", ["json", "class", "terrains"])
def test_it_refuses_names_that_would_hide_a_module(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"choose another, such as my_{name}"):
        new_world(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_world_is_made_where_its_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, settings = new_world("away", tmp_path)
    config = load_config(settings)
    factory = cloudpickle.dumps(world_factory(config))
    file.unlink()
    monkeypatch.chdir(tmp_path)
    world = cloudpickle.loads(factory)()
    assert world.score([Attempt("e", "import math\nex"), Attempt("t", "import math\n")])[0].fitness == 50.0
    assert isinstance(world, Listing) and not isinstance(world, Rendering) and not isinstance(world, Counting)


@pytest.mark.parametrize(
    ("text", "override", "said"),
    [
        ("", "terrains.world=mines.py:Mine", "mines.py: no such file; did you mean mine.py?"),
        ("", "terrains.world=mine.py:Mines", "has no 'Mines'; did you mean Mine?"),
        ("", "terrains.world=sodarase", "there is no world 'sodarase'; did you mean sodarace?"),
        ("", "terrains.options.longst=3", "terrains.options.longst: no such setting; did you mean longest?"),
        ("", "terrains.options.longest=many", "terrains.options.longest: "),
        ("1 / 0\n", "train.seed=1", "mine.py:1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, override: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file, settings = new_world("mine", tmp_path)
    file.write_text(text + file.read_text())
    with pytest.raises(UserError) as raised:
        make_world(load_config(settings, [override]))
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("method", "said"),
    [("score", "it has no method score"), ("close", "it has no method close"), ("terrain", "it has no method terrain")],
)
def test_a_class_without_a_method_is_no_world(tmp_path: Path, method: str, said: str) -> None:
    file, settings = new_world("mine", tmp_path)
    file.write_text(file.read_text().replace(f"def {method}(", f"def no_{method}("))
    with pytest.raises(UserError, match=said):
        make_world(load_config(settings))


def test_a_run_of_a_world_that_raises_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file, _ = new_world("mine", tmp_path)
    file.write_text(file.read_text().replace("scores = []", "scores = [1 / 0]"))
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", "mine.yml", f"model.model_path={tiny_lm[1]}", *FAST])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "mine.py:Mine: score raised mine.py:" in last and "ZeroDivisionError" in last


def test_a_run_before_worlds_had_options_is_resumed_with_its_own(tmp_path: Path) -> None:
    from distributed.config import RunConfig
    from distributed.config.resuming import resumed

    old = RunConfig.model_validate(json.loads('{"terrains": {"seconds": 20.0}}'))
    assert resumed(old, RunConfig()).terrains.options == {}
    with pytest.raises(UserError, match="terrains.options"):
        resumed(old, RunConfig.model_validate({"terrains": {"seconds": 5}}))
