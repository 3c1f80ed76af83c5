"""Language models that are talked to: workers and what is served write behind the same conversation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from distributed.config.load import parse_config
from distributed.errors import UserError
from distributed.results.run_folder import CONFIG, PROMPTS, open_run
from distributed.rollout.instructions import instruction_ids
from distributed.rollout.types import RolloutRequest
from distributed.rollout.worker import RolloutWorker
from distributed.training.setup import about_lm, load_lm
from distributed.training.trlx_settings import trlx_settings
from softprompt.models.chat import Chat
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import program_texts
from softprompt.pretrain.tokenizer import train_tokenizer
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.distributed.finished_runs import BUMPY, INSTRUCTION, NEW_TOKENS, export, make_run, programs, save_base
from tests.distributed.tiny_runs import config, loop_of, worker_arguments
from tests.softprompt.conftest import VOCAB
from tests.softprompt.talking import talking_lm

SYSTEM = "return 12"


@pytest.fixture(scope="module")
def lm() -> FrozenLM:
    tokenizer = train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, VOCAB, "import math\n")
    return talking_lm(tokenizer, Chat(SYSTEM))


@pytest.fixture(scope="module")
def base(lm, tmp_path_factory) -> Path:
    return save_base(lm, tmp_path_factory.mktemp("talking"))


def test_the_settings_say_that_a_model_is_talked_to(lm, base):
    said = {"model__model_path": str(base), "chat__template": True, "chat__system_prompt": SYSTEM}
    loaded = load_lm(config(**said))
    assert instruction_ids(loaded, INSTRUCTION) == instruction_ids(lm, INSTRUCTION) and loaded.eos_ids == lm.eos_ids
    plain = load_lm(config(model__model_path=str(base)))
    assert plain.chat is None and len(instruction_ids(plain, INSTRUCTION)) < len(instruction_ids(lm, INSTRUCTION))


def test_a_model_that_cannot_be_talked_to_is_one_line(tiny_lm):
    with pytest.raises(UserError, match="^chat.template: the language model's tokenizer has no chat template") as error:
        load_lm(config(model__model_path=str(tiny_lm[1]), chat__template=True))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="set chat.template to true, or leave it out"):
        parse_config({"chat": {"system_prompt": "be brief"}})


def test_a_worker_writes_behind_the_conversation_and_scores_instruction_and_answer(lm):
    small, shared = worker_arguments(config(), lm)
    worker = RolloutWorker(**small, **shared)
    rollouts = worker.generate(RolloutRequest(0, 3, ((0, 4),)), loop_of(config(), lm).learner.prompt_state())
    assert all(program.startswith(INSTRUCTION) and "<|" not in program for program in rollouts.programs)
    before = instruction_ids(worker.lm, INSTRUCTION)
    assert before == instruction_ids(lm, INSTRUCTION) and SYSTEM in lm.tokenizer.decode(before)
    rows = [ids[mask].tolist() for ids, mask in zip(rollouts.ids, rollouts.mask, strict=True)]
    assert rollouts.programs == program_texts(lm.tokenizer, [INSTRUCTION] * 4, [before] * 4, rows)


def test_an_exported_model_is_talked_to_as_in_the_run(lm, base, store, tmp_path):
    torch.set_num_threads(1)
    run = make_run(tmp_path / "run", base, lm)
    settings = json.loads((run / CONFIG).read_text())
    settings["chat"] = {"template": True, "system_prompt": SYSTEM}
    (run / CONFIG).write_text(json.dumps(settings))
    assert open_run(run).load_base().chat == Chat(SYSTEM)
    export(run)
    prompt = torch.from_numpy(load_file(run / PROMPTS)[BUMPY])[None]
    before = instruction_ids(lm, INSTRUCTION)
    samples = Sampler(lm, GenerationConfig(max_new_tokens=NEW_TOKENS)).sample(prompt, [SampleRequest(0, before, 3, 7)])
    rows = [ids[mask].tolist() for ids, mask in zip(samples.ids, samples.mask, strict=True)]
    assert programs(BUMPY, seed=7) == program_texts(lm.tokenizer, [INSTRUCTION] * 3, [before] * 3, rows)


def test_trlx_ends_programs_where_turns_end(lm, tmp_path):
    run = config(method__estimator="gae")
    found = trlx_settings(run, 5, tmp_path, ends=lm.eos_ids)
    assert found["method"]["gen_kwargs"]["eos_token_id"] == list(lm.eos_ids)
    named = config(method__gen_kwargs__eos_token_id=7)
    assert trlx_settings(named, 5, tmp_path, ends=lm.eos_ids)["method"]["gen_kwargs"]["eos_token_id"] == [7]


def test_a_run_says_how_it_samples_and_which_template_it_leaves_out(lm, base):
    run = config(model__model_path=str(base))
    said = about_lm(run, load_lm(run))
    assert said.startswith(
        f"language model {base}: llama, 0.0 million parameters in float32, sampled on cpu by compiled "
    )
    assert said.endswith("kernels; its chat template is not used (chat.template)")
    talking = config(model__model_path=str(base), chat__template=True, compute__dtype="bfloat16")
    said = about_lm(talking, load_lm(talking))
    assert said.endswith("in bfloat16, sampled on cpu by torch's operations, from a cache")
