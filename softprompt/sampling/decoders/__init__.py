"""Decoding with a KV cache: prefill once per prompt, then one token a step, for rows that finish at different times."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from softprompt.models.llama_weights import is_llama_like
from softprompt.sampling.decoders.base import Decoder
from softprompt.sampling.decoders.cache_check import can_use_cache
from softprompt.sampling.decoders.llama import LlamaDecoder
from softprompt.sampling.decoders.llama_cpu_small import cpu_decoder
from softprompt.sampling.decoders.llama_cuda_graph import LlamaGraphDecoder
from softprompt.sampling.decoders.transformers import TransformersDecoder, UncachedDecoder

__all__ = ["Decoder", "TransformersDecoder", "UncachedDecoder", "can_use_cache", "make_decoder"]

SMALL_MODEL_BYTES = 2**27
"""Up to this size graphs pay on a GPU in float32 too: behind a mask, attention in float32 has slow kernels only, which
cost a larger model more than launching its kernels one by one (benchmarks/results/gpu.json)."""


def make_decoder(model: PreTrainedModel, fast: bool = True) -> Decoder:
    """Returns the fastest decoder that computes what this model computes.

    Args:
        model: any causal language model of transformers.
        fast: False asks for transformers' own forward even where there is a faster one.
    """
    if not (fast and is_llama_like(model)):
        return TransformersDecoder(model) if can_use_cache(model) else UncachedDecoder(model)
    exact = model.dtype == torch.float32
    if model.device.type == "cuda" and not (exact and sum(p.nbytes for p in model.parameters()) > SMALL_MODEL_BYTES):
        return LlamaGraphDecoder(model)
    return cpu_decoder(model) if exact and model.device.type == "cpu" else LlamaDecoder(model)
