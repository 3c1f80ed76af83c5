"""Functions that were given in Python: what their text is, and what stands for them elsewhere."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest

from terrains.base import Attempt
from terrains.errors import WorldError
from terrains.functions.config import FunctionsConfig
from terrains.functions.given import StandIn, code_of, file_of
from terrains.functions.world import FunctionsWorld

CONFIG = FunctionsConfig(reward="python:reward_fn", terrains={"a": {"instructions": ["x"]}})
ATTEMPTS = [Attempt("a", "xab")]


def length(outputs: list[str], power: float = 1.0) -> list[float]:
    return [len(each) ** power for each in outputs]


class Judge:
    def method(self, outputs: list[str]) -> list[float]:
        return length(outputs)

    def __call__(self, outputs: list[str]) -> list[float]:
        return length(outputs)


def world(reward: Any) -> FunctionsWorld:
    return FunctionsWorld(CONFIG, {"python:reward_fn": reward})


def test_the_text_of_a_function_is_its_own() -> None:
    def inner(outputs):
        return [0.0 for _ in outputs]

    one, other = (lambda outputs: [1.0] * len(outputs)), (lambda outputs: [2.0] * len(outputs))
    assert code_of(length) == code_of(functools.partial(length, power=2.0))
    assert code_of(length).startswith("def length(") and code_of(inner).startswith("def inner(")
    assert code_of(Judge().method).startswith("def method(") and code_of(Judge()).startswith("def __call__(")
    assert code_of(one) == "lambda outputs: [1.0] * len(outputs)" and "[2.0]" in code_of(other)
    assert code_of(len) == "" == file_of(len) and file_of(functools.partial(Judge())) == __file__
    assert code_of(eval("lambda outputs: outputs")) == ""


def test_another_text_is_another_terrain_and_where_it_is_written_makes_no_difference() -> None:
    def again(flag: bool) -> Any:
        if flag:
            return lambda outputs: [0.0 for _ in outputs]
        return None

    same = [lambda outputs: [0.0 for _ in outputs], again(True)]
    fingerprints = {world(each).terrain("a").fingerprint for each in same}
    assert len(fingerprints) == 1 and world(length).terrain("a").fingerprint not in fingerprints


@pytest.mark.parametrize("reward", [length, Judge(), Judge().method, functools.partial(length, power=1.0)])
def test_functions_travel_with_their_world(reward: Any) -> None:
    here = world(reward)
    there = pickle.loads(pickle.dumps(FunctionsWorld(CONFIG, **here.luggage(["a"]))))
    assert [each.reward for each in there.score(ATTEMPTS)] == [2.0] == [each.reward for each in here.score(ATTEMPTS)]


def test_a_world_without_its_functions_does_all_but_score() -> None:
    here = world(length)
    kept = here.keep()
    assert kept["given"] == {"python:reward_fn": code_of(length)}
    there = pickle.loads(pickle.dumps(FunctionsWorld(CONFIG, kept=kept)))
    assert there.terrain("a") == here.terrain("a") and there.keep() == kept
    for call in (there.score, there.metrics):
        with pytest.raises(WorldError, match=r"terraprompt\.train\(resume=\.\.\., reward_fn=\.\.\.\)"):
            call(ATTEMPTS)
    with pytest.raises(WorldError, match="reward_fn was a function in Python"):
        FunctionsWorld(CONFIG)
    again = FunctionsWorld(CONFIG, {"python:reward_fn": length}, kept=kept)
    assert [each.reward for each in again.score(ATTEMPTS)] == [2.0]


def test_what_stands_for_a_function_names_its_argument() -> None:
    with pytest.raises(WorldError, match=r"^metric_fn was a function.*metric_fn=\.\.\.\)$"):
        StandIn("python:metric_fn")()


def test_errors_name_the_function_and_its_line() -> None:
    def broken(outputs):
        return [1 / 0 for _ in outputs]

    with pytest.raises(WorldError, match=r"^reward_fn failed: test_given\.py:\d+: ZeroDivisionError"):
        world(broken).score(ATTEMPTS)
