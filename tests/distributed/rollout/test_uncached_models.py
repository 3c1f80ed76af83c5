"""Language models without keys and values to go on from, in the commands that sample from them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from distributed.errors import UserError
from distributed.results.run_folder import PROMPTS
from distributed.rollout.instructions import instruction_ids
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from distributed.training.setup import load_lm
from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.tokenizer import train_tokenizer
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.distributed.finished_runs import BUMPY, INSTRUCTION, NEW_TOKENS, export, make_run, programs, save_base
from tests.distributed.tiny_runs import config, finish, loop_of, worker_arguments
from tests.softprompt.conftest import VOCAB
from tests.softprompt.sampling.test_cache_check import build

pytestmark = pytest.mark.timeout(120)


def lm_of(kind: str) -> FrozenLM:
    tokenizer = train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, VOCAB, "import math\n")
    return FrozenLM(build(kind), tokenizer)


@pytest.mark.parametrize(("kind", "heard"), [("rwkv", True), ("openai-gpt", True), ("bloom", False)])
def test_it_is_said_when_a_model_is_loaded_that_samples_slowly(kind, heard, tmp_path, caplog):
    base = save_base(lm_of(kind), tmp_path / "base")
    with caplog.at_level(logging.WARNING, logger="terraprompt"):
        load_lm(config(model__model_path=str(base)))
    assert [f"{kind} models cannot go on" in message for message in caplog.messages] == [True] * heard


def test_a_model_that_cannot_be_read_so_is_refused_in_one_line(tmp_path):
    base = save_base(lm_of("xlnet"), tmp_path / "base")
    with pytest.raises(UserError, match="model.model_path: a xlnet model looks ahead") as error:
        load_lm(config(model__model_path=str(base)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["rwkv", "mamba"])
def test_a_run_with_such_a_model_learns_from_what_it_drew(kind):
    lm = lm_of(kind)
    loop = finish(loop_of(config(train__total_steps=1, method__replay_weight=0), lm))
    assert loop.history[-1]["ratio"] == pytest.approx(1, abs=0.2) and np.isfinite(loop.prompts).all()


def test_workers_do_not_write_to_weights_that_others_read():
    run, lm = config(), lm_of("rwkv")
    lm.model.config.rescale_every = 1  # as it is for every sixth layer of a model that is loaded
    small, shared = worker_arguments(run, lm)
    shared["model"]["weights"] = {name: array.copy() for name, array in shared["model"]["weights"].items()}
    before = {name: array.copy() for name, array in shared["model"]["weights"].items()}
    worker = RolloutWorker(**small, **shared)
    worker.generate(RolloutRequest(0, 3, ((0, 2),)), loop_of(run, lm).learner.prompt_state())
    assert all(np.array_equal(before[name], array) for name, array in shared["model"]["weights"].items())


@pytest.mark.parametrize("kind", ["openai-gpt", "mamba"])
def test_an_exported_model_writes_what_the_sampler_writes(kind, store, tmp_path):
    torch.set_num_threads(1)
    lm = lm_of(kind)
    run = make_run(tmp_path / "run", save_base(lm, tmp_path / "base"), lm)
    export(run)
    prompt = torch.from_numpy(load_file(run / PROMPTS)[BUMPY])[None]
    instruction = instruction_ids(lm, INSTRUCTION)
    sampler = Sampler(lm, GenerationConfig(max_new_tokens=NEW_TOKENS))
    samples = sampler.sample(prompt, [SampleRequest(0, instruction, 3, 7)])
    start = lm.tokenizer.decode(instruction, skip_special_tokens=True)
    whole = [
        lm.tokenizer.decode([*instruction, *ids[mask].tolist()], skip_special_tokens=True)
        for ids, mask in zip(samples.ids, samples.mask, strict=True)
    ]
    assert programs(BUMPY, seed=7) == [INSTRUCTION + text[len(start) :] for text in whole]
