"""The settings: what they promise to each other, and what trlx's format can say that cannot be trained."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from distributed.config import TRLX_SECTIONS, GenKwargs, RunConfig
from distributed.config.describe import settings
from distributed.config.load import parse_config, with_settings
from distributed.config.unsupported import check_trainable
from distributed.errors import UserError
from softprompt.sampling import GenerationConfig
from terrains.sodarace.ground.sampler import sample_terrains

DEFAULT = RunConfig()


def test_every_setting_is_documented() -> None:
    undocumented = [each.name for each in settings(RunConfig) if len(each.meaning) < 10]
    assert undocumented == []


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        setattr(DEFAULT.method, "n_soft_tokens", 3)  # noqa: B010


def test_trlx_sections_hold_no_setting_trlx_does_not_know_besides_method() -> None:
    # trlx passes these sections to the constructors of its dataclasses, which take nothing else.
    known = {
        "train": "total_steps seq_length epochs batch_size checkpoint_interval eval_interval pipeline trainer "
        "trainer_kwargs project_name run_name entity_name group_name checkpoint_dir rollout_logging_dir save_best "
        "save_optimizer resume_from_checkpoint tracker logging_dir tags seed minibatch_size",
        "model": "model_path model_arch_type num_layers_unfrozen peft_config model_extra_configs",
        "tokenizer": "tokenizer_path padding_side truncation_side tokenizer_extra_configs",
        "optimizer": "name kwargs",
        "scheduler": "name kwargs",
    }
    sections = DEFAULT.model_dump()
    assert {name: set(sections[name]) for name in known} == {name: set(keys.split()) for name, keys in known.items()}
    assert set(TRLX_SECTIONS) == {*known, "method"}


def test_arguments_that_are_not_given_are_not_written() -> None:
    assert DEFAULT.model_dump()["optimizer"]["kwargs"] == {"lr": 0.05}


def test_a_learning_rate_alone_keeps_the_betas() -> None:
    changed = with_settings(DEFAULT, {"optimizer.kwargs": {"lr": 0.1}})
    assert changed.optimizer.arguments == {"lr": 0.1, "betas": (0.9, 0.95)}
    assert with_settings(DEFAULT, {"optimizer.name": "sgd"}).optimizer.arguments == {"lr": 0.05}


@pytest.mark.parametrize(
    ("kwargs", "tokens"),
    [(GenKwargs(), 160), (GenKwargs(max_new_tokens=7, max_length=40), 7), (GenKwargs(max_length=48), 43)],
)
def test_the_length_of_programs_follows_transformers(kwargs: GenKwargs, tokens: int) -> None:
    assert kwargs.new_tokens(instruction_tokens=5) == tokens
    assert kwargs.sampler_settings(5)["max_new_tokens"] == tokens


@pytest.mark.parametrize(
    ("kwargs", "tokens"),
    [
        (GenKwargs(), 0),
        (GenKwargs(min_length=48, max_length=48), 43),
        (GenKwargs(min_length=4), 0),
        (GenKwargs(min_length=9, min_new_tokens=2), 2),
        (GenKwargs(min_length=30, max_new_tokens=8), 8),
    ],
)
def test_the_least_length_of_programs_follows_transformers(kwargs: GenKwargs, tokens: int) -> None:
    settings = GenerationConfig(**kwargs.sampler_settings(5))
    assert settings.min_new_tokens == tokens <= settings.max_new_tokens


def test_stop_strings_may_be_one_text_several_or_null() -> None:
    for said, meant in (("\n\n", ("\n\n",)), (["a", "b"], ("a", "b")), (None, ())):
        kwargs = with_settings(DEFAULT, {"method.gen_kwargs": {"stop_strings": said}}).method.gen_kwargs
        assert GenerationConfig(**kwargs.sampler_settings(5)).stop_strings == meant


def test_sequence_length_is_derived() -> None:
    config = with_settings(DEFAULT, {"method.n_soft_tokens": 20, "method.gen_kwargs": {"max_length": 48}})
    assert config.sequence_length(instruction_tokens=6) == 68


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method.num_rollouts": 2}, "method.num_rollouts: 2 programs a step for 3 terrains"),
        ({"method.num_rollouts": 5}, "rloo needs 2 to compare"),
        ({"method.estimator": "gae", "method.tune_v_head": False}, "method: estimator gae with tune_v_head false"),
        ({"method.gen_kwargs": {"min_length": 9, "max_length": 8}}, "gen_kwargs: min_length is 9, which is above max_"),
        ({"compute.device": "gpu"}, "compute.device: must be auto, cpu, cuda, cuda:1 and so on, or mps, not gpu"),
        (
            {"method.prompt_source": "ten", "warm_start.init_from_elite": True},
            "warm_start.init_from_elite: rows are a table's",
        ),
        (
            {"method.prompt_source": "ten", "method.reparameterize": "residual"},
            "method: reparameterize is for prompt_source",
        ),
        (
            {"method.prompts_per_terrain": 2, "method.reparameterize": "residual"},
            "method: prompts_per_terrain above 1 is for rows or a ten",
        ),
        ({"method.estimator": "es", "method.prompt_source": "ten"}, "method: estimator es moves rows"),
        ({"method.estimator": "es", "method.num_rollouts": 9}, "method.num_rollouts: 9 programs"),
        ({"method.estimator": "es", "rollouts.max_staleness": 1}, "rollouts.max_staleness: estimator es waits"),
        ({"method.estimator": "es", "model.num_layers_unfrozen": 1}, "model.num_layers_unfrozen: estimator es"),
        ({"method.prompt_source": "tem"}, "method.prompt_source: must be 'table' or 'ten', not"),
        ({"method.scale_reward": True}, "method.scale_reward: must be running, terrain, ref or false"),
        ({"method.name": "ilqlconfig"}, "method.name: must be PPOSoftpromptConfig or PPOConfig, not ilqlconfig"),
        ({"optimizer.kwargs.momentum": 0.9}, "optimizer: kwargs.momentum is for sgd; adam takes lr, betas"),
        ({"optimizer.kwargs.betas": [0.9, 1.0]}, "optimizer.kwargs.betas: must both be in [0, 1)"),
        ({"scheduler.kwargs.eta_min": 0.1}, "scheduler: kwargs.eta_min is for cosine_annealing; constant takes none"),
        ({"train.batch_size": 32, "train.minibatch_size": 5}, "train: batch_size 32 is no multiple"),
        ({"train.run_name": "a/b"}, "train.run_name: must be usable as the name of a directory"),
        ({"terrains.names": ["tunnel", "tunnel"]}, "terrains.names: must differ; tunnel is there more than once"),
        ({"terrains.names": []}, "terrains.names: must have at least 1"),
        ({"terrains.sample": {"count": 3, "families": ["bumby"]}}, "terrains.sample: no terrain 'bumby': did you mean"),
        ({"terrains.sample": {"count": 3, "difficulty": [0.1, 2]}}, "terrains.sample.difficulty[1]: must be at most 1"),
        ({"terrains.sample": {"count": 3, "difficulty": [0.9, 0.1]}}, "terrains.sample: difficulty goes from 0 to 1"),
        ({"terrains.sample.split": "test"}, "terrains.sample.split: must be 'train' or 'held_out'"),
        ({"terrains.sample.cuont": 3}, "terrains.sample.cuont: no such setting; did you mean terrains.sample.count?"),
        ({"terrains.sample.count": 300}, "method.num_rollouts: 96 programs a step for 303 terrains"),
        ({"search.space": {"method.n_soft_tokens": []}}, "search.space: method.n_soft_tokens has no values"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changed: dict, words: str) -> None:
    with pytest.raises(UserError) as error:
        with_settings(DEFAULT, changed)
    assert str(error.value).startswith(words) or words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_rollout_a_terrain_is_enough_for_an_estimator_that_compares_nothing() -> None:
    changed = {"method.num_rollouts": 3, "method.estimator": "gae"}
    assert with_settings(DEFAULT, changed).method.num_rollouts == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.model_arch_type", "seq2seq"),
        ("model.peft_config", {"peft_type": "LORA"}),
        ("method.num_value_layers_unfrozen", 1),
    ],
)
def test_what_training_cannot_do_is_read_and_then_refused_by_name(name: str, value: object) -> None:
    config = with_settings(DEFAULT, {name: value})
    with pytest.raises(UserError, match=name):
        check_trainable(config)


def test_the_defaults_can_be_trained() -> None:
    check_trainable(DEFAULT)


def test_sampled_terrains_join_the_named_ones_or_stand_alone() -> None:
    sample = {"families": ["hills", "gap"], "count": 4, "difficulty": 0.5, "split": "held_out", "seed": 2}
    alone = parse_config({"terrains": {"sample": sample}})
    assert alone.terrains.names == () and len(alone.terrains.all_names()) == 4
    assert list(alone.terrains.all_names()) == sample_terrains(["hills", "gap"], 4, 0.5, "held_out", 2)
    joined = parse_config({"terrains": {"names": ["flat"], "sample": sample}})
    assert joined.terrains.all_names() == ("flat", *alone.terrains.all_names())
    assert parse_config({}).terrains.all_names() == ("left_wall", "right_wall", "tunnel")
    assert with_settings(alone, {"train.seed": 3}).terrains == alone.terrains, "what was left out stays left out"
    assert len(parse_config({"terrains": {"sample": {"count": 16}}}).terrains.all_names()) == 16
