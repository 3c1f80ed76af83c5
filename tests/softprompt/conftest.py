"""Tiny random language models, whose weights are large enough that a wrong position or mask shows in the logits."""

from __future__ import annotations

import os

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from softprompt.models.frozen import FrozenLM
from softprompt.pretrain.tokenizer import train_tokenizer

VOCAB = 264
THREADS = int(os.environ.get("TERRAPROMPT_TEST_THREADS", "1"))
"""Tiny matrices are slower on several threads than on one."""

GENERAL = ("gpt2", "gpt_neox", "opt")
"""Families that are decoded with transformers' own forward."""


@pytest.fixture(autouse=True)
def few_threads():
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["import math\ndef f():\n    return 12\n"] * 3, VOCAB, "import math\n")


def tiny_model(family: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A random model of two layers; every family is built from the same seed."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    llama = special | {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.25,
    }
    torch.manual_seed(0)
    match family:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**llama, num_key_value_heads=4, tie_word_embeddings=True))
        case "llama-grouped":
            biases = {"attention_bias": True, "mlp_bias": True}
            model = LlamaForCausalLM(LlamaConfig(**llama, num_key_value_heads=2, head_dim=16, **biases))
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    torch.nn.init.normal_(parameter, std=0.25)
            return model
        case "mistral":
            return MistralForCausalLM(MistralConfig(**llama, num_key_value_heads=2, sliding_window=None))
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**llama, num_key_value_heads=2))
        case "gpt2":
            config = GPT2Config(
                **special, vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.25
            )
            return GPT2LMHeadModel(config)
        case "gpt_neox":
            return GPTNeoXForCausalLM(GPTNeoXConfig(**llama))
        case "opt":
            # Its embedding is narrower than its blocks, as in opt-350m.
            sizes = {"ffn_dim": 48, "word_embed_proj_dim": 24, "do_layer_norm_before": True, "init_std": 0.25}
            return OPTForCausalLM(OPTConfig(**llama, **sizes))
    raise ValueError(family)


@pytest.fixture(scope="session")
def make_lm(tokenizer):
    """``make_lm(family)`` builds each tiny model once."""
    built: dict[str, FrozenLM] = {}

    def make(family: str) -> FrozenLM:
        if family not in built:
            built[family] = FrozenLM(tiny_model(family, tokenizer), tokenizer)
        return built[family]

    return make


@pytest.fixture
def llama(make_lm) -> FrozenLM:
    return make_lm("llama")


@pytest.fixture
def gpt2(make_lm) -> FrozenLM:
    return make_lm("gpt2")


@pytest.fixture
def prompts(llama) -> torch.Tensor:
    """Three different prompts of four rows."""
    rows = torch.randn(3, 4, llama.d_model, generator=torch.Generator().manual_seed(1))
    return rows * llama.embedding.norm(dim=-1).mean() / llama.d_model**0.5
