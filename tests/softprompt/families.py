"""Families of language models, each as a random model of two small layers, built from a configuration of transformers'.

Every family is there with what sets it apart: windows smaller than the texts, logits that are capped, embeddings that
are scaled, experts, tied and untied heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB = 264
SMALL = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
"""What most families call their sizes."""

GROUPED = {**SMALL, "num_key_value_heads": 2}
GPT = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
EXPERTS = {**GROUPED, "num_experts_per_tok": 2, "num_local_experts": 4}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}


KERNELS, CACHE = "compiled kernels", "transformers, from a cache"
ANEW = "transformers, reading all again for each token"


@dataclass(frozen=True)
class Family:
    """One kind of language model.

    Attributes:
        name: as documents call it.
        kind: transformers' model type.
        settings: of its configuration.
        sets_apart: what in it a simpler model does not have, in a few words.
        sampled: how the sampler decodes it on a CPU in float32, as `way_of_decoding` says it.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    sets_apart: str
    sampled: str = CACHE


YARN = {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "original_max_position_embeddings": 4}

FAMILIES = (
    Family("GPT-2", "gpt2", GPT, "learnt positions, a tied head"),
    Family(
        "GPT-Neo",
        "gpt_neo",
        {**SMALL, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 4},
        "a window in every second layer",
    ),
    Family("GPT-NeoX, Pythia", "gpt_neox", SMALL, "attention beside the feed-forward layer, an untied head"),
    Family("GPT-J", "gptj", {**GPT, "rotary_dim": 4}, "a head with a bias"),
    Family("OPT", "opt", {**SMALL, "ffn_dim": 48, "word_embed_proj_dim": 24}, "embeddings narrower than the layers"),
    Family("BLOOM", "bloom", {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "ALiBi"),
    Family(
        "MPT", "mpt", {"vocab_size": VOCAB, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}, "ALiBi"
    ),
    Family("Falcon", "falcon", SMALL, "one key for all heads"),
    Family("Llama", "llama", GROUPED, "keys for groups of heads", KERNELS),
    Family("SmolLM2", "llama", {**GROUPED, "tie_word_embeddings": True}, "a tied head", KERNELS),
    Family("Mistral", "mistral", {**GROUPED, "sliding_window": None}, "", KERNELS),
    Family("Mistral 7B of 2023", "mistral", {**GROUPED, "sliding_window": 8}, "a window in every layer"),
    Family("Mixtral", "mixtral", {**EXPERTS, "sliding_window": None}, "experts"),
    Family("Qwen2, Qwen2.5", "qwen2", GROUPED, "biases of keys", KERNELS),
    Family(
        "Qwen2 with a window",
        "qwen2",
        {**GROUPED, "use_sliding_window": True, **ALTERNATING},
        "a window in some layers",
    ),
    Family("Qwen3", "qwen3", {**GROUPED, "head_dim": 16}, "norms of keys, heads wider than the model"),
    Family(
        "Qwen3-MoE",
        "qwen3_moe",
        {**GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        "experts",
    ),
    Family("Gemma", "gemma", {**GROUPED, "head_dim": 8}, "scaled embeddings"),
    Family(
        "Gemma 2",
        "gemma2",
        {**GROUPED, "head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 2.0},
        "capped logits, a window in every second layer",
    ),
    Family("Gemma 3", "gemma3_text", {**GROUPED, "head_dim": 8, **ALTERNATING}, "windows with positions of their own"),
    Family("Phi-1.5, Phi-2", "phi", SMALL, "positions in a part of each head, a head with a bias"),
    Family("Phi-3, Phi-4", "phi3", {**GROUPED, "sliding_window": 8}, "a window, fused projections"),
    Family("StableLM", "stablelm", GROUPED, "positions in a part of each head"),
    Family("SmolLM3", "smollm3", {**GROUPED, "no_rope_layers": [1, 0]}, "layers without positions"),
    Family("OLMo 2", "olmo2", GROUPED, "norms behind the layers"),
    Family(
        "Granite",
        "granite",
        {**GROUPED, "logits_scaling": 2.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
        "scaled logits, embeddings and layers",
    ),
    Family("Cohere, Command R", "cohere", {**GROUPED, "logit_scale": 0.5}, "scaled logits"),
    Family(
        "gpt-oss",
        "gpt_oss",
        {**EXPERTS, "head_dim": 8, **ALTERNATING, "rope_parameters": YARN},
        "experts, attention sinks, a window in every second layer",
    ),
    Family("Mamba", "mamba", {**SMALL, "state_size": 4}, "a state in the place of keys", ANEW),
    Family("RWKV", "rwkv", {**SMALL, "attention_hidden_size": 32}, "a state in the place of keys", ANEW),
)


def table() -> list[str]:
    """The families, as documents list them: lines of Markdown."""
    rows = [(each.name, f"`{each.kind}`", each.sets_apart or "–", each.sampled) for each in FAMILIES]
    head = [("family", "type in config.json", "with", "sampled on a CPU in float32"), ("---",) * 4]
    return [f"| {' | '.join(row)} |" for row in (*head, *rows)]


def build(family: Family, **special: Any) -> PreTrainedModel:
    """A random model whose weights are large enough that what it has read shows in its logits.

    Args:
        family: one of `FAMILIES`.
        **special: more of its configuration, such as the ids of special tokens.
    """
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | special
    config = AutoConfig.for_model(family.kind, **special, **family.settings)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25, generator=generator)
    return model
