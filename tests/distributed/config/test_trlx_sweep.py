"""Files of trlx's: sweeps become searches, what is no configuration of PPO is named, adapters and end tokens."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from distributed.cli import main
from distributed.config import Range, RunConfig
from distributed.config.load import parse_config, with_settings
from distributed.config.trlx_sweep import MOST_VALUES, load_search, translate_sweep
from distributed.config.unsupported import check_trainable
from distributed.errors import UserError
from distributed.search.space import check_space
from distributed.training.setup import check_end_tokens
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest

SWEEP = {
    "tune_config": {
        "mode": "max",
        "metric": "reward/mean",
        "search_alg": "random",
        "scheduler": "fifo",
        "num_samples": 12,
    },
    "optimizer.kwargs.lr": {"strategy": "loguniform", "values": [0.001, 0.1]},
    "model.num_layers_unfrozen": {"strategy": "choice", "values": [-1, 2]},
    "method.num_rollouts": {"strategy": "choice", "values": [32, 96]},
    "method.target": {"strategy": "choice", "values": [None, 1]},
    "train.save_best": {"strategy": "choice", "values": [False]},
}
"""With what the sweeps that come with trlx have in them."""


def swept(strategy: str, *values: Any) -> Any:
    """The choices of one setting."""
    return translate_sweep({"method.x": {"strategy": strategy, "values": list(values)}})[0]["space"]["method.x"]


def file(path: Path, data: Any) -> Path:
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_sweep_is_a_search_of_the_base_it_is_given_with(tmp_path, caplog):
    base = file(tmp_path / "base.yml", {"method": {"ppo_epochs": 3}, "search": {"interval": 1, "members": 2}})
    with caplog.at_level(logging.WARNING):
        config = load_search(base, file(tmp_path / "sweep.yml", SWEEP), ["search.members=6"])
    assert (config.search.algorithm, config.search.members, config.search.interval) == ("random", 6, 1)
    assert config.method.ppo_epochs == 3 and config.train.save_best is False
    assert dict(config.search.space) == {
        "optimizer.kwargs.lr": Range(low=0.001, high=0.1, log=True),
        "method.num_rollouts": (32, 96),
        "method.target": (None, 1),
    }
    check_space(config)
    [said] = [each for each in caplog.messages if "is a sweep of trlx's" in each]
    assert "scheduler fifo is search.algorithm random" in said and "not reward/mean" in said
    assert "model.num_layers_unfrozen cannot differ between members and is left out" in said


def test_a_sweep_alone_is_a_search_of_the_defaults(tmp_path):
    config = load_search(file(tmp_path / "sweep.yml", SWEEP), None)
    assert config.search.members == 12 and config.method == RunConfig().method


@pytest.mark.parametrize(
    ("said", "algorithm", "note"),
    [
        ({"scheduler": "hyperband"}, "asha", "scheduler hyperband is search.algorithm asha"),
        ({"scheduler": "hyperbandforbohb", "search_alg": "bohb"}, "asha", "search_alg bohb is not here, and settings"),
        ({"search_alg": "bayesopt"}, "random", "search_alg bayesopt is not here, and settings are drawn at random"),
        ({"time_budget_s": 60}, "random", "tune_config.time_budget_s has no effect"),
        ({}, "random", "metric is the fitness"),
    ],
)
def test_what_tunes_words_become_is_said(said, algorithm, note):
    found, _, notes = translate_sweep({**SWEEP, "tune_config": said})
    assert found["algorithm"] == algorithm and note in "; ".join(notes)


def test_every_strategy_gives_the_values_that_tune_draws():
    assert swept("uniform", 1, 2) == {"low": 1, "high": 2, "log": False}
    assert swept("loguniform", 1e-6, 1e-3, 10) == {"low": 1e-6, "high": 1e-3, "log": True}
    assert swept("quniform", 0.1, 0.5, 0.1) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert swept("qloguniform", 0.25, 1, 0.25, 10) == [0.25, 0.5, 0.75, 1.0]
    assert swept("randint", 1, 5) == [1, 2, 3, 4]  # the upper end is not drawn
    assert swept("qrandint", 2, 9, 3) == [3, 6, 9]
    assert swept("lograndint", 1, 4, 10) == [1, 2, 3]
    assert swept("qlograndint", 4, 16, 4, 2) == [4, 8, 12, 16]
    assert swept("choice", "a", None) == swept("grid", "a", None) == ["a", None]
    assert all(type(value) is int for value in swept("randint", 0, 10**6) + swept("lograndint", 1, 10**6, 10))


def test_long_lists_are_spread_as_tune_draws():
    even, by_log = np.array(swept("randint", 1, 10**6)), np.array(swept("lograndint", 1, 10**6, 10))
    assert len(even) == MOST_VALUES and even[0] == by_log[0] == 1 and even[-1] == by_log[-1] == 10**6 - 1
    assert np.median(even) == pytest.approx(5e5, rel=0.05) and np.median(by_log) == pytest.approx(1e3, rel=0.3)
    normal = np.array(swept("randn", 3.0, 0.5))
    assert normal.mean() == pytest.approx(3.0) and normal.std() == pytest.approx(0.5, rel=0.05)
    assert set(swept("qrandn", 3.0, 1.0, 1)) <= {0, 1, 2, 3, 4, 5, 6} and 3 in swept("qrandn", 3.0, 1.0, 1)


def test_the_sweeps_of_2022_have_strategies_among_settings(tmp_path):
    old = {
        "tune_config": {"mode": None, "num_samples": 3, "time_budget_s": None},
        "model": {"num_layers_unfrozen": {"strategy": "choice", "choices": [2, 3]}},
        "train": {"batch_size": 24, "learning_rate_init": 0.25, "learning_rate_target": 0.25},
        "method": {
            "ppo_epochs": {"strategy": "randint", "bounds": [3, 6]},
            "gen_kwargs": {"max_length": 48, "top_k": 0.0},
        },
    }
    config = load_search(file(tmp_path / "old.yml", old), None)
    assert dict(config.search.space) == {"method.ppo_epochs": (3, 4, 5)} and config.search.members == 3
    assert (config.train.batch_size, config.optimizer.kwargs.lr, config.method.gen_kwargs.max_length) == (24, 0.25, 48)


def test_the_sweeps_of_2023_name_settings_without_their_sections():
    values = {"lr_init": ["1e-6", "1e-2"], "init_kl_coef": [0, 0.2], "vf_coef": [0.5, 2]}
    data = {name: {"strategy": "uniform", "values": each} for name, each in values.items()}
    assert translate_sweep(data)[0]["space"] == {
        "optimizer.kwargs.lr": {"low": 1e-6, "high": 1e-2, "log": False},
        "method.init_kl_coef": {"low": 0, "high": 0.2, "log": False},
        "method.vf_coef": {"low": 0.5, "high": 2, "log": False},
    }
    with pytest.raises(UserError, match="method.tau is a setting of trlx's ILQL"):
        translate_sweep({"tau": {"strategy": "uniform", "values": [0.6, 0.9]}})


def test_a_grid_has_as_many_members_as_it_has_points():
    grid = {"method.ppo_epochs": {"strategy": "grid", "values": [1, 2, 4]}, "tune_config": {"num_samples": 2}}
    assert translate_sweep(grid)[0]["members"] == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method.tau": {"strategy": "uniform", "values": [0.6, 0.9]}}, "method.tau is a setting of trlx's ILQL"),
        ({"tune_config": {"mode": "min"}}, "tune_config.mode: min: a search looks for the highest"),
        ({"tune_config": {"scheduler": "hyperban"}}, "did you mean hyperband?"),
        (
            {"tune_config": {"search_alg": "optuna"}},
            "tune_config.search_alg: must be random, bayesopt, bohb, not optuna",
        ),
        ({"tune_config": {"num_samples": 0}}, "num_samples: must be a whole number above 0"),
        ({"tune_config": 3}, "tune_config: must be settings of its own"),
        (
            {"method.gamma": {"strategy": "unifrom", "values": [0, 1]}},
            "there is no strategy unifrom; did you mean uniform",
        ),
        ({"method.gamma": {"strategy": "uniform", "values": [1]}}, "uniform takes 2 numbers, not [1]"),
        ({"method.gamma": {"strategy": "uniform", "values": [1, 0]}}, "takes a lower end, then a higher one"),
        ({"method.gamma": {"strategy": "loguniform", "values": [0, 1]}}, "takes a lower end above 0"),
        ({"method.gamma": {"strategy": "randn", "values": [0, 0]}}, "a deviation above 0"),
        ({"method.gamma": {"strategy": "choice", "values": 3}}, "values must be a list"),
        ({"method.gamma": [0, 1]}, "method.gamma: must have a strategy and values"),
        (
            {"method.gama": {"strategy": "choice", "values": [0, 1]}},
            "no setting method.gama; did you mean method.gamma?",
        ),
    ],
)
def test_a_sweep_that_is_not_understood_is_one_clear_line(tmp_path, change, words):
    with pytest.raises(UserError) as error:
        check_space(load_search(file(tmp_path / "sweep.yml", {**SWEEP, **change}), None))
    assert words in str(error.value) and "\n" not in str(error.value)


OTHERS = [
    (
        {"compute_environment": "LOCAL_MACHINE", "num_machines": 1},
        "a configuration of accelerate (compute_environment)",
    ),
    ({"deepspeed_config": {}}, "a configuration of accelerate (deepspeed_config)"),
    ({"name": "x", "trainer": {"devices": 1}, "exp_manager": {}}, "a configuration of NeMo (exp_manager)"),
    ({"train": {"trainer": "NeMoPPOTrainer"}}, "train.trainer: NeMoPPOTrainer is one of NeMo"),
    ({"method": {"name": "ilqlconfig", "tau": 0.7}}, "method.name: ilqlconfig is trlx's ILQL"),
    ({"method": {"name": "SFTConfig"}}, "method.name: SFTConfig is trlx's supervised fine-tuning"),
    ({"method": {"name": "RFTConfig", "n_generations_per_prompt": 3}}, "is trlx's rejection fine-tuning"),
    ({"train": {"trainer": "AccelerateILQLTrainer"}}, "train.trainer: AccelerateILQLTrainer is trlx's ILQL"),
]


@pytest.mark.parametrize(("data", "words"), [*OTHERS, (SWEEP, "a sweep of trlx's")])
def test_a_file_of_another_kind_is_named_as_what_it_is(tmp_path, capsys, data, words):
    for command in ("train", "search") if data is not SWEEP else ("train",):
        with pytest.raises(SystemExit) as exit_:
            main([command, "--config", str(file(tmp_path / "other.yml", data))])
        [line] = capsys.readouterr().err.strip().splitlines()
        assert exit_.value.code == 2 and words in line and "other.yml" in line


def test_a_sweep_and_a_base_are_not_exchanged(tmp_path):
    sweep, base = file(tmp_path / "sweep.yml", SWEEP), file(tmp_path / "base.yml", {"train": {"total_steps": 2}})
    with pytest.raises(UserError, match="--sweep: .*base.yml is no sweep"):
        load_search(base, base)
    with pytest.raises(UserError, match="--config: .*sweep.yml is a sweep too"):
        load_search(sweep, sweep)
    with pytest.raises(SystemExit):
        main(["search", "--sweep", str(sweep)])


@pytest.mark.parametrize(
    ("adapter", "n", "words"),
    [
        ({"peft_type": "LORA", "r": 8}, 20, "model.peft_config: LORA is not used"),
        ("some/adapter", 20, "the adapter in some/adapter is not used"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 7}, 7, "num_virtual_tokens 7 is method.n_soft_tokens 7"),
        ({"peft_type": "PROMPT_TUNING"}, 20, "PROMPT_TUNING is what is done here anyway"),
    ],
)
def test_an_adapter_of_a_trlx_file_is_named_and_left_out(caplog, adapter, n, words):
    with caplog.at_level(logging.WARNING):
        config = parse_config({"model": {"peft_config": adapter}})
    check_trainable(config)
    assert config.model.peft_config is None and config.method.n_soft_tokens == n and words in caplog.text


def test_the_size_that_is_said_comes_before_an_adapters(caplog):
    adapter = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 7}
    config = parse_config({"model": {"peft_config": adapter}}, ["method.n_soft_tokens=3"])
    assert config.method.n_soft_tokens == 3 and "num_virtual_tokens 7 is not used" in caplog.text


def test_one_beam_loads_and_more_are_refused_by_name():
    kwargs = {"max_new_tokens": 8, "num_beams": 1, "eos_token_id": 3}
    assert parse_config({"method": {"gen_kwargs": kwargs}}).method.gen_kwargs.num_beams == 1
    with pytest.raises(UserError, match="method.gen_kwargs.num_beams: must be 1, not 4"):
        parse_config({"method": {"gen_kwargs": kwargs | {"num_beams": 4}}})


def test_programs_end_at_the_tokens_that_are_said(tiny_lm):
    lm = tiny_lm[0]
    request = SampleRequest(0, (5, 6), 64, seed=1)

    def drawn(eos_token_id: Any) -> list[list[int]]:
        config = parse_config({"method": {"gen_kwargs": {"max_new_tokens": 24, "eos_token_id": eos_token_id}}})
        samples = Sampler(lm, GenerationConfig(**config.method.gen_kwargs.sampler_settings(2))).sample(None, [request])
        return [row[kept].tolist() for row, kept in zip(samples.ids, samples.mask, strict=True)]

    endless = drawn(-1)
    assert {len(tokens) for tokens in endless} == {24}
    common, count = torch.tensor(endless).flatten().unique(return_counts=True)
    end = int(common[count.argmax()])
    for ends, said in (([end], end), ([end, lm.eos_id], [end, lm.eos_id]), (list(lm.eos_ids), None)):
        # What is drawn depends on nothing but the place, so that a program is the endless one up to its end.
        expected = [t[: next((k + 1 for k, token in enumerate(t) if token in ends), 24)] for t in endless]
        assert drawn(said) == expected and min(map(len, expected)) < 24


def test_an_end_token_of_another_language_model_is_one_clear_line(tiny_lm):
    config = with_settings(RunConfig(), {"method.gen_kwargs.eos_token_id": 50256})
    with pytest.raises(UserError, match="method.gen_kwargs.eos_token_id: 50256 is no token of the language model"):
        check_end_tokens(config, tiny_lm[0])
    check_end_tokens(with_settings(config, {"method.gen_kwargs.eos_token_id": [-1, 3]}), tiny_lm[0])
