"""The decoder of small Llama-like models for a CPU in float32: a step is one call, its products included.

A product of few rows is as fast as its weights are read. Torch's products reorder them at every call, which only many
rows make up for; here they are put in order once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation

from softprompt.kernels import decode
from softprompt.kernels.decode import Weights, Workspace
from softprompt.kernels.tiles import TILE_ROWS, WIDTH, packed, rounded_up
from softprompt.sampling.decoders.llama_cpu import LlamaCpuDecoder, on_rows

SMALL_MODEL_BYTES = 2**28
"""Weights up to this size are copied in the order in which products read them."""

ROWS_AT_ONCE = 96
"""More rows are hardly faster, and need more memory for their keys and values."""

_decode_step: Any = decode.decode_step  # numba's type of a compiled function does not know its arguments


def cpu_decoder(model: PreTrainedModel) -> LlamaCpuDecoder:
    """Returns the fastest decoder of a Llama-like model of float32 on a CPU."""
    small = sum(p.nbytes for p in model.parameters()) <= SMALL_MODEL_BYTES
    gated = isinstance(model.model.layers[0].mlp.act_fn, SiLUActivation | nn.SiLU)
    return LlamaSmallDecoder(model) if small and gated else LlamaCpuDecoder(model)


class LlamaSmallDecoder(LlamaCpuDecoder):
    """Decodes small Llama-like models of float32, see :class:`softprompt.sampling.decoders.Decoder`."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies all weights; the model itself is only read.

        Args:
            model: as for :class:`LlamaCpuDecoder`, with SiLU in its feed-forward.
        """
        super().__init__(model)
        self.rows_at_once = ROWS_AT_ONCE
        columns = {name: [getattr(layer, name) for layer in self._layers] for name in Weights._fields[1:-2]}
        stacked = {name: _stacked(tensors) for name, tensors in columns.items()}
        head = packed(self._head.T.numpy())
        self._weights = Weights(self._embedding.numpy(), **stacked, final_norm=self._final_norm.numpy(), head=head)

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._n_new += 1
        n, (vocab_size, _) = len(ids), self._head.shape
        logits = np.empty((rounded_up(n, TILE_ROWS), rounded_up(vocab_size, WIDTH)), np.float32)
        sizes = self._n_new, self._prompts.shape[-2], self._n_heads, np.float32(self._scale), np.float32(self._eps)
        on_rows(_decode_step, n, ids.numpy(), self._weights, self._cells, self._work, *sizes, logits)
        return torch.from_numpy(logits)[:n, :vocab_size]

    def _allocate(self, n: int) -> None:
        d, heads, ff = self._embedding.shape[1], self._n_heads * self._head_dim, self._layers[0].down.shape[0]
        widths = (d, d, self._layers[0].qkv.shape[1], heads, 2 * ff, ff)
        rows = rounded_up(n, TILE_ROWS)
        # Rows that fill up a tile are computed as well and never read.
        self._work = Workspace(*(np.zeros((rows, rounded_up(width, WIDTH)), np.float32) for width in widths))


def _stacked(tensors: list[Tensor | None]) -> np.ndarray:
    """One weight of all layers: matrices packed, vectors as they are, and vectors of no columns for None."""
    arrays = [np.empty(0, np.float32) if tensor is None else tensor.numpy() for tensor in tensors]
    return np.stack([packed(array) if array.ndim == 2 else array for array in arrays])
