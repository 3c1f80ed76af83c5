"""A reward function of a few lines, as docs/rewards.md has it, by the ordinary commands from the YAML to the report."""

from __future__ import annotations

import json
from pathlib import Path

import cloudpickle
import pytest

from distributed.checkpoint.manager import latest
from distributed.config.load import load_config
from distributed.config.trlx_sweep import load_search
from distributed.config.worlds import KEPT_READ, make_world, world_factory
from distributed.errors import UserError
from distributed.results.run_folder import open_run
from terrains.base import Attempt
from terrains.optional import Keeping, Travelling
from tests.distributed.docs import documented
from tests.distributed.finished_runs import main_exit
from tests.distributed.jobs.test_new_world import FAST
from tests.distributed.pages import Page

SPOILT = "TEST_SPOILT_REWARD"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with letters.py and letters.yml, word by word those of the documentation."""
    return documented("rewards.md", tmp_path / "files").parent


def spoil(file: Path) -> None:
    """Makes a reward raise while an environment variable is set."""
    before = f"import os\n\n\ndef check():\n    if '{SPOILT}' in os.environ:\n        raise KeyError('no server')\n\n\n"
    file.write_text(before + file.read_text().replace("    return ", "    check()\n    return "))


def train(files: Path, base: Path, *settings: str) -> int:
    return main_exit("train", "--config", str(files / "letters.yml"), f"model.model_path={base}", *FAST, *settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def test_the_function_of_the_docs_is_trained_reported_exported_and_written_by(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, tiny_lm, capsys
) -> None:
    assert len((files / "letters.py").read_text().splitlines()) <= 5
    monkeypatch.chdir(tmp_path)  # the YAML's own folder has the function
    assert train(files, tiny_lm[1]) == 0
    folder = tmp_path / "runs" / "letters"
    run = open_run(folder)
    assert list(run.summary.terrains) == ["e", "t"] == list(run.config.terrains.names)
    assert run.config.terrains.options["reward"] == f"{files / 'letters.py'}:reward_fn"
    page = Page((folder / "report.html").read_text())
    assert "table" in page.tags and "canvas" not in page.tags
    best = json.loads((folder / "summary.json").read_text())["terrains"]["e"]["best_of_n"]
    assert 0 <= best <= 100
    for each in files.iterdir():  # the run's own copies serve from here on
        each.unlink()
    capsys.readouterr()
    assert main_exit("replay", str(folder), "--out", "shown") == 0
    assert [each.name for each in (tmp_path / "shown").iterdir()] == ["replay.html"]
    assert main_exit("export", str(folder)) == 0
    capsys.readouterr()
    assert main_exit("write", "--terrain", "e", "--from", str(folder)) == 0
    alone = capsys.readouterr().out
    assert main_exit("write", "--terrain", "e", "--from", str(folder), "--count", "3", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["program"] == alone.removesuffix("\n") and len({each["program"] for each in listed}) == 3
    assert main_exit("train", "--resume", str(folder), "train.total_steps=2") == 0
    assert len(open_run(folder).prompts) == 2


def test_a_reward_that_raises_ends_a_run_with_one_line_that_can_go_on(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(files / "letters.py")
    monkeypatch.setenv(SPOILT, "1")
    assert train(files, tiny_lm[1]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "letters.py:reward_fn failed: letters.py:" in last and "KeyError" in last and "of terrain 'e'" in last
    folder = tmp_path / "runs" / "letters"
    assert f"terraprompt train --resume {folder}" in last and not (folder / "summary.json").exists()
    monkeypatch.delenv(SPOILT)
    assert main_exit("train", "--resume", str(folder)) == 0


def test_a_run_whose_reward_fails_later_keeps_its_results_and_goes_on(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(files / "letters.py")
    assert train(files, tiny_lm[1]) == 0
    folder = tmp_path / "runs" / "letters"
    before = contents(folder)
    monkeypatch.setenv(SPOILT, "1")
    capsys.readouterr()
    for command in (["replay", str(folder), "--out", "shown"], ["write", "--terrain", "e", "--from", str(folder)]):
        assert main_exit(*command) == 2
        assert "letters.py:reward_fn failed" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main_exit("train", "--resume", str(folder), "train.total_steps=2") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "KeyError" in last and "terraprompt train --resume" in last
    after = contents(folder)
    results = [name for name in before if Path(name).parent == folder and not name.endswith("config.json")]
    assert results and all(after[name] == before[name] for name in results) and latest(folder) is not None
    assert set(before) <= set(after)
    monkeypatch.delenv(SPOILT)
    monkeypatch.chdir(files)  # from where the same function can be named in a shorter way
    again = ["train.total_steps=2", "terrains.options.reward=letters.py:reward_fn"]
    assert main_exit("train", "--resume", str(folder), *again) == 0
    assert open_run(folder).config.train.total_steps == 2


def test_failures_that_are_counted_end_nothing(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil(files / "letters.py")
    monkeypatch.setenv(SPOILT, "1")
    assert train(files, tiny_lm[1], "terrains.options.on_error=count") == 0
    terrains = json.loads((tmp_path / "runs/letters/summary.json").read_text())["terrains"]
    assert terrains["e"]["untuned_valid"] == 0 and terrains["e"]["tuned_mean"] == 0


def test_the_world_is_made_and_scores_alike_where_its_files_are_not(files: Path, tmp_path: Path) -> None:
    config = load_config(files / "letters.yml")
    here = make_world(config)
    factory = cloudpickle.dumps(world_factory(config))
    assert isinstance(here, Travelling) and isinstance(here, Keeping)
    (tmp_path / KEPT_READ).write_text(json.dumps(here.keep()))
    attempts = [Attempt("e", "import numpy\nex", 1), Attempt("t", "import random\ntttx", 1)]
    assert [each.reward for each in here.score(attempts)] == [50.0, 75.0]
    for each in files.iterdir():
        each.unlink()
    for there in (cloudpickle.loads(factory)(), make_world(config, tmp_path)):
        assert [each.reward for each in there.score(attempts)] == [50.0, 75.0]
        assert there.terrain("t") == here.terrain("t")
        assert there.terrain("t").all_instructions == here.terrain("t").all_instructions


def test_paths_count_from_here_and_then_from_the_yaml(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "rows.jsonl").write_text('{"prompt": "import a\\n", "letter": "a"}\n')
    monkeypatch.chdir(tmp_path)
    settings = [
        "terrains.options.terrains.e={data: [rows.jsonl]}",
        "terrains.options.measures={more: [{name: 'letters.py:reward_fn', weight: 2}]}",
        "terrains.options.metric='here.py:metric'",
    ]
    (tmp_path / "here.py").write_text("def metric(outputs):\n    return {'n': [len(each) for each in outputs]}\n")
    options = load_config(files / "letters.yml", settings).terrains.options
    assert options["terrains"]["e"]["data"] == [str(files / "rows.jsonl")]
    assert options["measures"]["more"] == [{"name": f"{files / 'letters.py'}:reward_fn", "weight": 2}]
    assert options["metric"] == f"{tmp_path / 'here.py'}:metric"
    world = make_world(load_config(files / "letters.yml", settings))
    assert [each.text for each in world.terrain("e").instructions] == ["import a\n"]


def test_a_search_finds_the_files_as_a_run_does(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = load_search(files / "letters.yml", None).terrains.options
    assert options["reward"] == f"{files / 'letters.py'}:reward_fn"


def test_workers_threads_are_no_calls_side_by_side(files: Path) -> None:
    world = make_world(load_config(files / "letters.yml", ["rollouts.threads_per_worker=4"]))
    assert world.config.threads == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("terrains.options.reward=leters.py:reward_fn", "no such file; did you mean letters.py?"),
        ("terrains.options.reward=letters.py:reward", "has no 'reward'; did you mean reward_fn?"),
        ("terrains.options.reward=lenght", "there is no reward 'lenght'; did you mean length?"),
        ("terrains.options.rewards=length", "terrains.options.rewards: no such setting; did you mean reward?"),
        ("terrains.options.terrains.e={data: rowz.jsonl}", "rowz.jsonl: no such file"),
    ],
)
def test_a_mistake_is_one_line(files: Path, monkeypatch: pytest.MonkeyPatch, override: str, said: str) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(UserError) as raised:
        make_world(load_config("letters.yml", [override]))
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_workers_on_ray_make_the_run_of_this_process(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_lm, local_ray, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(files, tiny_lm[1], "train.checkpoint_dir=alone", "rollouts.request_size=4") == 0
    on_ray = ["ray.enabled=true", "rollouts.workers=2", "rollouts.request_size=4"]
    assert train(files, tiny_lm[1], "train.checkpoint_dir=both", *on_ray) == 0
    alone, both = open_run(tmp_path / "alone/letters"), open_run(tmp_path / "both/letters")
    assert {name: each.best_of_n for name, each in alone.summary.terrains.items()} == {
        name: each.best_of_n for name, each in both.summary.terrains.items()
    }
    assert latest(tmp_path / "both/letters") is not None
    (files / "letters.py").write_text("def reward_fn(outputs):\n    return 1 / 0\n")
    capsys.readouterr()
    assert train(files, tiny_lm[1], "train.checkpoint_dir=never", *on_ray) == 2
    assert "letters.py:2: ZeroDivisionError" in capsys.readouterr().err.strip().splitlines()[-1]
