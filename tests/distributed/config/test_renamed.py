"""Settings under the names they had before: in files, on the command line, in the folders and searches of old runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.load import load_config, parse_config, with_settings
from distributed.config.renamed import RENAMED
from distributed.config.search import Range
from distributed.errors import UserError
from distributed.results.run_folder import CONFIG, open_run
from distributed.search.space import check_space
from softprompt.models.frozen import FrozenLM
from tests.distributed.finished_runs import make_run

NOTE = "warm_start.born_from_elite is now warm_start.init_from_elite"
OLD = Path(__file__).parents[2] / "data/config_of_an_old_run.json"
"""The config.json of a search, written before anything was renamed; every setting of that time is in it."""


def test_the_new_names_are_settings_and_the_old_ones_are_not() -> None:
    names = {each.name for each in settings(RunConfig)}
    assert set(RENAMED.values()) <= names and not names & set(RENAMED)
    assert all(old.partition(".")[0] == new.partition(".")[0] for old, new in RENAMED.items())


def test_an_old_key_of_a_file_is_read_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "old.yml").write_text("warm_start:\n  born_from_elite: true\n  steps: 3\n")
    config = load_config(tmp_path / "old.yml")
    assert (config.warm_start.init_from_elite, config.warm_start.steps) == (True, 3)
    assert caplog.messages == [NOTE]


def test_an_old_name_on_the_command_line_comes_before_the_file(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("init_from_elite", "born_from_elite"):
        for override in ("init_from_elite", "born_from_elite"):
            config = parse_config({"warm_start": {name: True}}, [f"warm_start.{override}=false"])
            assert config.warm_start.init_from_elite is False
    assert set(caplog.messages) == {NOTE}
    assert with_settings(RunConfig(), {"warm_start.born_from_elite": True}).warm_start.init_from_elite is True


def test_both_names_of_a_setting_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^run.yml: warm_start.born_from_elite is the old name of .*; keep the second$"
    ):
        parse_config({"warm_start": {"born_from_elite": True, "init_from_elite": False}}, source="run.yml")


def test_a_mistake_under_the_old_name_is_still_one_line() -> None:
    with pytest.raises(UserError, match=r"^warm_start.init_from_elite: must be true or false, not \"perhaps\"$"):
        parse_config({"warm_start": {"born_from_elite": "perhaps"}})
    with pytest.raises(UserError, match=r"^warm_start: must be settings of its own"):
        parse_config({"warm_start": "born_from_elite"})


def test_a_space_with_the_old_name_is_searched_under_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    space = {"warm_start.born_from_elite": [True, False], "optimizer.kwargs.lr": {"low": 0.01, "high": 0.1}}
    config = parse_config({"search": {"space": space}})
    check_space(config)
    assert config.search.space == {
        "warm_start.init_from_elite": (True, False),
        "optimizer.kwargs.lr": Range(low=0.01, high=0.1),
    }
    assert caplog.messages == [NOTE]


def test_what_is_given_is_not_changed() -> None:
    given = {
        "warm_start": {"born_from_elite": True},
        "search": {"space": {"warm_start.born_from_elite": [True, False]}},
    }
    before = json.dumps(given)
    RunConfig.model_validate(given)
    parse_config(given)
    assert json.dumps(given) == before


def test_the_settings_of_an_old_run_load_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    said = json.loads(OLD.read_text())
    for read in (RunConfig.model_validate(said), RunConfig.model_validate_json(OLD.read_text()), parse_config(said)):
        now = read.model_dump(mode="json", by_alias=True)
        assert now["warm_start"].pop("init_from_elite") is said["warm_start"]["born_from_elite"]
        assert set(now["search"].pop("space")) == {"warm_start.init_from_elite", "optimizer.kwargs.lr"}
        assert now["terrains"]["options"] == {"seconds": said["terrains"]["seconds"]}
        for section, values in said.items():
            expected = {k: v for k, v in values.items() if k not in ("born_from_elite", "space", "seconds")}
            for kwargs in {"gen_kwargs", "gen_experience_kwargs"} & expected.keys():
                expected[kwargs] = now[section][kwargs] | expected[kwargs]  # beside what was added since then
            assert {name: now[section][name] for name in expected} == expected
    assert set(caplog.messages) == {NOTE}


def test_the_folder_of_an_old_run_is_read_for_export(tmp_path: Path, tiny_lm: tuple[FrozenLM, Path]) -> None:
    lm, base = tiny_lm
    run = make_run(tmp_path / "old", base, lm)
    written = json.loads((run / CONFIG).read_text())
    written["warm_start"]["born_from_elite"] = not written["warm_start"].pop("init_from_elite")
    (run / CONFIG).write_text(json.dumps(written))
    assert open_run(run).config.warm_start.init_from_elite is True
