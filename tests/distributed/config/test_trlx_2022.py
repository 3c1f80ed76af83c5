"""Settings that trlx's files had in 2022, one by one: what each is today, and that it is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from distributed.config.describe import settings
from distributed.config.load import parse_config
from distributed.config.trlx_2022 import DROPPED, MOVED, translate
from distributed.errors import UserError

VALUES: dict[str, Any] = {
    "optimizer.kwargs.betas": [0.5, 0.75],
    "tokenizer.tokenizer_path": "some/tokenizer",
    "method.n_soft_tokens": 7,
    "method.initialize_from_vocab": False,
    "compute.dtype": "bfloat16",
    "method.kl_in": "loss",
}


def value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize(("old", "new"), MOVED.items(), ids=[".".join(old) for old in MOVED])
def test_each_old_name_sets_the_new_one_and_is_said(
    old: tuple[str, str], new: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = VALUES.get(new, 0.125)
    caplog.set_level(logging.WARNING)
    config = parse_config({old[0]: {old[1]: given}})
    assert value(config, new) == (tuple(given) if isinstance(given, list) else given)
    assert any(f"{'.'.join(old)} is {new}" in message for message in caplog.messages)
    with pytest.raises(UserError, match="say the same in two formats"):
        both: dict[str, Any] = {old[0]: {old[1]: given}}
        section, _, key = new.partition(".")
        inner = {key.split(".")[0]: {key.split(".")[1]: given}} if "." in key else {key: given}
        both[section] = both.get(section, {}) | inner
        translate(both)


def test_what_has_no_effect_is_dropped_and_said_with_what_says_it_now() -> None:
    names = {each.name for each in settings(type(parse_config({})))}
    for section, key in DROPPED:
        sections, [note] = translate({section: {key: 3}})
        assert sections == {section: {}} and note.name == f"{section}.{key}" and "has no effect" in str(note)
        assert note.name not in names


@pytest.mark.parametrize("name", ["accumulate_steps", "gradient_accumulation_steps"])
def test_accumulated_steps_are_one_batch_of_minibatches(name: str) -> None:
    train = parse_config({"train": {"batch_size": 8, name: 4}}).train
    assert (train.batch_size, train.minibatch_size) == (32, 8)
    train = parse_config({"train": {"batch_size": 8, name: 1}}).train
    assert (train.batch_size, train.minibatch_size) == (8, None)


def test_sampling_for_evaluation_and_for_rollouts_change_their_names() -> None:
    method = {"gen_kwargs": {"max_new_tokens": 9}, "gen_inference_kwargs": {"max_new_tokens": 5}}
    read = parse_config({"method": method}).method
    assert (read.gen_kwargs.max_new_tokens, read.rollout_kwargs.max_new_tokens) == (5, 9)


def test_words_of_trlx_for_the_same_are_read_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    config = parse_config(
        {
            "model": {"model_arch_type": "encoder_decoder"},
            "optimizer": {"name": "adamw_8bit_bnb", "kwargs": {"eps": "None"}},
            "method": {
                "ref_std": "None",
                "gen_kwargs": {"top_k": None, "pad_token_id": 3, "repetition_penalty": 1.0, "max_new_tokens": 5},
            },
        }
    )
    assert (config.model.model_arch_type, config.optimizer.name) == ("seq2seq", "adamw")
    assert config.method.ref_std is None and config.optimizer.kwargs.eps is None
    assert (config.method.gen_kwargs.top_k, config.method.gen_kwargs.max_new_tokens) == (0, 5)
    assert caplog.messages == [
        "model.model_arch_type: encoder_decoder is seq2seq",
        "optimizer.name: adamw_8bit_bnb is adamw; the moments of soft prompts are small",
        "method.gen_kwargs.pad_token_id has no effect (the sampler knows it)",
        "method.gen_kwargs.repetition_penalty has no effect at 1.0",
        "method.ref_std: None is read as null",
        "optimizer.kwargs.eps: None is read as null",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"gen_kwargs": {"repetition_penalty": 1.2}}, "method.gen_kwargs.repetition_penalty: is not here: programs"),
        ({"gen_kwargs": {"beta": 4}}, "method.gen_kwargs.beta: is a setting of trlx's ILQL"),
        ({"gen_experience_kwargs": {"use_best_of_n": True}}, "use_best_of_n: is not here: the best of many"),
        ({"two_qs": True}, "method.two_qs: is a setting of trlx's ILQL"),
        ({"cliprange_value": float("inf")}, "must be finite, not Infinity; 1e9 does the same"),
        ({"ref_mean": "none"}, 'method.ref_mean: must be a number, not "none"'),
    ],
)
def test_what_is_not_here_is_said_with_the_reason(data: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config({"method": data})
    assert words in str(error.value)
