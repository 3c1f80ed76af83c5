"""The world of reward functions: one Score per attempt, whatever the function is and does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from terrains.base import Attempt, World
from terrains.errors import WorldError
from terrains.functions import failures
from terrains.functions.config import FunctionsConfig
from terrains.functions.world import FunctionsWorld
from terrains.optional import Counting, Measuring, Tokenizing
from tests.terrains.functions.worlds import TERRAINS, attempts_at, make_world, scores_of


def test_a_function_is_given_what_trlx_gives_and_the_tokens_and_terrains_too() -> None:
    seen: dict[str, Any] = {}

    def reward(samples, prompts, outputs, tokenizer, **metadata):  # type: ignore[no-untyped-def]
        seen.update(samples=samples, prompts=prompts, outputs=outputs, tokenizer=tokenizer, **metadata)
        return [0.5, 1]

    world = make_world(reward)
    world.use_tokenizer("the tokenizer")
    scores = scores_of(world, ["5", " 9"])
    assert seen == {
        "samples": ["2+3=5", "4+4= 9"],
        "prompts": ["2+3=", "4+4="],
        "outputs": ["5", " 9"],
        "tokenizer": "the tokenizer",
        "output_ids": [[53], [32, 57]],
        "terrain": ["sums", "sums"],
        "answer": [5, 8],
    }
    assert [(each.reward, each.fitness, each.failure, each.token_rewards) for each in scores] == [
        (0.5, 0.5, None, ()),
        (1.0, 1.0, None, ()),
    ]


def test_it_keeps_the_promises_of_worlds() -> None:
    world = make_world(lambda outputs: [0.0] * len(outputs))
    as_world: World = world
    assert isinstance(world, Counting) and isinstance(world, Tokenizing) and isinstance(world, Measuring)
    assert as_world.score([]) == []
    assert world.default_names() == ("sums",)
    with pytest.raises(WorldError, match="there is no terrain 'summs'; did you mean sums"):
        world.terrain("summs")
    world.close()
    world.close()


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda outputs, answer: [o == str(a) for o, a in zip(outputs, answer, strict=True)], None),
        (lambda outputs, /: [o == "5" for o in outputs], None),
        (lambda *, outputs: [o == "5" for o in outputs], None),
        (lambda outputs, answers=None: [o == "5" for o in outputs], None),
        (lambda output: [1], "reward asks for 'output', which terrain 'sums' has not; did you mean outputs?"),
        (lambda outputs, answers: [1], "asks for 'answers', which terrain 'sums' has not; did you mean answer?"),
        (lambda text, /: [1], "reward asks for 'text', which terrain 'sums' has not"),
    ],
)
def test_a_function_gets_the_arguments_it_names_and_is_refused_if_there_are_none(reward: Any, said: str | None) -> None:
    if said is None:
        assert [each.reward for each in scores_of(make_world(reward), ["5", "7"])] == [1.0, 0.0]
    else:
        with pytest.raises(WorldError) as raised:
            make_world(reward)
        assert said in str(raised.value)


@pytest.mark.parametrize(
    "as_returned",
    [
        lambda rows: rows,
        lambda rows: [np.array(row) for row in rows],
        lambda rows: [torch.tensor(row, dtype=torch.bfloat16) for row in rows],
        lambda rows: (torch.tensor(row, requires_grad=True) for row in rows),
    ],
)
def test_rewards_token_by_token_keep_their_places(as_returned: Any) -> None:
    world = make_world(lambda outputs: as_returned([[0.5] * (len(each) - 1) + [1.0] for each in outputs]))
    scores = scores_of(world, ["abc", "ab"])
    assert [each.token_rewards for each in scores] == [(0.5, 0.5, 1.0), (0.5, 1.0)]
    assert [each.reward for each in scores] == [2.0, 1.5]
    text = Attempt("sums", "2+3=ab")
    assert world.score([text])[0].token_rewards == () and world.score([text])[0].reward == 1.5


@pytest.mark.parametrize("values", [np.array([0.5, 2.0]), torch.tensor([[0.5], [2.0]]), [[0.5], np.float32(2)]])
def test_one_number_a_sample_may_be_an_array_or_in_a_list(values: Any) -> None:
    assert [each.reward for each in scores_of(make_world(lambda outputs: values), ["abc", "ab"])] == [0.5, 2.0]


def test_what_a_function_does_to_its_arguments_changes_nothing() -> None:
    terrains = {"lists": {"instructions": [{"prompt": "a", "tests": ["x"]}]}}

    def reward(samples, prompts, outputs, output_ids, tests):  # type: ignore[no-untyped-def]
        found = [float(len(each[0])) for each in tests]
        for each in (samples, prompts, outputs, output_ids[0], tests[0], tests):
            each.clear()
        return found

    world = make_world(reward, terrains=terrains)
    for _ in range(2):
        assert [each.reward for each in scores_of(world, ["b", "c"], "lists")] == [1.0, 1.0]
    assert world.terrain("lists").instructions[0].metadata == {"tests": ["x"]}


def test_terrains_scored_alike_share_a_call_and_others_have_their_own() -> None:
    calls = []

    def noted(terrain):  # type: ignore[no-untyped-def]
        calls.append(terrain)
        return [float(len(each)) for each in terrain]

    terrains = {
        "a": {"instructions": ["x"]},
        "bb": {"instructions": ["y"]},
        "ccc": {"instructions": ["z"], "reward": {"name": "length", "per": 4, "unit": "characters"}},
    }
    world = make_world(noted, terrains=terrains)
    attempts = [Attempt(name, world.terrain(name).instruction + "12") for name in ("bb", "ccc", "a", "bb")]
    assert [each.reward for each in world.score(attempts)] == [2.0, 0.5, 1.0, 2.0]
    assert calls == [["bb", "a", "bb"]]


def test_rewards_are_added_up_with_weights_and_one_number_counts_for_the_last_token() -> None:
    functions = {
        "tokens": lambda outputs: [[1.0] * len(each) for each in outputs],
        "once": lambda outputs: [3.0] * len(outputs),
    }
    reward = [{"name": "tokens", "weight": 0.5}, {"name": "once", "weight": 2.0}]
    world = FunctionsWorld(FunctionsConfig(reward=reward, terrains=TERRAINS), functions)
    (score,) = scores_of(world, ["abc"])
    assert score.token_rewards == (0.5, 0.5, 6.5)
    assert score.reward == 7.5


def test_fitness_and_validity_are_functions_of_their_own() -> None:
    functions = {
        "reward": lambda outputs: [1.0] * len(outputs),
        "length": lambda outputs: [len(each) for each in outputs],
        "is_number": lambda outputs: [each.isdigit() for each in outputs],
    }
    config = FunctionsConfig(reward="reward", fitness="length", valid="is_number", terrains=TERRAINS)
    world = FunctionsWorld(config, functions)
    good, bad = scores_of(world, ["123", "ab"])
    assert (good.reward, good.fitness, good.failure) == (1.0, 3.0, None)
    assert (bad.reward, bad.fitness, bad.failure) == (1.0, 0.0, failures.INVALID)
    assert world.counters()["invalid"] == 1


def test_metrics_are_a_number_an_attempt_and_nan_where_a_terrain_has_none() -> None:
    terrains = TERRAINS | {"other": {"instructions": ["x"]}}
    functions = {"reward": lambda outputs: [0.0] * len(outputs), "right": lambda outputs, answer: {"right": [1, 0.0]}}
    terrains["sums"] = terrains["sums"] | {"metric": "right", "measures": {"long": {"name": "length", "per": 2}}}
    world = FunctionsWorld(FunctionsConfig(reward="reward", terrains=terrains), functions)
    first, second = attempts_at(world, ["5", "77"])
    found = world.metrics([first, Attempt("other", "xy"), second])
    np.testing.assert_array_equal(found["right"], [1, np.nan, 0])
    np.testing.assert_array_equal(found["long"], [0.5, np.nan, 1])


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1.0], "right returned a list, and not a list of numbers for each name (2 samples of terrain 'sums')"),
        ({"a": [1.0]}, "right 'a': returned 1 rewards for 2 samples"),
        ({"a": [1.0, "x"]}, "right 'a': returned 'x' and not a number"),
        ({"a": 1.0}, "right 'a': returned 1.0, and not a list"),
    ],
)
def test_a_metric_function_that_measures_something_else_is_named(returned: Any, said: str) -> None:
    functions = {"reward": lambda outputs: [0.0] * len(outputs), "right": lambda outputs: returned}
    world = FunctionsWorld(FunctionsConfig(reward="reward", metric="right", terrains=TERRAINS), functions)
    with pytest.raises(WorldError) as raised:
        world.metrics(attempts_at(world, ["5", "7"]))
    assert str(raised.value).startswith(said)
    counting = FunctionsWorld(world.config.model_copy(update={"on_error": "count"}), functions)
    assert counting.metrics(attempts_at(world, ["5", "7"])) == {}


def test_it_travels_with_what_it_read_of_files(tmp_path: Path) -> None:
    rewards, data = tmp_path / "rewards.py", tmp_path / "sums.jsonl"
    rewards.write_text("def right(outputs, answer):\n    return [o == str(a) for o, a in zip(outputs, answer)]\n")
    data.write_text('{"question": "2+3=", "answer": 5}\n')
    terrains = {"sums": {"data": str(data), "instruction_field": "question"}}
    world = FunctionsWorld(FunctionsConfig(reward=f"{rewards}:right", terrains=terrains))
    sent = pickle.dumps(world)
    before = world.terrain("sums")
    rewards.unlink()
    data.unlink()
    arrived = pickle.loads(sent)
    assert arrived.terrain("sums") == before and arrived.terrain("sums").instructions == before.instructions
    assert [each.reward for each in scores_of(arrived, ["5", "6"])] == [1.0, 0.0]


def test_the_fingerprint_is_of_data_settings_and_code(tmp_path: Path) -> None:
    file = tmp_path / "rewards.py"

    def fingerprint(code: str = "0", **settings: Any) -> str:
        file.write_text(f"def f(outputs):\n    return [{code} for _ in outputs]\n")
        config = {"reward": f"{file}:f", "terrains": TERRAINS} | settings
        return FunctionsWorld(FunctionsConfig(**config)).terrain("sums").fingerprint

    kept = [fingerprint(), fingerprint(threads=4, deadline_s=9, on_error="count")]
    changed = [
        fingerprint("1"),
        fingerprint(failure_reward=-1.0),
        fingerprint(reward={"name": f"{file}:f", "weight": 2.0}),
        fingerprint(terrains={"sums": {"instructions": ["2+3="]}}),
    ]
    assert len(set(kept)) == 1
    assert len({*kept, *changed}) == 1 + len(changed)


def test_the_fingerprint_is_the_same_wherever_the_files_lie(tmp_path: Path) -> None:
    def fingerprint(folder: str, code: str = "0", text: str = "2+3=") -> str:
        (tmp_path / folder).mkdir()
        file, data = tmp_path / folder / f"{folder}_rewards.py", tmp_path / folder / "rows.txt"
        file.write_text(f"def f(outputs):\n    return [{code} for _ in outputs]\n")
        data.write_text(text)
        measures = {"more": [f"{file}:f", {"name": f"{file}:f", "weight": 2.0}]}
        shared: dict[str, Any] = {"reward": f"{file}:f", "metric": f"{file}:f", "measures": measures}
        config = FunctionsConfig(**shared, terrains={"sums": {"data": str(data)}})
        return FunctionsWorld(config).terrain("sums").fingerprint

    here = fingerprint("here")
    assert fingerprint("there") == here
    assert len({here, fingerprint("other", code="1"), fingerprint("rows", text="2+4=")}) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"terrains": {"a": {"instructions": ["x"]}}}, "terrain 'a' has no reward"),
        ({"reward": "length", "terrains": {"a": {}}}, "needs instructions, or data"),
        ({"reward": "length", "terrains": {}}, "at least 1 item"),
        ({"reward": "length", "terrains": {"a": {"instruction": ["x"]}}}, "Extra inputs"),
        ({"reward": "length", "terrains": TERRAINS, "on_error": "skip"}, "'stop' or 'count'"),
        ({"reward": {"weight": 1.0}, "terrains": TERRAINS}, "name"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        FunctionsConfig(**settings)
    assert said in str(raised.value)


def test_settings_come_back_from_json_as_they_were() -> None:
    config = FunctionsConfig(
        reward=["length", {"name": "regex", "pattern": "a", "weight": 0.5}],
        terrains={"a": {"instructions": ["x", {"prompt": "y", "n": 1}]}, "b": {"data": "b.csv", "reward": "length"}},
        limit=7,
    )
    again = FunctionsConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.of("a").limit == 7 and again.of("a").reward == config.reward
    assert [each.name for each in again.of("b").reward or ()] == ["length"]
    assert (config.reward or ())[1].arguments == {"pattern": "a"}
