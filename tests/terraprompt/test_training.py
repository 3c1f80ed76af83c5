"""`terraprompt.train` with a tiny language model in this process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import terraprompt
from distributed.checkpoint.manager import latest
from distributed.config.load import parse_config
from distributed.config.worlds import KEPT_READ, make_world, world_factory
from distributed.results.run_folder import open_run
from terrains.base import Attempt
from terrains.errors import WorldError
from tests.distributed.finished_runs import main_exit
from tests.terraprompt.conftest import SMALL, Trained

PAGE = Path(__file__).parents[2] / "docs" / "from_trlx.md"
PROMPTS = ["import math\n", "def f():\n"]


def short(outputs: list[str]) -> list[float]:
    return [-float(len(text)) for text in outputs]


def handlers() -> list[Any]:
    return [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_functions_get_what_trlx_gives_them_and_metadata(trained: Trained) -> None:
    seen: dict[str, set[Any]] = {"reward": set(), "metric": set()}

    class Judge:
        def reward(self, samples, prompts, outputs, tokenizer, color, **rest):
            assert rest.keys() == {"output_ids", "terrain"} and callable(tokenizer.decode)
            for sample, prompt, output, ids in zip(samples, prompts, outputs, rest["output_ids"], strict=True):
                assert sample == prompt + output and 1 <= len(ids) <= 6
            seen["reward"] |= set(zip(rest["terrain"], prompts, color, strict=True))
            return np.array([float(len(each)) for each in outputs])

    def metric_fn(prompts, color, outputs):
        seen["metric"] |= set(zip(prompts, color, strict=True))
        return {"length": [len(each) for each in outputs]}

    run = trained(
        reward_fn=Judge().reward,
        prompts={
            "a": [{"prompt": "import\n", "color": np.int64(7)}],
            "b": ["def f\n", {"prompt": "def\n", "color": "x"}],
        },
        eval_prompts={"b": [{"prompt": "for\n", "color": None}]},
        metric_fn=metric_fn,
    )
    assert {("a", "import\n", 7), ("b", "def f\n", None), ("b", "def\n", "x"), ("b", "for\n", None)} == seen["reward"]
    assert seen["metric"] == {("import\n", 7), ("for\n", None)}  # what is evaluated on
    [entry] = [each for each in run.history if each["phase"] == "evaluation"]
    means = {name: row.tuned_mean for name, row in run.summary.terrains.items()}
    assert {name: entry[f"metrics/length/{name}"] for name in means} == pytest.approx(means)


def test_dense_rewards_come_token_by_token(trained: Trained) -> None:
    run = trained(lambda output_ids: [[0.5] * len(ids) for ids in output_ids], prompts=PROMPTS)
    lengths = [2 * each for each in run.stats["reward/mean"]]
    assert all(1 <= each <= 6 for each in lengths) and run.terrains == ["task"]
    with pytest.raises(terraprompt.UserError, match="reward_fn returned .* tokens") as raised:
        trained(lambda output_ids: [[0.5] * (len(ids) + 1) for ids in output_ids], prompts=PROMPTS)
    assert "\n" not in str(raised.value)


def test_metrics_have_trlx_s_names(trained: Trained) -> None:
    section = PAGE.read_text().partition("## Names of metrics")[2].partition("## ")[0]
    found = re.findall(r"`(/?[\w/]+)`", section.partition("trlx's divergence")[0])
    names, head = [], ""
    for name in found:  # `/std` stands for `rollout_scores/std`
        head = head if name.startswith("/") else name.partition("/")[0]
        names.append(head + name if name.startswith("/") else name)
    run = trained(short, prompts=PROMPTS, stop_sequences=["\n\n"])
    assert len(names) > 15 and set(names) <= run.stats.keys()
    assert run.config.method.gen_kwargs.stop_strings == ("\n\n",)


def test_the_run_is_the_same_in_a_thread_and_beside_a_running_loop(trained: Trained) -> None:
    before, found = handlers(), {}

    def train(name: str) -> None:
        found[name] = trained(short, prompts=PROMPTS, train__run_name=name)

    async def notebook() -> None:
        train("loop")

    train("plain")
    asyncio.run(notebook())
    thread = threading.Thread(target=train, args=["thread"])
    thread.start()
    thread.join()
    assert handlers() == before
    prompts = [run.prompts["task"].tobytes() for run in found.values()]
    assert len(prompts) == 3 and len(set(prompts)) == 1


def test_a_reward_that_raises_is_one_line_and_the_run_goes_on_from_its_checkpoint(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls, before, fails_at = [0], handlers(), [3]

    def reward_fn(outputs):
        calls[0] += 1
        if calls[0] == fails_at[0]:
            raise KeyError("no server")
        return short(outputs)

    with pytest.raises(terraprompt.UserError) as raised:
        trained(reward_fn, prompts=PROMPTS, train__run_name="fails", **{"terrains.options.batch_size": 100})
    said = str(raised.value)
    # A call that fails is repeated sample by sample, and alone none fails.
    assert "reward_fn failed: test_training.py:" in said and "KeyError: 'no server'" in said and "\n" not in said
    directory = tmp_path / "runs" / "fails"
    assert f"terraprompt.train(resume='{directory}', reward_fn=...)" in said
    assert handlers() == before and latest(directory) is not None
    with pytest.raises(terraprompt.UserError, match="reward_fn was a function in Python.*give it again"):
        trained(resume=directory)
    capsys.readouterr()
    assert main_exit("train", "--resume", str(directory)) == 2
    assert "give it again, as in terraprompt.train(resume" in capsys.readouterr().err
    run = trained(reward_fn, resume=str(directory))
    whole = trained(short, prompts=PROMPTS, **{"terrains.options.batch_size": 100})
    assert run.directory == directory and np.array_equal(run.prompts["task"], whole.prompts["task"])
    with pytest.raises(terraprompt.UserError, match="^resume: there is no"):
        trained(short, resume=tmp_path / "runs" / "other")


def test_ctrl_c_keeps_a_checkpoint(trained: Trained, tmp_path: Path) -> None:
    before, calls = handlers(), [0]

    def reward_fn(outputs):
        calls[0] += 1
        if calls[0] == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return short(outputs)

    with pytest.raises(KeyboardInterrupt, match="continue with: terraprompt.train"):
        trained(reward_fn, prompts=PROMPTS, train__run_name="stopped")
    assert handlers() == before and latest(tmp_path / "runs" / "stopped") is not None
    run = trained(reward_fn, resume=tmp_path / "runs" / "stopped")
    assert np.array_equal(run.prompts["task"], trained(short, prompts=PROMPTS).prompts["task"])


def test_a_run_keeps_the_text_of_a_function_and_never_runs_it(
    trained: Trained, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(short, prompts={"a": PROMPTS}, metric_fn=lambda outputs: {"n": [0.0 for _ in outputs]})
    kept = json.loads((run.directory / KEPT_READ).read_text())["given"]
    assert kept["python:reward_fn"].startswith("def short(outputs")
    assert kept["python:metric_fn"] == "lambda outputs: {'n': [0.0 for _ in outputs]}"
    world = open_run(run.directory).make_world()
    assert [each.text for each in world.terrain("a").instructions] == PROMPTS
    with pytest.raises(WorldError, match="reward_fn was a function in Python"):
        world.score([Attempt("a", "import math\n")])
    assert main_exit("export", str(run.directory)) == 0
    capsys.readouterr()
    assert main_exit("write", "--terrain", "a", "--from", str(run.directory)) == 2
    assert "reward_fn was a function in Python" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_password_is_in_no_file_that_a_run_shows_or_sends(trained: Trained) -> None:
    key = "sk-12345"

    def asks(outputs, api_key):
        assert api_key == key
        return short(outputs)

    run = trained({"name": asks, "api_key": key}, prompts=PROMPTS)
    files = [each for each in run.directory.rglob("*") if each.is_file()]
    having = {each.name for each in files if key.encode() in each.read_bytes()}
    assert having == {"config.json"} and {"report.html", "summary.json"} <= {each.name for each in files}


def test_what_cannot_travel_to_workers_is_said_before_there_are_any(trained: Trained, tmp_path: Path) -> None:
    lock = threading.Lock()
    with pytest.raises(terraprompt.UserError, match="reward_fn: cannot travel to Ray's workers: .*lock") as raised:
        trained(lambda outputs: [float(lock.locked())] * len(outputs), prompts=PROMPTS, **{"ray.enabled": True})
    assert "\n" not in str(raised.value) and not (tmp_path / "runs").exists()


def test_a_closure_travels_as_ray_sends_it() -> None:
    scale = 2.0
    rewards = {"python:reward_fn": lambda outputs: [scale * len(each) for each in outputs]}
    options = {"reward": "python:reward_fn", "terrains": {"a": {"instructions": PROMPTS}}}
    config = parse_config({"terrains": {"world": "functions", "options": options}})
    here = make_world(config, functions=rewards)
    there = cloudpickle.loads(cloudpickle.dumps(world_factory(config, here)))()
    for world in (here, there):
        assert [each.reward for each in world.score([Attempt("a", "def f():\nabc", 1)])] == [6.0]
    assert there.terrain("a") == here.terrain("a")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_on_ray_make_the_run_of_this_process(trained: Trained, local_ray: None) -> None:
    scale = -2.0

    def reward_fn(outputs, **rest):  # names nothing of this module, which workers then need not import
        return [scale * len(text) for text in outputs]

    settings = {"rollouts.workers": 2, "rollouts.request_size": 4}
    there = trained(reward_fn, prompts=PROMPTS, **settings)
    here = trained(reward_fn, prompts=PROMPTS, **settings, **{"ray.enabled": False})
    assert there.config.ray.enabled and not here.config.ray.enabled
    assert np.array_equal(there.prompts["task"], here.prompts["task"])


def test_small_settings_are_there() -> None:
    assert terraprompt.default_config().train.total_steps > SMALL["train.total_steps"]
