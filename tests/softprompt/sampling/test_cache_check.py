"""Models that keep no keys and values are found out at load, and sampled by reading everything again."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders import TransformersDecoder, UncachedDecoder, make_decoder
from softprompt.sampling.decoders.cache_check import can_use_cache
from tests.softprompt.conftest import GENERAL, VOCAB

COMMON = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 4}
WITHOUT = {
    "rwkv": {**COMMON, "attention_hidden_size": 32, "context_length": 128},
    "openai-gpt": GPT,
    "mamba": {**COMMON, "state_size": 4},
    "jamba": COMMON
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "expert_layer_period": 2}
    | {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "lfm2": {**COMMON, "full_attn_idxs": [1]},
    "qwen3_next": COMMON
    | {"head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8}
    | {"linear_value_head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    | {"shared_expert_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]},
    "falcon_h1": COMMON | MAMBA | {"mamba_d_ssm": 64, "mamba_n_groups": 1, "head_dim": 8},
    "granitemoehybrid": COMMON
    | MAMBA
    | {"layer_types": ["mamba", "attention"], "num_local_experts": 2, "num_experts_per_tok": 1}
    | {"shared_intermediate_size": 32},
    "recurrent_gemma": {**COMMON, "lru_width": 32, "head_dim": 8, "block_types": ["recurrent", "attention"]},
}
WITH = {
    "gemma2": {**COMMON, "head_dim": 8, "sliding_window": 4},
    "mistral": {**COMMON, "sliding_window": 4},
    "bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4},
}


def build(kind: str):
    """A random model whose weights are large enough that what it has read shows in its logits."""
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(kind, **special, **(WITHOUT | WITH | {"xlnet": XLNET})[kind])
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25, generator=generator)
    return model


XLNET = {"vocab_size": VOCAB, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}


@pytest.mark.parametrize("kind", WITH)
def test_models_with_keys_and_values_are_decoded_from_them(kind):
    assert isinstance(make_decoder(build(kind)), TransformersDecoder)


@pytest.mark.parametrize("family", GENERAL)
def test_half_a_types_rounding_is_no_reason_to_read_again(make_lm, family):
    half = FrozenLM.from_weights(**make_lm(family).export()).model.to(torch.bfloat16)
    assert can_use_cache(half)


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_a_model_without_a_cache_draws_it_drew_with_the_likelihood_that_the_learner_sees(kind, tokenizer):
    lm = FrozenLM(build(kind), tokenizer)
    assert not can_use_cache(lm.model) and isinstance(make_decoder(lm.model), UncachedDecoder)
    hashed = lm.hash
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randn(2, 8, lm.d_model, generator=generator).requires_grad_()
    # Beginnings of two lengths, the shorter of which a padded batch would spoil.
    requests = [SampleRequest(0, (5, 9, 30), 3, 1), SampleRequest(1, (7,), 2, 2)]
    samples = Sampler(lm, GenerationConfig(max_new_tokens=6)).sample(prompts, requests)
    logprobs, _ = evaluate(lm, prompts, samples.instructions, samples.ids, samples.mask, prompt_of=samples.terrain)
    # float32 against float32 of another order: what a forgotten prompt changes is about 1.
    assert (logprobs - samples.own_logprobs)[samples.mask].abs().max() < 0.01
    logprobs.sum().backward()
    assert (prompts.grad.abs().sum((1, 2)) > 0).all() and lm.hash == hashed


def test_a_model_that_looks_ahead_is_refused_in_one_line():
    with pytest.raises(ValueError, match="a xlnet model looks ahead") as error:
        can_use_cache(build("xlnet"))
    assert "\n" not in str(error.value)


def test_a_model_is_looked_at_once_and_global_chance_is_left_alone(make_lm, monkeypatch):
    model, before = make_lm("gpt2").model, torch.get_rng_state()
    assert can_use_cache(model)
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(model, "forward", None)
    assert can_use_cache(model)
