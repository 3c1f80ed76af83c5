"""Weights of 4 or 8 bits, by bitsandbytes: a fraction of the memory, on GPUs and CPUs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

Quantization = Literal["4bit", "8bit"]


def quantized_by(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """Returns how ``from_pretrained`` is told to quantise a model's weights while it reads them.

    Four bits are those of NF4 (Dettmers et al. 2023, arXiv 2305.14314, section 3), eight those of LLM.int8 (Dettmers et
    al. 2022, arXiv 2208.07339). The embedding and the head stay as they are.

    Args:
        quantization: how many bits.
        dtype: in which the layers compute.

    Raises:
        ValueError: bitsandbytes is not installed; the message is one line.
    """
    if not is_bitsandbytes_available():
        raise ValueError(f"weights of {quantization} need bitsandbytes: pip install bitsandbytes")
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether a model's weights are codes of few bits, whoever made them so."""
    return bool(getattr(model, "is_quantized", False))


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keeps bitsandbytes from packing codes anew at the first pass without gradients, as it does on CPUs with AVX-512.

    What is packed so has no derivative, which nobody is told: later gradients would be zero.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 (torch types every attribute as a module)


def loading_arguments(quantization: Quantization | None, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Returns what ``from_pretrained`` is given besides the path; see :func:`quantized_by`.

    Args:
        quantization: how many bits; None for weights as they are.
        dtype: of the weights, or in which layers of few bits compute.
        device: where weights of few bits are made.
    """
    if quantization is None:
        return {"dtype": dtype}
    return {"dtype": dtype, "quantization_config": quantized_by(quantization, dtype), "device_map": {"": device}}
