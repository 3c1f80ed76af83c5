"""Reads programs with a Llama-like model on a CPU: forward, and backward into what it reads.

It computes the same numbers as transformers (Touvron et al. 2023, arXiv 2302.13971, section 2.2). All cells of all rows
stand one behind the other, without padding. Weights get no gradients, so that nothing is kept for them; what
stands between the matrix products is in :mod:`softprompt.kernels.read` and :mod:`softprompt.kernels.attention`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from softprompt.kernels import attention, read
from softprompt.kernels.threads import on_threads
from softprompt.kernels.tiles import LANES
from softprompt.logprobs.packed_rows import Rows
from softprompt.models.llama_weights import LayerWeights, is_llama_like, linear

CELLS_A_THREAD, PAIRS_A_THREAD = 64, 2
SMALL_MODEL_BYTES = 2**28
"""Of larger models the products take the time, and their weights are not copied."""

POSITIONS = 256
"""Angles are worked out for so many positions at a time."""

_read: Any = read  # numba's type of a compiled function does not know its arguments
_attention: Any = attention
_readers: WeakKeyDictionary[PreTrainedModel, LlamaReader] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Kept:
    """What the backward pass needs of one layer: what it read, and what its two halves worked out, norms' factors."""

    x: Tensor
    factors: Tensor
    qkv: Tensor
    weights: Tensor
    middle: Tensor
    mlp_factors: Tensor
    gate_up: Tensor


class LlamaReader:
    """A Llama-like model of float32 on a CPU, none of whose weights needs a gradient."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> LlamaReader | None:
        """The reader of a model, made anew when its weights have changed.

        Returns:
            None for models that it cannot read, and where weights are trained and their gradients are asked for.
        """
        reader = _readers.get(model)
        if reader is None or not reader._is_current():
            if not is_readable(model):
                return None
            reader = _readers[model] = cls(model)
        return None if torch.is_grad_enabled() and any(p.requires_grad for p in reader._parameters) else reader

    @torch.no_grad()
    def __init__(self, model: PreTrainedModel) -> None:
        """Copies projections of the same input side by side; the model itself is only read.

        Args:
            model: a model for which :func:`is_readable` holds.
        """
        config, attention = model.config, model.model.layers[0].self_attn
        self._parameters = list(model.parameters())
        self._versions = [p._version for p in self._parameters]
        self._layers = [LayerWeights.of(block).contiguous() for block in model.model.layers]
        self._norms = [(block.attention_norm.detach(), block.mlp_norm.detach()) for block in self._layers]
        self._final_norm: Tensor = model.model.norm.weight.detach()
        self._rotary = model.model.rotary_emb
        self._eps = np.float32(config.rms_norm_eps)
        self._n_heads: int = config.num_attention_heads
        self._n_keys: int = config.num_key_value_heads
        self._head_dim: int = attention.head_dim
        self._scale = np.float32(self._head_dim**-0.5)
        self._cos = self._sin = np.empty((0, self._head_dim // 2), np.float32)

    def read(
        self, inputs: Tensor, rows: Rows, past: Tensor | None = None, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reads embedded tokens; differentiable in them, unless ``places`` is given, and in what was read before.

        Args:
            inputs: shape (cells, d_model), row after row; or different tokens in any order.
            rows: what they are.
            past: what the beginnings left behind, None where there are none.
            places: which of the inputs each cell is, shape (cells,). What the first layer projects depends on the
                token alone, and is so worked out once for each.

        Returns:
            Last hidden states, shape (cells, d_model), and nothing. Of rows without beginnings, which are beginnings
            themselves, all of one length s: those of their last cells, shape (rows, d_model), and what they leave
            behind, keys and values, shape (layers, 2, rows, n_key_heads, s, head_dim).
        """
        if past is None:
            past = inputs.new_empty(len(self._layers), 2, rows.n_beginnings, self._n_keys, 0, self._head_dim)
        if torch.is_grad_enabled() and (inputs.requires_grad or past.requires_grad):
            return _Read.apply(inputs, past, self, rows, places)
        return self.forward(inputs, past, rows, places, None)

    def forward(
        self, inputs: Tensor, past: Tensor, rows: Rows, places: Tensor | None, kept: list[Any] | None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`read`, without gradients; what :meth:`backward` needs is added to ``kept`` if that is a list."""
        self._know_positions(rows.n_before + max(rows.lengths))
        blocks, ends = rows.weights(self._n_heads), rows.ends
        x = inputs if places is None else inputs.index_select(0, places)
        left = []
        for index, (layer, norms, before) in enumerate(zip(self._layers, self._norms, past, strict=True)):
            read, (normed, factors) = x, self._normalise(x if index else inputs, norms[0])
            qkv = linear(normed, layer.qkv, layer.qkv_bias)
            if index == 0 and places is not None:
                qkv = qkv.index_select(0, places)
            self._rotate(qkv, rows)
            if rows.n_before == 0:
                cells = qkv.view(len(rows.lengths), -1, self._n_heads + 2 * self._n_keys, self._head_dim)
                left.append(cells[:, :, self._n_heads :].unflatten(2, (2, -1)).permute(2, 0, 3, 1, 4))
            weights, mixed = torch.empty(int(blocks[-1])), torch.empty(len(x), self._n_heads * self._head_dim)
            self._over_pairs(_attention.attend, qkv, before, rows, blocks, weights, mixed)
            if ends is not None and index == len(self._layers) - 1:
                mixed, x = mixed[ends], x[ends]
            middle = linear(mixed, layer.out, layer.out_bias, x)
            normed, mlp_factors = self._normalise(middle, norms[1])
            gate_up = linear(normed, layer.gate_up, layer.gate_up_bias)
            gated = torch.empty(len(gate_up), gate_up.shape[1] // 2)
            _over_cells(_read.swiglu, gate_up, gated)
            if kept is not None:
                kept.append(_Kept(read, factors, qkv, weights, middle, mlp_factors, gate_up))
            x = linear(gated, layer.down, layer.down_bias, middle)
        final, factors = self._normalise(x, self._final_norm)
        if kept is not None:
            kept.append((x, factors))
        return final, torch.stack(left) if left else x.new_empty(0)

    def backward(
        self, kept: list[Any], past: Tensor, rows: Rows, gradient: Tensor, left: Tensor, own: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Returns the gradients of the inputs, None unless ``own``, and of ``past``.

        Args:
            kept: what :meth:`forward` kept.
            past: what it was given.
            rows: what it was given.
            gradient: of the last hidden states.
            left: gradient of what the rows left behind.
            own: whether the inputs need a gradient.
        """
        blocks, past_gradient = rows.weights(self._n_heads), torch.empty_like(past)
        total = torch.zeros_like(gradient)
        _over_cells(_read.rms_norm_backward, kept[-1][0], self._final_norm, kept[-1][1], gradient, total)
        for index in reversed(range(len(self._layers))):
            layer, norms, of = self._layers[index], self._norms[index], kept[index]
            gate_up_gradient = torch.empty_like(of.gate_up)
            _over_cells(_read.swiglu_backward, of.gate_up, total @ layer.down.T, gate_up_gradient)
            normed = gate_up_gradient @ layer.gate_up.T
            _over_cells(_read.rms_norm_backward, of.middle, norms[1], of.mlp_factors, normed, total)
            mixed, needed, qkv_gradient = total @ layer.out.T, own or index > 0, torch.empty_like(of.qkv)
            if rows.ends is not None and index == len(self._layers) - 1:
                total, mixed = (_spread(x, rows.ends, len(qkv_gradient)) for x in (total, mixed))
            memory = of.weights, mixed, needed, qkv_gradient, past_gradient[index]
            self._over_pairs(_attention.attend_backward, of.qkv, past[index], rows, blocks, *memory)
            if needed:
                if len(left):
                    cells = qkv_gradient.view(len(rows.lengths), -1, self._n_heads + 2 * self._n_keys, self._head_dim)
                    cells[:, :, self._n_heads :].unflatten(2, (2, -1)).add_(left[index].permute(1, 3, 0, 2, 4))
                self._rotate(qkv_gradient, rows, backward=True)
                normed = qkv_gradient @ layer.qkv.T
                _over_cells(_read.rms_norm_backward, of.x, norms[0], of.factors, normed, total)
        return total if own else None, past_gradient

    def _normalise(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what is normalised, and each row's factor."""
        out, factors = torch.empty_like(x), torch.empty(len(x))
        _over_cells(_read.rms_norm, x, weight, self._eps, out, factors)
        return out, factors

    def _rotate(self, qkv: Tensor, rows: Rows, backward: bool = False) -> None:
        sin = -self._sin if backward else self._sin
        sizes = self._n_heads, self._n_keys, self._scale
        _over_cells(_read.rotate, qkv, self._cos, sin, rows.positions, *sizes)

    def _over_pairs(
        self, kernel: Any, qkv: Tensor, past: Tensor, rows: Rows, blocks: np.ndarray, *arguments: Tensor | bool
    ) -> None:
        """Calls a kernel of attention for all pairs of a beginning and a head of keys."""
        sizes = self._n_heads, self._n_keys, max(rows.lengths)
        memory = _arrays(qkv, past, rows.starts, rows.bounds, sizes, blocks, *arguments)
        on_threads(kernel, rows.n_beginnings * self._n_keys, PAIRS_A_THREAD, *memory)

    def _know_positions(self, n: int) -> None:
        """Works out cosines and sines of so many positions, which are the same whatever stands there."""
        if n > len(self._cos):
            tables = self._rotary(self._final_norm, torch.arange(-(-n // POSITIONS) * POSITIONS)[None])
            self._cos, self._sin = (table[0, :, : self._head_dim // 2].contiguous().numpy() for table in tables)

    def _is_current(self) -> bool:
        """Whether the weights are those that were copied."""
        return all(p._version == version for p, version in zip(self._parameters, self._versions, strict=True))


class _Read(torch.autograd.Function):
    """A reader's reading, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, past: Tensor, reader: LlamaReader, rows: Rows, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        ctx.kept, ctx.reader, ctx.rows = [], reader, rows
        ctx.save_for_backward(past)
        return reader.forward(inputs.detach(), past.detach(), rows, places, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, left: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (past,) = ctx.saved_tensors
        own, before = ctx.needs_input_grad[:2]
        found = ctx.reader.backward(ctx.kept, past, ctx.rows, gradient.contiguous(), left, own)
        return found[0], found[1] if before else None, None, None, None


def is_readable(model: PreTrainedModel) -> bool:
    """Whether :class:`LlamaReader` computes what this model computes, and is worth a second copy of its weights."""
    return (
        is_llama_like(model)
        and sum(p.nbytes for p in model.parameters()) <= SMALL_MODEL_BYTES
        and model.config.hidden_act == "silu"
        and model.model.layers[0].self_attn.head_dim % LANES == 0
        and all(
            p.dtype == torch.float32 and p.device.type == "cpu" and not p.is_inference() for p in model.parameters()
        )
    )


def _over_cells(kernel: Any, cells: Tensor, *arguments: Any) -> None:
    """Calls a kernel for all cells; ``cells`` is the first of the arrays it is given."""
    on_threads(kernel, len(cells), CELLS_A_THREAD, *_arrays(cells, *arguments))


def _spread(x: Tensor, places: Tensor, n: int) -> Tensor:
    """Puts rows into their places among n, the others of which are zero."""
    return x.new_zeros(n, x.shape[1]).index_copy_(0, places, x)


def _arrays(*arguments: Any) -> list[Any]:
    return [argument.numpy() if isinstance(argument, Tensor) else argument for argument in arguments]
