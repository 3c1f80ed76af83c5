"""The weights of models that compute what Llama computes, as decoders and readers of our own multiply with them.

They are of Touvron et al. 2023 (arXiv 2302.13971, section 2.2): pre-normalisation with RMSNorm, rotary positions, gated
feed-forward layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

FAMILIES = ("llama", "mistral", "qwen2")


def is_llama_like(model: PreTrainedModel) -> bool:
    """Whether a model computes what Llama computes, so that what is here reads its weights rightly."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and type(model).__name__.endswith("ForCausalLM")
        and type(model).__module__.startswith("transformers.")
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and (config.model_type != "mistral" or config.sliding_window is None)
        and config.rope_parameters["rope_type"] in ("default", "linear", "llama3", "yarn")
        and all(type(m) is nn.Linear for name, m in model.named_modules() if name.endswith(("_proj", "lm_head")))
    )


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one block, projections of the same input stacked; matrices are (in, out)."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None

    @classmethod
    def of(cls, block: Any) -> LayerWeights:
        """The weights of one of transformers' blocks; they are views where nothing has to be stacked."""
        attention, mlp = block.self_attn, block.mlp
        return cls(
            block.input_layernorm.weight,
            *_stack(attention.q_proj, attention.k_proj, attention.v_proj),
            *_stack(attention.o_proj),
            block.post_attention_layernorm.weight,
            *_stack(mlp.gate_proj, mlp.up_proj),
            *_stack(mlp.down_proj),
        )

    def contiguous(self) -> LayerWeights:
        """The same weights, each matrix laid out as it is multiplied."""
        matrices = {name: getattr(self, name).contiguous() for name in ("qkv", "out", "gate_up", "down")}
        return replace(self, **matrices)


def _stack(*linears: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weight (in, out) and bias of several projections of one input."""
    if len(linears) == 1:
        return linears[0].weight.T, linears[0].bias
    weight = torch.cat([linear.weight for linear in linears]).T
    return weight, None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None) -> Tensor:
    """``residual + bias + x @ weight``, what is None left out."""
    if residual is None:
        return x @ weight if bias is None else torch.addmm(bias, x, weight)
    total = torch.addmm(residual, x, weight)
    return total if bias is None else total.add_(bias)


def rotate(cells: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (i, i + head_dim / 2) of (n, heads, head_dim) (Su et al. 2021, arXiv 2104.09864, section 3.4.2)."""
    first, second = cells.chunk(2, dim=-1)
    return torch.addcmul(cells * cos, torch.cat([second, first], dim=-1), sin)
