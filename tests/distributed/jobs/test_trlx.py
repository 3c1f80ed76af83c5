"""`terraprompt train --backend trlx`: what it refuses and ignores, and, where trlx is installed, a whole run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distributed.cli.commands import app
from distributed.errors import UserError
from distributed.rollout.pool import RolloutError
from distributed.training import trlx_settings
from distributed.training.trlx_loop import TrlxLoop
from distributed.training.trlx_settings import check_for_trlx, for_trlx, optimizer_steps
from terrains.base import Instruction, Score, Terrain
from terrains.errors import WorldError
from tests.distributed.tiny_runs import config

PLAIN = {
    "method__estimator": "gae",
    "method__advantage_shaping": "none",
    "method__replay_weight": 0,
    "warm_start__steps": 0,
}


def test_what_trlx_has_nothing_for_is_named_in_one_line():
    ignored = check_for_trlx(config(method__closing_steps=3))
    assert ignored == (
        "trlx has no equal of, and ignores: method.estimator, method.advantage_shaping, method.replay_weight, "
        "method.closing_steps, warm_start.steps"
    )
    assert check_for_trlx(config(**PLAIN)) is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [("method__reparameterize", "residual"), ("model__num_layers_unfrozen", 1), ("method__scale_reward", "terrain")],
)
def test_what_would_be_another_result_is_refused(setting, value):
    with pytest.raises(UserError, match=f"^{setting.replace('__', '.')}: .*--backend ray"):
        check_for_trlx(config(**{setting: value}))


def test_lengths_are_counted_as_trlx_counts_them(tmp_path):
    run = config(**PLAIN, method__num_rollouts=12, train__batch_size=8, train__total_steps=3, method__ppo_epochs=4)
    assert optimizer_steps(run) == 3 * 4 * 2
    found = trlx_settings.trlx_settings(run, 5, tmp_path, terrains=["a", "e"])
    assert found["train"]["total_steps"] == 24 and found["train"]["epochs"] == 3
    assert found["method"]["chunk_size"] == 12 and found["method"]["gen_kwargs"]["max_new_tokens"] == 12
    assert found["scheduler"]["kwargs"] == {"start_factor": 1.0, "end_factor": 1.0, "total_iters": 24}


def test_a_deviation_that_is_given_is_used_by_trlx_too(tmp_path):
    found = trlx_settings.trlx_settings(config(**PLAIN, method__ref_std=4.0), 5, tmp_path)
    assert (found["method"]["ref_mean"], found["method"]["ref_std"]) == (0.0, 4.0)


def test_the_configuration_says_who_trained():
    assert not trlx_settings.by_trlx(config()) and trlx_settings.by_trlx(for_trlx(config()))
    assert not for_trlx(config()).ray.enabled


@pytest.mark.skipif(find_spec("trlx") is not None, reason="trlx is installed")
def test_without_trlx_nothing_is_left_behind(tmp_path, monkeypatch, capsys):
    from distributed.jobs.train import run_training

    run = for_trlx(config(**PLAIN, terrains__names=["left_wall"], train__checkpoint_dir=str(tmp_path / "runs")))
    with pytest.raises(UserError, match="^--backend trlx: trlx is not installed; install it with: pip "):
        run_training(run)
    assert not (tmp_path / "runs").exists()


class Mixed:
    """Pays some programs by the token and others at the end."""

    name = "mixed"

    def terrain(self, name: str) -> Terrain:
        return Terrain(name, instructions=(Instruction("import "), Instruction("def ")))

    def score(self, attempts):
        if attempts[0].program.endswith("stop"):
            raise WorldError("the server is gone\nfor good")
        self.told = [(each.program, each.instruction) for each in attempts]
        return [
            Score(3.0, 1.0)
            if each.instruction
            else Score(float(len(each.output_ids)), 1.0, token_rewards=(1.0,) * len(each.output_ids))
            for each in attempts
        ]

    def close(self) -> None:
        pass


def test_trlx_is_given_rewards_of_tokens_and_of_programs_as_such(tiny_lm):
    loop, tokenizer = TrlxLoop.__new__(TrlxLoop), tiny_lm[0].tokenizer
    loop._world, loop._scores = Mixed(), []
    outputs = ["return 12", "f():", "math"]
    n = [len(tokenizer(each).input_ids) for each in outputs]
    found = loop._rewards(outputs, tokenizer, ["a", "a", "e"], [0, 1, 0])
    assert found == [[1.0] * n[0], [0.0] * (n[1] - 1) + [3.0], [1.0] * n[2]] and n[1] > 1
    assert loop._world.told == [("import return 12", 0), ("def f():", 1), ("import math", 0)]
    assert loop._rewards(outputs, tokenizer, ["a"] * 3, [1] * 3) == [3.0] * 3
    with pytest.raises(RolloutError, match="^the server is gone for good$"):
        loop._rewards(["stop"], tokenizer, ["a"], [0])


REWARDS = """
def reward(outputs, output_ids, answer, **_):
    assert set(answer) <= {"yes", "no", "eval"}, answer
    return [[float(token % 2) for token in ids] if len(ids) > 3 else 0.5 for ids in output_ids]

def measure(outputs, answer, **_):
    return {"eval": [float(each == "eval") for each in answer]}
"""


@pytest.mark.skipif(find_spec("trlx") is None, reason="trlx is not installed; `make test-trlx TRLX_SRC=...` runs this")
def test_rewards_of_tokens_and_many_instructions_go_through_trlx(tmp_path: Path, tiny_lm):
    (tmp_path / "mine.py").write_text(REWARDS)
    prompts = [{"prompt": "import math\n", "answer": "yes"}, {"prompt": "def f():\n", "answer": "no"}]
    options = {
        "reward": f"{tmp_path}/mine.py:reward",
        "metric": f"{tmp_path}/mine.py:measure",
        "terrains": {
            name: {"instructions": prompts, "eval_instructions": [{"prompt": f"# {name}\n", "answer": "eval"}]}
            for name in ("a", "b")
        },
    }
    settings = {
        "terrains": {"world": "functions", "options": options},
        "model": {"model_path": str(tiny_lm[1])},
        "method": {"n_soft_tokens": 3, "num_rollouts": 8, "ppo_epochs": 2, "gen_kwargs": {"max_new_tokens": 8}},
        "warm_start": {"samples": 8, "steps": 0},
        "train": {"total_steps": 2, "batch_size": 8, "checkpoint_dir": str(tmp_path), "tracker": None},
        "evaluation": {"samples_per_terrain": 4, "bootstrap": 100},
    }
    (tmp_path / "dense.yml").write_text(json.dumps(settings))
    found = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "dense.yml"), "--backend", "trlx"])
    assert found.exit_code == 0, found.output
    summary = json.loads((tmp_path / "dense" / "summary.json").read_text())
    assert list(summary["terrains"]) == ["a", "b"] and summary["steps"] == 2
    assert {name: each["tuned"] for name, each in summary["metrics"]["eval"].items()} == {"a": 1.0, "b": 1.0}


@pytest.mark.skipif(find_spec("trlx") is None, reason="trlx is not installed; `make test-trlx TRLX_SRC=...` runs this")
def test_a_run_of_trlx_is_a_run_like_any_other(tmp_path: Path, tiny_lm):
    settings = {
        "terrains": {"names": ["left_wall", "tunnel"], "seconds": 2},
        "model": {"model_path": str(tiny_lm[1])},
        "method": {"n_soft_tokens": 3, "num_rollouts": 8, "ppo_epochs": 2, "gen_kwargs": {"max_new_tokens": 8}},
        "warm_start": {"samples": 8, "steps": 0},
        "train": {"total_steps": 2, "batch_size": 8, "checkpoint_dir": str(tmp_path), "tracker": None},
        "evaluation": {"samples_per_terrain": 4, "bootstrap": 100},
    }
    file = tmp_path / "small.yml"
    file.write_text(json.dumps(settings))
    found = CliRunner().invoke(app, ["train", "--config", str(file), "--backend", "trlx"])
    assert found.exit_code == 0, found.output
    folder = tmp_path / "small"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rollouts"] == 8 + 2 * 8 and summary["steps"] == 2
    assert json.loads((folder / "config.json").read_text())["train"]["trainer"] == "TerrainSoftPromptTrainer"
    assert (folder / "report.html").stat().st_size > 10_000
    from distributed.results.run_folder import open_run

    run = open_run(folder)
    assert {name: rows.shape for name, rows in run.prompts.items()} == {"left_wall": (3, 32), "tunnel": (3, 32)}
    assert run.load_base() is not None
