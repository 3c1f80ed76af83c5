"""Runs of hostile worlds: one clear line each, no hang, nothing between a run's lines; and odd names that work."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from distributed.checkpoint.manager import latest
from distributed.results.run_folder import open_run
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST

WORLD = """
import os, sys, threading, time
from terrains import Score, Terrain

class Mine:
    name = "mine"
    calls = 0

    def terrain(self, name):
        {terrain}
        return Terrain(name, "import math\\n")

    def score(self, attempts):
        Mine.calls += 1
        {score}
        return [Score(float(len(each.program)), float(len(each.program))) for each in attempts]

    def close(self):
        {close}
"""


def settings(folder: Path, model: Path, names: list[str], score="pass", terrain="pass", close="pass") -> list[str]:
    """Writes a world and a configuration; returns what trains in it."""
    (folder / "mine.py").write_text(WORLD.format(score=score, terrain=terrain, close=close))
    terrains = {"world": f"{folder / 'mine.py'}:Mine", "names": names}
    (folder / "mine.yml").write_text(json.dumps({"terrains": terrains, "model": {"model_path": str(model)}}))
    return ["train", "--config", str(folder / "mine.yml"), f"train.checkpoint_dir={folder / 'runs'}", *FAST]


PRINTS = "print('noise'); sys.stderr.write('noise'); os.write(1, b'noise' * 9); os.system('echo noise >&2')"


def test_a_world_that_prints_is_one_line(
    tmp_path: Path, tiny_lm, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    arguments = settings(tmp_path, tiny_lm[1], ["a", "b"], PRINTS, PRINTS, PRINTS)
    with caplog.at_level(logging.WARNING, "terraprompt"):
        assert main_exit(*arguments) == 0
    out, err = capfd.readouterr()
    assert "step 1/1" in out and "noise" not in out and "noise" not in err
    said = [line for line in caplog.messages if "prints" in line]
    assert 1 <= len(said) <= 2 and all("mine.py:Mine prints 'noise" in line for line in said)  # here, and at the worker


def test_a_world_that_hangs_ends_the_run_with_one_line_and_a_checkpoint(
    tmp_path: Path, tiny_lm, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = settings(tmp_path, tiny_lm[1], ["a", "b"], "time.sleep(600 if Mine.calls > 2 else 0)")
    assert main_exit(*arguments, "rollouts.deadline_s=4", "train.run_name=hung") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "mine.py:Mine: score has not come back after 3.6 s with 8 attempts on 'a', 'b'; a longer rollouts.d" in last
    assert f"continue with: terraprompt train --resume {tmp_path / 'runs' / 'hung'}" in last
    assert latest(tmp_path / "runs" / "hung") is not None


@pytest.mark.parametrize(
    ("score", "said"),
    [
        ("attempts.reverse()", "score changed the list of attempts"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise RuntimeError('a\\nb')", "RuntimeError: a b"),
    ],
)
def test_what_a_world_does_wrong_is_the_last_line(
    tmp_path: Path, tiny_lm, capsys: pytest.CaptureFixture[str], score: str, said: str
) -> None:
    assert main_exit(*settings(tmp_path, tiny_lm[1], ["a", "b"], score)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("terraprompt: ") and "mine.py:Mine: score " in last and said in last


ODD = ["a b/c", "../../up", "\u00fc: 100% \u4e16\u754c", "x" * 300, "a\tb\nc", "-", "\"<b>&'"]


def test_odd_names_of_terrains_are_trained_reported_exported_and_written(
    tmp_path: Path, tiny_lm, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [each for each in settings(tmp_path, tiny_lm[1], ODD) if each != "train.tracker=null"]
    monkeypatch.chdir(tmp_path)
    assert main_exit(*arguments, "train.run_name=odd", "method.num_rollouts=14") == 0
    run = open_run(tmp_path / "runs" / "odd")
    assert list(run.prompts) == ODD == list(run.summary.terrains)
    assert not list(tmp_path.glob("*up*")) and not list((tmp_path / "runs").glob("*up*"))
    assert "&lt;b&gt;" in (run.path / "report.html").read_text()
    assert main_exit("export", str(run.path)) == 0
    for name in ODD[:3]:
        assert main_exit("write", "--terrain", name, "--from", str(run.path)) == 0
        assert main_exit("write", "--terrain", name) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deeds", "said"),
    [
        (
            {"terrain": "return Terrain(name, fingerprint=name + str(os.getpid()))"},
            "is another terrain each",
        ),
        ({"score": "attempts.reverse()"}, "score changed the list of attempts"),
        ({"score": "sys.exit(0)"}, "SystemExit: 0"),
        ({"score": "time.sleep(600)"}, "score has not come back after 9 s"),
    ],
)
def test_on_ray_it_is_one_line_too(
    tmp_path: Path, local_ray: None, tiny_lm, capsys: pytest.CaptureFixture[str], deeds: dict[str, str], said: str
) -> None:
    arguments = settings(tmp_path, tiny_lm[1], ["a", "b"], **deeds)
    arguments = [each for each in arguments if each != "ray.enabled=false"]
    assert main_exit(*arguments, "rollouts.deadline_s=10", "rollouts.workers=1") == 2
    error = capsys.readouterr().err
    last = error.splitlines()[-1]
    assert last.startswith("terraprompt: ") and "mine.py:Mine: " in last and said in last
    assert "failure 1 of" not in error


@pytest.mark.slow
def test_on_ray_prints_are_one_line(
    tmp_path: Path, local_ray: None, tiny_lm, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    arguments = settings(tmp_path, tiny_lm[1], ["a", "b"], PRINTS)
    assert main_exit(*(each for each in arguments if each != "ray.enabled=false"), "rollouts.workers=2") == 0
    assert "noise" not in "".join(capfd.readouterr())
    assert len([line for line in caplog.messages if "prints" in line]) == 1
