"""The forms that settings, rewards and prompts can be given in, and what is said of others."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import terraprompt
from distributed.config import RunConfig
from distributed.config.load import load_config
from terraprompt.settings import Sections, default_sections, sections_of
from terraprompt.training import configured

DATA = Path(__file__).parents[1] / "data"


def reward(outputs: list[str]) -> list[float]:
    return [0.0] * len(outputs)


def options(said: Any) -> dict[str, Any]:
    return {"terrains": {"world": "functions", "options": said}}


class Broken:
    def to_dict(self) -> None:
        raise KeyError("x")


def config_of(
    config: Any = None, reward_fn: Any = reward, prompts: Any = ("a",), eval_prompts: Any = None, **settings: Any
) -> tuple[RunConfig, dict[str, Any]]:
    sections = Sections(default_sections(1)) if config is None else sections_of(config)
    return configured(sections, "bundled", (reward_fn, prompts, eval_prompts, None), None, settings)


@pytest.mark.parametrize("form", ["path", "dict", "to_dict", "RunConfig"])
def test_a_configuration_is_the_same_in_all_forms(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = DATA / "trlx_default_ppo.yml"
    said = dict(sections_of(path).said)
    given = {"path": str(path), "dict": said, "to_dict": SimpleNamespace(to_dict=lambda: said)}.get(form)
    run, functions = config_of(given or load_config(path), **{"train.run_name": "same"})
    assert (run.method.ppo_epochs, run.method.cliprange_reward, run.train.total_steps) == (4, 10, 10_000)
    assert run.terrains.options["terrains"] == {"task": {"instructions": ["a"]}}
    assert run.terrains.options["reward"] == "python:reward_fn" and functions == {"python:reward_fn": reward}
    assert run.model.model_path == "bundled" and run.terrains.names == ("task",)
    assert run.ray.enabled == (form == "never")


def test_a_configuration_s_own_reward_and_data_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "rows.txt").write_text("b\n")
    text = "terrains: {world: functions, options: {reward: length, on_error: count, terrains: {x: {data: rows.txt}}}}\n"
    (tmp_path / "there" / "mine.yml").write_text(text)
    path = tmp_path / "there" / "mine.yml"
    run, functions = config_of(path, None, None)
    assert run.terrains.options["terrains"]["x"]["data"] == str(tmp_path / "there" / "rows.txt")
    assert run.terrains.options["reward"] == "length" and not functions and run.train.run_name == "mine"
    run, _ = config_of(path, {"x": [reward, {"name": "length", "weight": np.float64(0.5)}]}, None, ["c"])
    assert run.terrains.options["on_error"] == "count" and "reward" not in run.terrains.options
    x = run.terrains.options["terrains"]["x"]
    assert x["reward"] == ["python:reward_fn[x][0]", {"name": "length", "weight": 0.5}]
    assert x["eval_instructions"] == ["c"] and x["data"]
    run, _ = config_of(path, "exact_match", {"y": ["d"]})
    assert run.terrains.options["terrains"] == {"y": {"instructions": ["d"]}} and run.terrains.names == ("y",)


def test_a_number_is_a_name_as_it_is_written() -> None:
    run, functions = config_of(None, {1: reward, "2": reward}, {1: ["a"], 2: ["b"]}, {2: ["c"]})
    terrains = run.terrains.options["terrains"]
    assert terrains["2"]["eval_instructions"] == ["c"] and terrains["1"]["instructions"] == ["a"]
    assert list(functions) == ["python:reward_fn[1]", "python:reward_fn[2]"]


def test_the_arguments_stand_in_trlx_s_order() -> None:
    theirs = "model_path reward_fn dataset samples rewards prompts eval_prompts metric_fn config stop_sequences".split()
    given = inspect.signature(terraprompt.train).parameters.values()
    assert [each.name for each in given if each.kind is each.POSITIONAL_OR_KEYWORD] == theirs


def test_the_defaults_and_what_comes_before_them() -> None:
    run, _ = config_of(**{"train.total_steps": 3})
    plain = terraprompt.default_config(4)
    assert run.train.total_steps == 3 and plain.method.num_rollouts == 128 and plain.warm_start.steps == 0
    assert run.optimizer.kwargs.lr == plain.optimizer.kwargs.lr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "reward_fn: has to be given, or a config whose terrains have a reward"),
        ({"config": {"train": {"total_steps": 2}}}, "reward_fn: has to be given"),
        ({"prompts": ["a"]}, "reward_fn: has to be given"),
        ({"reward_fn": reward}, "prompts: have to be given"),
        ({"samples": ["a"], "rewards": [1.0]}, "samples: is for methods that learn from samples"),
        ({"dataset": (["a"], [1.0])}, "dataset: is for methods"),
        ({"reward_func": reward}, "train takes no argument 'reward_func'; did you mean reward_fn?"),
        ({"total_steps": 3}, r"train takes no argument 'total_steps'; did you mean train.total_steps?"),
        ({"reward_fn": reward, "prompts": ["a"], "train.total_stepz": 3}, "train.total_stepz.*train.total_steps"),
        ({"reward_fn": 3, "prompts": ["a"]}, "reward_fn: is 'int'; give a function"),
        ({"reward_fn": "lenght", "prompts": ["a"]}, "no reward 'lenght'; did you mean length?"),
        ({"reward_fn": lambda color: [], "prompts": ["a"]}, "reward_fn asks for 'color', which terrain 'task' has not"),
        ({"reward_fn": reward, "prompts": "a"}, r"prompts: is one prompt; write a list"),
        ({"reward_fn": reward, "prompts": {"prompt": "a"}}, r"prompts: is one prompt; write a list"),
        ({"reward_fn": reward, "prompts": {"x": "a"}}, r"prompts\['x'\]: is one prompt"),
        ({"reward_fn": reward, "prompts": []}, "prompts: is empty"),
        ({"reward_fn": reward, "prompts": [1]}, r"prompts\[0\]: is 'int'; write a text"),
        ({"reward_fn": reward, "prompts": [{"promt": "a"}]}, "no field 'prompt'"),
        ({"reward_fn": reward, "prompts": [{"prompt": "a", "x": float("nan")}]}, r"prompts\[0\], 'x': is NaN"),
        ({"reward_fn": reward, "prompts": [{"prompt": "a", "x": object()}]}, r"prompts\[0\], 'x': is 'object'"),
        ({"reward_fn": reward, "prompts": [{"prompt": "a", "outputs": 1}]}, "'outputs' is an argument"),
        ({"reward_fn": reward, "prompts": {"x": ["a"]}, "eval_prompts": {"y": ["a"]}}, "for 'y'; there are x"),
        ({"reward_fn": {"x": reward}, "prompts": {"x": ["a"], "y": ["a"]}}, "reward_fn: has none for the terrain 'y'"),
        ({"reward_fn": reward, "prompts": ["a"], "config": 3}, "config: is 'int'; give the path"),
        ({"reward_fn": reward, "prompts": ["a"], "config": {"train": [1]}, "train.total_steps": 2}, "train: must be s"),
        ({"reward_fn": reward, "prompts": ["a"], "config": {"terrains": "x"}}, "terrains: is 'str', and no section"),
        ({"reward_fn": reward, "prompts": ["a"], "config": options([1])}, "terrains.options: is 'list', and no sect"),
        ({"reward_fn": reward, "config": options({"terrains": ["x"]})}, "terrains.options.terrains: is 'list'"),
        ({"reward_fn": reward, "config": options({"terrains": {"x": "y"}})}, "terrains.options.terrains.x: is 'str'"),
        ({"config": options({"reward": reward, "terrains": {"a": {"instructions": ["x"]}}})}, "settings name fun"),
        ({"reward_fn": reward, "prompts": ["a"], "config": SimpleNamespace}, "config: is 'type'; give"),
        ({"reward_fn": reward, "prompts": ["a"], "config": Broken()}, "config: its method to_dict fails: .*KeyError"),
        ({"reward_fn": reward, "prompts": {1: ["a"], "1": ["b"]}}, "prompts: has '1' twice"),
        ({"reward_fn": reward, "prompts": {None: ["a"]}}, "prompts: None is no name of a terrain"),
        ({"reward_fn": {3: reward}, "prompts": {1: ["a"]}}, "reward_fn: there are no prompts for '3'"),
        ({"reward_fn": reward, "prompts": ["a"], "eval_prompts": {}}, "eval_prompts: are empty"),
        ({"reward_fn": reward, "prompts": ["\ud800"]}, "instructions.0: has half of a character"),
        ({"reward_fn": reward, "prompts": ["a"], "model_path": 3}, "model_path: is 3, and no path"),
        ({"reward_fn": reward, "prompts": ["a"], "stop_sequences": 3}, "stop_sequences: is 'int', and not a list"),
        ({"reward_fn": reward, "prompts": ["a"], "stop_sequences": ["b", 3]}, r"stop_sequences\[1\]: is 'int'"),
        ({"reward_fn": reward, "prompts": ["a"], "resume": 3}, "resume: is 3, and no path"),
        ({"reward_fn": reward, "resume": b"a"}, "resume: is b'a', and no path"),
        ({"reward_fn": reward, "prompts": ["a"], "config": "nothing.yml"}, "no configuration file 'nothing.yml'"),
        ({"reward_fn": reward, "prompts": ["a"], "model_path": "./nothing"}, "model.model_path: no language model at"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(terraprompt.UserError, match=said) as raised:
        terraprompt.train(**given)
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []
