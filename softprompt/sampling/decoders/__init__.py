"""Decoding with a KV cache: prefill once per prompt, then one token a step, for rows that finish at different times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from softprompt.models.llama_weights import is_llama_like
from softprompt.sampling.decoders.base import Decoder
from softprompt.sampling.decoders.cache_check import can_use_cache
from softprompt.sampling.decoders.llama import LlamaDecoder
from softprompt.sampling.decoders.llama_cpu_small import cpu_decoder
from softprompt.sampling.decoders.llama_cuda_graph import LlamaGraphDecoder
from softprompt.sampling.decoders.transformers import TransformersDecoder, UncachedDecoder

__all__ = ["Decoder", "TransformersDecoder", "UncachedDecoder", "can_use_cache", "make_decoder", "way_of_decoding"]

SMALL_MODEL_BYTES = 2**27
"""Up to this size graphs pay on a GPU in float32 too: behind a mask, attention in float32 has slow kernels only, which
cost a larger model more than launching its kernels one by one (benchmarks/results/gpu.json)."""


def make_decoder(model: PreTrainedModel, fast: bool = True) -> Decoder:
    """Returns the fastest decoder that computes what this model computes.

    Args:
        model: any causal language model of transformers.
        fast: False asks for transformers' own forward even where there is a faster one.
    """
    return _fitting(model, model.device.type if fast else "")(model)


def way_of_decoding(model: PreTrainedModel, device: str | None = None) -> str:
    """Returns in a few words how :func:`make_decoder` decodes a model.

    Args:
        model: any causal language model of transformers.
        device: type of the device it is to be on; None for where it is.
    """
    return WAYS[_fitting(model, device or model.device.type)]


def _fitting(model: PreTrainedModel, device: str) -> Callable[[PreTrainedModel], Decoder]:
    """What makes the fastest decoder of a model on such a device; of no device, transformers' own."""
    if not (device and is_llama_like(model)):
        return TransformersDecoder if can_use_cache(model) else UncachedDecoder
    exact = model.dtype == torch.float32
    if device == "cuda" and not (exact and sum(p.nbytes for p in model.parameters()) > SMALL_MODEL_BYTES):
        return LlamaGraphDecoder
    return cpu_decoder if exact and device == "cpu" else LlamaDecoder


WAYS: dict[Callable[[PreTrainedModel], Decoder], str] = {
    cpu_decoder: "compiled kernels",
    LlamaGraphDecoder: "CUDA graphs",
    LlamaDecoder: "torch's operations, from a cache",
    TransformersDecoder: "transformers, from a cache",
    UncachedDecoder: "transformers, reading all again for each token",
}
"""What makes each decoder, and how it decodes, in words."""
