"""A run goes on where its world's or its reward's file has moved, if it says what it said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from distributed.checkpoint.manager import latest, load_checkpoint, save_checkpoint
from distributed.results.run_folder import open_run
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST


@pytest.fixture
def trained(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm) -> list[str]:
    """Trains on the documented files, moves them, and returns the arguments with which the run goes on there."""
    monkeypatch.chdir(tmp_path)
    settings = [f"model.model_path={tiny_lm[1]}", *FAST]
    assert main_exit("train", "--config", str(documented(page, tmp_path / "before")), *settings) == 0
    shutil.move("before", "after")
    go_on = [each for each in settings if "total_steps" not in each] + ["train.total_steps=2"]
    return ["train", "--resume", "runs/letters", "--config", "after/letters.yml", *go_on]


@pytest.mark.parametrize("page", ["worlds.md", "rewards.md"])
def test_the_moved_files_are_taken_and_other_ones_refused(
    trained: list[str], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("after/letters.py")
    if page == "rewards.md":  # whose terrains' fingerprints are of the code
        text = file.read_text()
        file.write_text(text.replace("100 *", "200 *"))
        assert main_exit(*trained) == 2
        assert "e is another terrain than when the run began" in capsys.readouterr().err
        file.write_text(text)
    file.rename("after/others.py")
    shutil.copy("after/others.py", file)
    assert main_exit(*trained) == 0
    run = open_run("runs/letters")
    assert run.config.train.total_steps == 2 and run.summary.steps == 2
    moved = str(file.absolute())
    assert moved in str(run.config.terrains.world) + str(run.config.terrains.options.get("reward"))


@pytest.mark.parametrize("page", ["rewards.md"])
def test_a_checkpoint_that_does_not_say_what_its_terrains_were_goes_on_with_a_note(
    trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    newest = latest(Path("runs/letters"))
    assert newest is not None
    saved = load_checkpoint(newest)
    state = {**saved.state, "run": {k: v for k, v in saved.state["run"].items() if k not in ("terrains", "lm")}}
    shutil.rmtree(newest)
    save_checkpoint(Path("runs/letters"), saved.step, state)
    capsys.readouterr()
    assert main_exit(*trained) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "the checkpoint does not say what these were; they are taken as they are: e, t, the language model" in said
