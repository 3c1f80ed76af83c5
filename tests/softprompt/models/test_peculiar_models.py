"""What models and tokenizers may lack, add or store in other numbers: none of it changes what is read or learnt."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2LMHeadModel

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids, program_texts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.softprompt.conftest import VOCAB
from tests.softprompt.families import FAMILIES, build

DRAWING = GenerationConfig(max_new_tokens=10)
UNEQUAL = [SampleRequest(0, (5, 9, 30), 3, 1), SampleRequest(1, (7,), 3, 2)]


def prompts_for(lm: FrozenLM) -> torch.Tensor:
    scale = float(lm.embedding.float().norm(dim=-1).mean()) / lm.d_model**0.5
    return torch.randn(2, 8, lm.d_model, generator=torch.Generator().manual_seed(1)) * scale


def saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma"])
def test_heads_may_be_tied_or_not(kind, tied, tokenizer, tmp_path):
    family = next(each for each in FAMILIES if each.kind == kind)
    lm = FrozenLM(build(family, tie_word_embeddings=tied), tokenizer)
    assert (lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight) == tied
    loaded = FrozenLM.load(saved(lm.model, tokenizer, tmp_path))
    for copied in (loaded, FrozenLM.from_weights(**lm.export())):
        assert copied.hash == lm.hash
        drawn = [Sampler(each, DRAWING).sample(prompts_for(lm), UNEQUAL).ids for each in (lm, copied)]
        assert torch.equal(*drawn)


def test_a_model_without_any_special_token_writes_to_the_end_and_learns(tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = bare.bos_token = bare.eos_token = None
    config = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.25)
    config.pad_token_id = config.bos_token_id = config.eos_token_id = None
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    model.generation_config.eos_token_id = None
    lm = FrozenLM(model, bare)
    assert (lm.eos_ids, lm.pad_id) == ((), 0)
    prompts = prompts_for(lm).requires_grad_()
    samples = Sampler(lm, DRAWING).sample(prompts, UNEQUAL)
    assert samples.mask.all() and samples.ids.shape == (6, 10)
    logprobs, _ = evaluate(lm, prompts, samples.instructions, samples.ids, samples.mask, prompt_of=samples.terrain)
    logprobs.sum().backward()
    assert prompts.grad is not None and prompts.grad.any()
    rebuilt = FrozenLM.from_weights(**lm.export())
    assert (rebuilt.eos_ids, rebuilt.pad_id) == ((), 0)


@pytest.mark.parametrize("adds", ["bos", "eos", "both", "nothing"])
def test_a_start_token_that_a_tokenizer_adds_is_read_and_an_end_token_is_not(llama, adds):
    tokenizer = copy.deepcopy(llama.tokenizer)
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    pattern = {"bos": f"{bos} $A", "eos": f"$A {eos}", "both": f"{bos} $A {eos}", "nothing": "$A"}[adds]
    ids = [(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=pattern, special_tokens=ids)
    lm = FrozenLM(llama.model, tokenizer)
    plain = tuple(tokenizer("def 12", add_special_tokens=False).input_ids)
    start = (tokenizer.bos_token_id,) if adds in ("bos", "both") else ()
    assert instruction_ids(lm, "def 12") == start + plain
    rows = [[*tokenizer("34", add_special_tokens=False).input_ids, lm.eos_id]]
    assert program_texts(tokenizer, ["def 12"], [instruction_ids(lm, "def 12")], rows) == ["def 1234"]


def test_the_side_that_a_tokenizer_pads_on_makes_no_difference(gpt2):
    drawn = []
    for side in ("left", "right"):
        tokenizer = copy.deepcopy(gpt2.tokenizer)
        tokenizer.padding_side = side
        lm = FrozenLM(gpt2.model, tokenizer)
        requests = [SampleRequest(k, instruction_ids(lm, text), 3, k) for k, text in enumerate(("def f():\n", "12"))]
        samples = Sampler(lm, DRAWING).sample(prompts_for(lm), requests)
        drawn.append((samples.ids, samples.logprobs))
    assert all(torch.equal(left, right) for left, right in zip(*drawn, strict=True))


def test_rows_beyond_the_tokenizers_may_be_drawn_and_mean_nothing(tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCAB + 60, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.25)
    lm = FrozenLM(GPT2LMHeadModel(config), tokenizer)
    samples = Sampler(lm, GenerationConfig(max_new_tokens=40)).sample(prompts_for(lm), UNEQUAL)
    assert (samples.ids[samples.mask] >= VOCAB).any() and lm.vocab_size == VOCAB + 60 > len(tokenizer)
    rows = [ids[mask].tolist() for ids, mask in zip(samples.ids, samples.mask, strict=True)]
    [first, *_] = program_texts(tokenizer, ["12"] * 6, [(5, 9)] * 6, rows)
    within = program_texts(tokenizer, ["12"], [(5, 9)], [[token for token in rows[0] if token < VOCAB]])
    assert [first] == within


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2", "gpt_oss", "mamba"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_models_of_half_the_bits_are_sampled_and_learnt_in_float32(kind, dtype, tokenizer, tmp_path):
    family = next(each for each in FAMILIES if each.kind == kind)
    half = FrozenLM.load(saved(build(family), tokenizer, tmp_path), dtype)
    # Some families ask for float32 in a few places.
    assert half.embedding.dtype == half.model.get_output_embeddings().weight.dtype == getattr(torch, dtype)
    prompts = prompts_for(half).requires_grad_()
    samples = Sampler(half, DRAWING).sample(prompts, UNEQUAL)
    logprobs, hidden = evaluate(
        half, prompts, samples.instructions, samples.ids, samples.mask, True, prompt_of=samples.terrain
    )
    assert samples.logprobs.dtype == logprobs.dtype == prompts.dtype == torch.float32
    assert hidden is not None and torch.isfinite(hidden).all()
    # Both are of the same weights, and read in other orders: a forgotten prompt would change them by about 1.
    assert (logprobs - samples.own_logprobs)[samples.mask].abs().max() < 0.5
    (-logprobs.sum()).backward()
    assert prompts.grad is not None and prompts.grad.dtype == torch.float32 and prompts.grad.any()
    assert FrozenLM.from_weights(**half.export()).hash == half.hash


def test_a_model_that_is_stored_in_half_the_bits_computes_in_float32_unless_told_otherwise(llama, tmp_path):
    stored = copy.deepcopy(llama.model).bfloat16()
    lm = FrozenLM.load(saved(stored, llama.tokenizer, tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert {p.dtype for p in lm.model.parameters()} == {torch.float32}
    for name, parameter in lm.model.named_parameters():
        assert torch.equal(parameter.bfloat16(), dict(stored.named_parameters())[name])
    rebuilt = FrozenLM.from_weights(**lm.export())
    assert {p.dtype for p in rebuilt.model.parameters()} == {torch.float32} and rebuilt.hash == lm.hash
