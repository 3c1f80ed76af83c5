"""`terraprompt train --backend trlx`: what it refuses and ignores, and, where trlx is installed, a whole run."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from distributed.cli import app
from distributed.errors import UserError
from distributed.training import trlx_settings
from distributed.training.trlx_settings import check_for_trlx, for_trlx, optimizer_steps
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


@pytest.mark.skipif(find_spec("trlx") is None, reason="trlx is not installed; `make test-trlx TRLX_SRC=...` runs this")
def test_a_run_of_trlx_is_a_run_like_any_other(tmp_path: Path, tiny_lm):
    from typer.testing import CliRunner

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
    runner = CliRunner()
    found = runner.invoke(app, ["train", "--config", str(file), "--backend", "trlx"])
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
