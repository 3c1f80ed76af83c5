"""Decoders of Llama-like models for a CPU in float32: a step allocates and copies next to nothing.

What they compute themselves is in :mod:`softprompt.kernels.decode`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from softprompt.kernels import decode
from softprompt.kernels.decode import Cells
from softprompt.kernels.threads import on_threads
from softprompt.kernels.tiles import TILE_ROWS, WIDTH, rounded_up
from softprompt.sampling.decoders.llama import LlamaDecoder

ROWS_A_THREAD = 8

_rms_norm: Any = decode.rms_norm  # numba's type of a compiled function does not know its arguments
_attend: Any = decode.attend


class LlamaCpuDecoder(LlamaDecoder):
    """Decodes Llama-like models of float32 on a CPU, see :class:`softprompt.sampling.decoders.Decoder`.

    Keys and values of a prompt are kept once for all rows behind it; those of a row's own tokens have the row's place.
    The matrix products are torch's.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies projections of the same input side by side; the model itself is only read.

        Args:
            model: a model of float32 on a CPU for which :func:`softprompt.models.llama_weights.is_llama_like` holds.
        """
        super().__init__(model)
        norms = [(layer.attention_norm.numpy(), layer.mlp_norm.numpy()) for layer in self._layers]
        self._norms: list[tuple[np.ndarray, np.ndarray]] = norms
        self._n_heads = self._n_kv_heads * self._group
        self._memory = np.empty(0, np.float32)

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        logits = super().prefill(embedded, padding, max_new_tokens)
        keys, values = (self._in_blocks(cells.numpy()) for cells in self._prompts)
        self._prompt_cells = np.ascontiguousarray(keys.swapaxes(-1, -2)[..., : self._head_dim, :]), values
        self._rotations = self._cos.contiguous().numpy(), self._sin.contiguous().numpy()
        return logits

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._n_new, n = 0, len(prompt_of)
        new_cells = self._max_length - self._prompts.shape[-2]
        depth = rounded_up(self._head_dim, WIDTH)
        shape = (len(self._layers), n, -(-new_cells // WIDTH), self._n_kv_heads, WIDTH)
        split, size = int(np.prod(shape)) * self._head_dim, int(np.prod(shape)) * (self._head_dim + depth)
        # Memory of the batch before is in the caches. numpy asks for large pages where they may be had.
        if len(self._memory) < size:
            self._memory = np.empty(size, np.float32)
        keys = self._memory[:split].reshape(*shape[:-1], self._head_dim, WIDTH)
        values = self._memory[split:size].reshape(*shape, depth)
        padding = self._prompt_padding.numpy()
        self._cells = Cells(*self._rotations, *self._prompt_cells, keys, values, prompt_of.numpy(), padding)
        self._allocate(n)

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._n_new += 1
        hidden = self._embedding[ids]
        normed, qkv, mixed, gate_up = (tensor[: len(ids)] for tensor in self._tensors)
        gate, up = gate_up.chunk(2, dim=1)
        for index, (layer, norms) in enumerate(zip(self._layers, self._norms, strict=True)):
            self._normalise(hidden, norms[0], normed)
            _product(normed, layer.qkv, layer.qkv_bias, qkv)
            self._attend(index, qkv, mixed)
            _add_product(hidden, mixed, layer.out, layer.out_bias)
            self._normalise(hidden, norms[1], normed)
            _product(normed, layer.gate_up, layer.gate_up_bias, gate_up)
            _add_product(hidden, self._activation(gate).mul_(up), layer.down, layer.down_bias)
        return self._logits(hidden)

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        kept = rows.numpy()
        places = np.arange(len(kept))
        places = places[kept != places]
        blocks = -(-self._n_new // WIDTH)
        for cells in (self._cells.keys, self._cells.values):
            cells[:, places, :blocks] = cells[:, kept[places], :blocks]
        self._cells = self._cells._replace(prompt_of=self._cells.prompt_of[kept])

    def _allocate(self, n: int) -> None:
        """Takes memory for what a step writes for n rows."""
        d, heads = self._embedding.shape[1], self._n_heads * self._head_dim
        widths = (d, self._layers[0].qkv.shape[1], heads, self._layers[0].gate_up.shape[1])
        self._tensors = [torch.empty(n, width) for width in widths]

    def _in_blocks(self, cells: np.ndarray) -> np.ndarray:
        """Cuts cells (layers, n, n_kv, length, d) into (layers, n, blocks, n_kv, WIDTH, d rounded up), zeros added."""
        layers, n, n_kv, length, d = cells.shape
        filled = np.zeros((layers, n, n_kv, rounded_up(length, WIDTH), rounded_up(d, WIDTH)), np.float32)
        filled[..., :length, :d] = cells
        return np.ascontiguousarray(filled.reshape(layers, n, n_kv, -1, WIDTH, filled.shape[-1]).swapaxes(2, 3))

    def _normalise(self, x: Tensor, weight: np.ndarray, out: Tensor) -> None:
        on_rows(_rms_norm, len(x), x.numpy(), weight, np.float32(self._eps), out.numpy())

    def _attend(self, layer: int, qkv: Tensor, out: Tensor) -> None:
        sizes = self._n_new, self._prompts.shape[-2], self._n_heads, np.float32(self._scale)
        on_rows(_attend, len(qkv), layer, qkv.numpy(), self._cells, *sizes, out.numpy())


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Writes ``bias + x @ weight``."""
    if bias is None:
        torch.mm(x, weight, out=out)
    else:
        torch.addmm(bias, x, weight, out=out)


def _add_product(total: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Adds ``bias + x @ weight`` to a total."""
    total.addmm_(x, weight)
    if bias is not None:
        total.add_(bias)


def on_rows(kernel: Callable[..., None], n: int, *arguments: Any) -> None:
    """Runs a kernel over n rows, in slices of whole tiles; their number changes no result."""
    on_threads(kernel, n, ROWS_A_THREAD, *arguments, whole=TILE_ROWS)
