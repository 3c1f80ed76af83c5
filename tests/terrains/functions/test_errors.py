"""Functions that fail: one line that names the sample, or counted failures; never a score at another's place."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terrains.errors import WorldError
from terrains.functions import failures
from terrains.functions.config import FunctionsConfig
from terrains.functions.world import FunctionsWorld
from tests.terrains.functions.worlds import TERRAINS, make_world, scores_of

OUTPUTS = ["1", "22", "bad", "4444"]
LENGTHS = [1.0, 2.0, 3.0, 4.0]


def spoilt(bad: Any) -> Any:
    """A reward function that gives lengths, and something else for the bad one."""

    def reward(outputs: list[str]) -> list[Any]:
        return [bad() if each == "bad" else len(each) for each in outputs]

    return reward


def _raises() -> None:
    raise KeyError("no such answer")


IN_ITSELF: list[Any] = []
IN_ITSELF.append(IN_ITSELF)

BAD = {
    "raises": (spoilt(_raises), failures.REWARD_ERROR, "failed: test_errors.py:"),
    "exits": (spoilt(lambda: sys.exit(3)), failures.REWARD_ERROR, "failed: test_errors.py:"),
    "none": (spoilt(lambda: None), failures.REWARD_ERROR, "returned None, and not a number"),
    "text": (spoilt(lambda: "12"), failures.REWARD_ERROR, "returned '12', and not a number"),
    "texts": (spoilt(lambda: ["1", "2", "3"]), failures.REWARD_ERROR, "returned a list, and not a number"),
    "mapping": (spoilt(lambda: {"a": 1}), failures.REWARD_ERROR, "returned a dict, and not a number"),
    "complex": (spoilt(lambda: 1j), failures.REWARD_ERROR, "returned a complex, and not a number"),
    "nested": (spoilt(lambda: [[1.0], [2.0]]), failures.REWARD_ERROR, "returned a list, and not a number"),
    "ragged": (spoilt(lambda: [[1.0], [2.0, 3.0]]), failures.REWARD_ERROR, "returned a list, and not a number"),
    "in_itself": (spoilt(lambda: IN_ITSELF), failures.REWARD_ERROR, "returned a list, and not a number"),
    "nan": (spoilt(lambda: float("nan")), failures.NOT_FINITE, "returned nan"),
    "inf": (spoilt(lambda: -np.inf), failures.NOT_FINITE, "returned -inf"),
    "huge": (spoilt(lambda: 10**400), failures.NOT_FINITE, "returned inf"),
    "nan_token": (spoilt(lambda: [0.0, np.nan, 1.0]), failures.NOT_FINITE, "returned nan for token 2"),
    "tokens": (spoilt(lambda: [1.0] * 5), failures.WRONG_LENGTH, "returned 5 numbers for 3 tokens"),
    "no_tokens": (spoilt(lambda: []), failures.WRONG_LENGTH, "returned 0 numbers for 3 tokens"),
    "too_few": (
        lambda outputs: [len(each) for each in outputs if each != "bad"],
        failures.WRONG_LENGTH,
        "returned 0 rewards for 1 samples",
    ),
}
WAYS = {
    "together": {},
    "without_deadline": {"deadline_s": 0},
    "in_pieces": {"batch_size": 3},
    "in_threads": {"threads": 3},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_sample_is_counted_and_the_others_keep_their_scores(bad: str, way: str) -> None:
    reward, kind, said = BAD[bad]
    world = make_world(reward, on_error="count", failure_reward=-1.0, **WAYS[way])
    scores = scores_of(world, OUTPUTS)
    assert [each.reward for each in scores] == [1.0, 2.0, -1.0, 4.0]
    assert [each.failure for each in scores] == [None, None, kind, None]
    assert scores[2].detail.startswith(f"reward {said}") and scores[2].fitness == 0
    assert world.counters()[kind] == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_sample_stops_with_a_line_that_names_it(bad: str, way: str) -> None:
    reward, _, said = BAD[bad]
    with pytest.raises(WorldError) as raised:
        scores_of(make_world(reward, **WAYS[way]), OUTPUTS)
    assert str(raised.value).startswith(f"reward {said}")
    assert str(raised.value).endswith("(sample 3 of terrain 'sums', '2+3=bad')")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "reward returned None, and not a list with a reward a sample"),
        (1.5, "reward returned 1.5, and not a list with a reward a sample"),
        ("abcd", "reward returned 'abcd', and not a list"),
        ({1: 2}, "reward returned a dict, and not a list"),
        (np.array(1.5), "reward returned one number, and not a list"),
        ([0.0] * 5, "reward returned 5 rewards for 1 samples"),
    ],
)
def test_what_is_no_list_at_all_is_a_failure_of_every_sample(returned: Any, said: str) -> None:
    world = make_world(lambda outputs: returned, on_error="count")
    scores = scores_of(world, OUTPUTS)
    assert [each.failure for each in scores] == [failures.WRONG_LENGTH] * 4
    assert scores[0].detail.startswith(said)


def test_samples_that_fail_together_alone_are_told_apart() -> None:
    def reward(outputs: list[str]) -> list[float]:
        if len(outputs) > 1:
            raise RuntimeError("too many")
        return [float(len(outputs[0]))]

    assert [each.reward for each in scores_of(make_world(reward, on_error="count"), ["1", "22"])] == [1.0, 2.0]
    with pytest.raises(WorldError, match=r"RuntimeError: too many \(2 samples together; alone none of them fails\)"):
        scores_of(make_world(reward), ["1", "22"])


def test_the_line_of_the_users_own_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import json\n\ndef f(outputs):\n    return [json.loads(each) for each in outputs]\n")
    world = FunctionsWorld(FunctionsConfig(reward=f"{file}:f", terrains=TERRAINS))
    with pytest.raises(WorldError, match=r"mine.py:f failed: mine.py:4: JSONDecodeError: Expecting property"):
        scores_of(world, ["5", "{"])


def test_a_weighted_sum_that_overflows_is_not_finite() -> None:
    reward = [{"name": "reward", "weight": 1e308}]
    functions = {"reward": lambda outputs: [10.0] * len(outputs)}
    world = FunctionsWorld(FunctionsConfig(reward=reward, terrains=TERRAINS, on_error="count"), functions)
    assert scores_of(world, ["1"])[0].failure == failures.NOT_FINITE


def test_a_late_call_is_a_failure_or_stops() -> None:
    release = threading.Event()

    def reward(outputs: list[str]) -> list[float]:
        if "bad" in outputs:
            release.wait(60)
        return [float(len(each)) for each in outputs]

    try:
        for threads in (1, 3):
            world = make_world(reward, on_error="count", threads=threads, batch_size=1, deadline_s=1.0)
            scores = scores_of(world, OUTPUTS)
            assert [each.failure for each in scores] == [None, None, failures.LATE, None]
            assert [each.reward for each in scores] == [1.0, 2.0, 0.0, 4.0]
        with pytest.raises(
            WorldError, match=r"reward gave no answer within 1 s \(sample 3 of terrain 'sums', '2\+3=bad"
        ):
            scores_of(make_world(reward, batch_size=1, deadline_s=1.0), OUTPUTS)
    finally:
        release.set()


def test_threads_call_side_by_side_and_every_score_is_at_its_place() -> None:
    together = threading.Barrier(4, timeout=60)

    def reward(outputs: list[str]) -> list[float]:
        together.wait()
        return [float(len(each)) for each in outputs]

    assert [each.reward for each in scores_of(make_world(reward, threads=4), OUTPUTS)] == LENGTHS


def test_calls_that_never_come_back_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terrains.functions.crew.MOST_LEFT_BEHIND", 3)
    release = threading.Event()
    world = make_world(lambda outputs: release.wait(60), on_error="count", batch_size=1, deadline_s=0.05)
    try:
        with pytest.raises(WorldError, match="3 calls of reward functions are going on long after their deadline"):
            scores_of(world, ["1"] * 5)
    finally:
        release.set()


def test_prints_go_to_the_log_and_those_of_other_threads_to_the_console(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    called, printed = threading.Event(), threading.Event()

    def beside() -> None:
        called.wait(60)
        print("a line of the run")
        printed.set()

    def reward(outputs: list[str]) -> list[float]:
        print("a line of the reward")
        print("and one on stderr", file=sys.stderr)
        called.set()
        printed.wait(60)
        return [0.0] * len(outputs)

    before = sys.stdout, sys.stderr
    other = threading.Thread(target=beside)
    other.start()
    with caplog.at_level(logging.INFO):
        scores_of(make_world(reward), ["1"])
    other.join()
    assert capsys.readouterr() == ("a line of the run\n", "")
    assert "reward printed: a line of the reward\nand one on stderr" in caplog.messages
    assert (sys.stdout, sys.stderr) == before


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    code = (
        "import time\n"
        "from tests.terrains.functions.worlds import make_world, scores_of\n"
        "world = make_world(lambda outputs: time.sleep(600), on_error='count', deadline_s=0.1)\n"
        "print(scores_of(world, ['1'])[0].failure)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert (done.stdout.strip(), done.returncode) == (failures.LATE, 0), done.stderr


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda outputs: {float(len(each)) for each in outputs}, "returned a set, which has no order"),
        (lambda outputs: itertools.repeat(1.0), "rewards for"),
    ],
    ids=["set", "endless"],
)
def test_what_has_no_order_or_no_end_is_no_list_of_rewards(returned: Any, said: str) -> None:
    with pytest.raises(WorldError, match=said):
        scores_of(make_world(returned, deadline_s=20.0), OUTPUTS)


@pytest.mark.parametrize("wrong", ["wieght", "wight", "Weigth"])
def test_a_misspelt_weight_is_no_argument_of_the_function(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def reward(outputs, **rest):\n    return [0.0] * len(outputs)\n")
    for name, own in ((f"{file}:reward", {}), ("length", {"per": 2})):
        with pytest.raises(WorldError, match=f"no such setting '{wrong}'; did you mean weight"):
            FunctionsWorld(FunctionsConfig(reward={"name": name, wrong: 0.2} | own, terrains=TERRAINS))
