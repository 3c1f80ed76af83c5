"""Which settings may change when a run is resumed, and what is said of the others."""

from __future__ import annotations

import pytest

from distributed.config import RunConfig
from distributed.config.describe import settings
from distributed.config.load import parse_config, with_settings
from distributed.config.resuming import MAY_CHANGE, SPANS, STAYS, resumed
from distributed.config.trlx_sections import SCHEDULER_SETTINGS
from distributed.errors import UserError

BEFORE = with_settings(RunConfig(), {"train.run_name": "first", "train.total_steps": 6})


def test_the_table_names_settings_that_there_are() -> None:
    names = {each.name for each in settings(RunConfig)}
    assert set(STAYS) <= names
    for name in MAY_CHANGE:
        assert any(f"{each}.".startswith(f"{name}.") for each in names), name
    assert {name for name, arguments in SCHEDULER_SETTINGS.items() if arguments} == set(SPANS)
    assert all(argument in SCHEDULER_SETTINGS[name] for name, argument in SPANS.items())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("optimizer.kwargs.lr", 0.5, "optimizer.kwargs.lr 0.05 -> 0.5"),
        ("optimizer.kwargs.betas", [0.5, 0.9], "optimizer.kwargs.betas null -> [0.5, 0.9]"),
        ("optimizer.name", "adamw", 'optimizer.name "adam" -> "adamw"'),
        ("method.init_kl_coef", 0.2, "method.init_kl_coef 0.05 -> 0.2"),
        ("method.estimator", "gae", 'method.estimator "rloo" -> "gae"'),
        ("method.n_soft_tokens", 8, "method.n_soft_tokens 20 -> 8"),
        ("method.gen_experience_kwargs", {"top_k": 3}, "method.gen_experience_kwargs null -> {"),
        ("method.closing_steps", 3, "method.closing_steps 0 -> 3"),
        ("model.model_path", "gpt2", 'model.model_path "bundled" -> "gpt2"'),
        ("terrains.names", ["tunnel"], 'terrains.names ["left_wall", "right_wall", "tunnel"] -> ["tunnel"]'),
        ("train.seed", 3, "train.seed 1000 -> 3"),
        ("train.batch_size", 16, "train.batch_size 32 -> 16"),
        ("rollouts.request_size", 8, "rollouts.request_size 16 -> 8"),
        ("compute.dtype", "bfloat16", 'compute.dtype "float32" -> "bfloat16"'),
    ],
)
def test_what_a_run_began_as_cannot_change(name: str, value: object, words: str) -> None:
    with pytest.raises(UserError, match="cannot change") as caught:
        resumed(BEFORE, with_settings(BEFORE, {name: value}))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_every_refused_setting_is_named() -> None:
    asked = with_settings(BEFORE, {"optimizer.kwargs.lr": 0.5, "train.seed": 3, "train.total_steps": 9})
    with pytest.raises(UserError, match=r"optimizer.kwargs.lr 0.05 -> 0.5, train.seed 1000 -> 3; leave them out"):
        resumed(BEFORE, asked)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.total_steps", 9),
        ("train.checkpoint_interval", 3),
        ("train.eval_interval", 2),
        ("train.tracker", None),
        ("rollouts.workers", 5),
        ("ray.enabled", False),
        ("evaluation.samples_per_terrain", 7),
        ("tracking.experiment", "other"),
        ("train.epochs", 7),
        ("search.members", 9),
    ],
)
def test_length_workers_evaluation_and_records_are_applied(name: str, value: object) -> None:
    asked = with_settings(BEFORE, {name: value})
    assert resumed(BEFORE, asked, 4) == asked


def test_a_run_stays_where_it_lies() -> None:
    asked = with_settings(BEFORE, {"train.run_name": "other", "train.checkpoint_dir": "x", "train.total_steps": 7})
    assert resumed(BEFORE, asked) == with_settings(BEFORE, {"train.total_steps": 7})


def test_another_spelling_of_a_terrain_is_no_change() -> None:
    names = ["bumpy(seed=3)", "bumpy(amplitude=7)"]
    before = with_settings(BEFORE, {"terrains.names": names})
    asked = with_settings(BEFORE, {"terrains.names": ["bumpy( seed = 3 )", "bumpy(amplitude=7.0)"]})
    assert resumed(before, asked).terrains == asked.terrains


@pytest.mark.parametrize("schedule", ["cosine_annealing", "linear"])
@pytest.mark.parametrize("steps", [4, 9])
def test_a_schedule_that_spans_the_run_fixes_its_length(schedule: str, steps: int) -> None:
    """Its rate would climb again behind its end, or never reach it."""
    span = SPANS[schedule]
    before = with_settings(BEFORE, {"scheduler.name": schedule})
    with pytest.raises(UserError, match=rf"train.total_steps 6 -> {steps}: .*{schedule}.*scheduler.kwargs.{span}"):
        resumed(before, with_settings(before, {"train.total_steps": steps}), 3)
    given = with_settings(before, {f"scheduler.kwargs.{span}": 100})
    assert resumed(given, with_settings(given, {"train.total_steps": steps}), 3).train.total_steps == steps


def test_no_fewer_steps_than_are_made_and_none_after_the_closing_ones() -> None:
    fewer, more = (with_settings(BEFORE, {"train.total_steps": steps}) for steps in (4, 9))
    assert resumed(BEFORE, fewer, 4) == fewer
    with pytest.raises(UserError, match="train.total_steps 6 -> 4: 5 steps are made already"):
        resumed(BEFORE, fewer, 5)
    with pytest.raises(UserError, match=r"method.closing_steps.*checkpoint of an earlier step"):
        resumed(BEFORE, more, 6, closed=True)


def test_settings_that_were_written_are_read_as_equal() -> None:
    given = with_settings(
        BEFORE,
        {
            "terrains.sample.count": 3,
            "optimizer.kwargs.betas": [0.8, 0.9],
            "method.gen_experience_kwargs": {"top_k": 2},
        },
    )
    read = parse_config(given.model_dump(mode="json", by_alias=True))
    assert resumed(given, read) == given
