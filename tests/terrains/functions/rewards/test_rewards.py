"""Rewards that come along: the values they give, and settings that they refuse."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from terrains.errors import WorldError
from tests.terrains.functions.worlds import scores_of

VALUES: list[tuple[dict[str, Any], str, float]] = [
    ({"name": "length", "per": 8}, "abcd", 0.5),
    ({"name": "length", "per": 2}, "abcd", 1.0),
    ({"name": "length", "per": 8, "goal": "short"}, "ab", 0.75),
    ({"name": "length", "per": 4, "unit": "words"}, "a b  c", 0.75),
    ({"name": "regex", "pattern": "a+"}, "baa", 1.0),
    ({"name": "regex", "pattern": "a+", "match": "whole", "miss": -1}, "baa", -1.0),
    ({"name": "regex", "pattern": "A", "match": "count", "ignore_case": True}, "baa", 2.0),
    ({"name": "json", "keys": {"a": "integer", "b": "string"}}, '{"a": 1, "b": "x"}', 1.0),
    ({"name": "json", "keys": {"a": "integer"}, "parses": 0.5}, '{"a": true}', 0.5 + 0.5 * 2 / 3),
    ({"name": "json", "keys": {"a": "integer"}}, '{"a": 1', 0.0),
    ({"name": "json", "keys": {"a": "integer"}}, '{"a": NaN}', 0.0),
    ({"name": "json", "keys": {"a": "any"}, "find": "first"}, 'so: {"a": 1} and', 1.0),
    ({"name": "json", "keys": {"a": "any"}, "prefix": "{"}, '"a": 1}', 1.0),
    ({"name": "json", "json_schema": {"type": "array", "items": {"minimum": 2}}, "parses": 0}, "[1, 3]", 0.5),
    ({"name": "exact_match"}, " 5\n", 1.0),
    ({"name": "exact_match"}, "55", 0.0),
    ({"name": "numeric_match"}, "2 and 3 are 5.0.", 1.0),
    ({"name": "numeric_match"}, "5 or 6", 0.0),
    ({"name": "numeric_match", "which": "first"}, "5 or 6", 1.0),
    ({"name": "numeric_match", "wrong": -0.5, "no_number": -1}, "-5", -0.5),
    ({"name": "numeric_match", "wrong": -0.5, "no_number": -1}, "five", -1.0),
    ({"name": "numeric_match", "relative": 0.1}, "5.4", 1.0),
]


@pytest.mark.parametrize(("reward", "output", "value"), VALUES)
def test_the_value_of_a_reward(reward: dict[str, Any], output: str, value: float) -> None:
    (score,) = scores_of(_world(reward), [output])
    assert score.reward == pytest.approx(value)


def _world(reward: Any) -> Any:
    from terrains.functions.config import FunctionsConfig
    from terrains.functions.world import FunctionsWorld
    from tests.terrains.functions.worlds import TERRAINS

    return FunctionsWorld(FunctionsConfig(reward=reward, terrains=TERRAINS))


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("lenght", "there is no reward 'lenght'; did you mean length?"),
        ({"name": "length", "pre": 8}, "reward length: pre: no such setting; did you mean per?"),
        ({"name": "regex", "pattern": "("}, "reward regex: pattern: is no regular expression"),
        ({"name": "exact_match", "field": "answers"}, "exact_match asks for 'answers', which terrain 'sums' has not"),
        ({"name": "json", "keys": {"a": "int"}}, "reward json: keys: there is no type 'int'"),
        ({"name": "json", "json_schema": {"oneOf": []}}, "reward json: json_schema: 'oneOf' is not among"),
    ],
)
def test_settings_that_are_refused(reward: Any, said: str) -> None:
    with pytest.raises(WorldError) as raised:
        _world(reward)
    assert str(raised.value).startswith(said)


def test_code_is_tested_in_the_sandbox() -> None:
    from terrains.functions.config import FunctionsConfig
    from terrains.functions.world import FunctionsWorld

    tests = ["assert add(2, 3) == 5", "assert add(0, 0) == 1"]
    terrains = {"code": {"instructions": [{"prompt": "def add(a, b):\n", "tests": tests}]}}
    world = FunctionsWorld(FunctionsConfig(reward="python_tests", terrains=terrains))
    outputs = ["    return a + b\n", "    return 1\n", "    return open('/etc/passwd')\n", "    return (\n"]
    assert [each.reward for each in scores_of(world, outputs, "code")] == [0.5, 0.5, 0.0, 0.0]
    world.close()


def test_sentiment_is_by_vader_and_without_it_a_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vaderSentiment")
    texts = ["a wonderful film", "an awful film", ""]
    positive = [each.reward for each in scores_of(_world("sentiment"), texts)]
    negative = [each.reward for each in scores_of(_world({"name": "sentiment", "goal": "negative"}), texts)]
    assert positive[0] > 0.6 and positive[1] < 0.4 and positive[2] == 0.5
    assert negative == pytest.approx([1 - each for each in positive])
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(WorldError, match="pip install vaderSentiment"):
        _world("sentiment")
