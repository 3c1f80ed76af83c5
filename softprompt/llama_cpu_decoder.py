"""The decoder of Llama-like models for a CPU in float32: a step allocates and copies next to nothing.

The matrix products are torch's; what stands between them is in :mod:`softprompt.llama_kernels`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from softprompt import llama_kernels
from softprompt.llama_decoder import LlamaDecoder

SMALL_MODEL_BYTES = 2**28
"""Weights up to this size are copied in the order in which products of few rows read them fastest."""

ROWS_AT_ONCE = 96
"""With more rows the keys and values of a small model leave the caches of a processor, and each row costs more."""

ROWS_A_THREAD = 8

_rms_norm: Any = llama_kernels.rms_norm  # numba's type of a compiled function does not know its arguments
_append_and_score: Any = llama_kernels.append_and_score
_mix: Any = llama_kernels.mix


class LlamaCpuDecoder(LlamaDecoder):
    """Decodes Llama-like models of float32 on a CPU; see :class:`softprompt.decoder.Decoder` for the promises.

    Keys and values of a prompt are kept once for all rows behind it; those of a row's own tokens have the row's place.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies projections of the same input side by side; the model itself is only read.

        Args:
            model: a model of float32 on a CPU for which :func:`softprompt.llama_decoder.is_llama_like` holds.
        """
        super().__init__(model)
        self._head = self._head.T
        if sum(p.nbytes for p in model.parameters()) <= SMALL_MODEL_BYTES:
            self.rows_at_once = ROWS_AT_ONCE
            self._layers = [layer.contiguous() for layer in self._layers]
            self._head = self._head.contiguous()
        norms = [(layer.attention_norm.numpy(), layer.mlp_norm.numpy()) for layer in self._layers]
        self._norms: list[tuple[np.ndarray, np.ndarray]] = norms
        self._last_norm = self._final_norm.numpy()
        self._n_heads = self._n_kv_heads * self._group

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.decoder.Decoder`."""
        n, length, d = len(prompt_of), self._prompts.shape[-2], self._embedding.shape[1]
        self._n_new = 0
        self._prompt_of = prompt_of.numpy()
        self._padding_of = self._prompt_padding.numpy()
        self._rotations = self._cos.contiguous().numpy(), self._sin.contiguous().numpy()
        self._prompt_cells = self._prompts.numpy()
        # numpy asks for large pages where they may be had; walking through a cache on small ones is slower.
        cells = self._max_length - length
        self._cells = np.empty((2, len(self._layers), n, self._n_kv_heads, cells, self._head_dim), np.float32)
        self._all_cells = torch.from_numpy(self._cells)
        self._scores, self._weights = torch.empty(2, n * self._n_heads * self._max_length)
        width = (self._n_heads + 2 * self._n_kv_heads) * self._head_dim
        gates = self._layers[0].gate_up.shape[1]
        sizes = {"hidden": d, "normed": d, "qkv": width, "mixed": self._n_heads * self._head_dim, "gate_up": gates}
        self._memory = {name: torch.empty(n, size) for name, size in sizes.items()}
        self._arrays = {name: tensor.numpy() for name, tensor in self._memory.items()}
        self._set_rows(n)

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.decoder.Decoder`."""
        self._n_new += 1
        rows = self._rows
        hidden, normed, qkv, mixed, gate_up, gate, up = rows
        shape = (self._n_rows, self._n_heads, self._prompts.shape[-2] + self._n_new)
        cells = self._n_rows * self._n_heads * shape[2]
        scores, weights = self._scores[:cells].view(shape), self._weights[:cells].view(shape)
        score_array, weight_array = scores.numpy(), weights.numpy()
        torch.index_select(self._embedding, 0, ids, out=hidden)
        for index, (layer, norms) in enumerate(zip(self._layers, self._norms, strict=True)):
            self._normalise(norms[0])
            _product(normed, layer.qkv, layer.qkv_bias, qkv)
            self._score(index, score_array)
            torch.softmax(scores, dim=-1, out=weights)
            self._mix(index, weight_array)
            _add_product(hidden, mixed, layer.out, layer.out_bias)
            self._normalise(norms[1])
            _product(normed, layer.gate_up, layer.gate_up_bias, gate_up)
            _add_product(hidden, self._activation(gate).mul_(up), layer.down, layer.down_bias)
        self._normalise(self._last_norm)
        return normed @ self._head

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.decoder.Decoder`."""
        places = torch.arange(len(rows))
        places = places[rows != places]
        cells = self._all_cells
        cells[:, :, places, :, : self._n_new] = cells[:, :, rows[places], :, : self._n_new]
        self._prompt_of = self._prompt_of[rows.numpy()]
        self._set_rows(len(rows))

    def _set_rows(self, n: int) -> None:
        """Takes the front of the memory for n rows."""
        self._n_rows = n
        views = [tensor[:n] for tensor in self._memory.values()]
        self._rows = (*views, *views[-1].chunk(2, dim=1))

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._norm(hidden, self._final_norm) @ self._head

    def _normalise(self, weight: np.ndarray) -> None:
        hidden, normed = self._arrays["hidden"], self._arrays["normed"]
        _on_threads(_rms_norm, self._n_rows, hidden, weight, np.float32(self._eps), normed)

    def _score(self, layer: int, scores: np.ndarray) -> None:
        keys, values = self._cells[0, layer], self._cells[1, layer]
        prompts, scale = self._prompt_cells[0, layer], np.float32(self._scale)
        cells = prompts, keys, values, self._prompt_of, self._padding_of
        qkv, sizes = self._arrays["qkv"], (self._n_new, self._n_heads, scale)
        _on_threads(_append_and_score, self._n_rows, qkv, *self._rotations, *cells, *sizes, scores)

    def _mix(self, layer: int, weights: np.ndarray) -> None:
        cells = self._prompt_cells[1, layer], self._cells[1, layer], self._prompt_of, self._n_new
        _on_threads(_mix, self._n_rows, weights, *cells, self._arrays["mixed"])


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


def _on_threads(kernel: Callable[..., None], n: int, *arguments: Any) -> None:
    """Runs a kernel over n rows, in slices on as many threads as torch has; their number changes no result."""
    threads = min(torch.get_num_threads(), n // ROWS_A_THREAD)
    if threads <= 1:
        kernel(0, n, *arguments)
        return
    bounds = [n * k // threads for k in range(threads + 1)]
    slices = zip(bounds, bounds[1:], strict=False)
    for done in [_threads().submit(kernel, start, stop, *arguments) for start, stop in slices]:
        done.result()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decoder")
