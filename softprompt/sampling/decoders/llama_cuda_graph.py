"""The decoder of Llama-like models for a GPU: a step is one CUDA graph, launched at once.

A step of a small model is some hundred kernels of microseconds each, and launching them one by one from Python takes
longer than running them. A graph launches them all, but with the sizes and the memory it was captured with: so rows and
cells are rounded up, keys and values stay where they are from batch to batch, and what is rounded up is masked.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from softprompt.sampling.decoders.llama import LlamaDecoder

FEWEST_ROWS = 8
CELLS = 64
"""Cells of keys and values that a step reads are a multiple of this."""

WORTH_CAPTURING = 16
"""Steps of one size after which it is captured: a capture costs as much as some of them."""

Size = tuple[int, int]
"""Rows and cells of a step, both rounded up."""


class LlamaGraphDecoder(LlamaDecoder):
    """Decodes Llama-like models on a GPU; see :class:`softprompt.sampling.decoders.Decoder` for the promises.

    Elsewhere it computes the same without graphs.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies projections of the same input side by side; the model itself is only read.

        Args:
            model: a model for which :func:`softprompt.models.llama_weights.is_llama_like` holds.
        """
        super().__init__(model)
        self._room: Size = (0, 0)
        self._graphs: dict[Size, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._seen: Counter[Size] = Counter()
        self._pool: Any = None

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._n_rows, self._length = len(prompt_of), self._prompts.shape[-2]
        self._make_room(_rounded(self._n_rows, self._max_length))
        self._cos, self._sin = self._rotations
        self._cache, self._padding = self._memory, None  # padding stands where graphs look for it
        self._cache[:, :, : self._n_rows, :, : self._length] = self._prompts.index_select(2, prompt_of)
        self._pads[: self._n_rows] = self._prompt_padding[prompt_of]

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._ids[: self._n_rows] = ids
        self._now.fill_(self._length)
        self._length += 1
        size = _rounded(self._n_rows, self._length)
        if size not in self._graphs and self._ids.is_cuda:
            self._seen[size] += 1
            if self._seen[size] > WORTH_CAPTURING:
                self._capture(size)
        if size not in self._graphs:
            return self._step(size)[: self._n_rows]
        graph, logits = self._graphs[size]
        graph.replay()
        # The next step writes where this one has written.
        return logits[: self._n_rows].clone()

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        super().keep(rows)
        self._pads[: len(rows)] = self._pads[rows]

    def _make_room(self, size: Size) -> None:
        """Takes memory for so many rows and cells; graphs that know a smaller one are forgotten."""
        if size[0] <= self._room[0] and size[1] <= self._room[1]:
            return
        rows, cells = self._room = max(size[0], self._room[0]), max(size[1], self._room[1])
        self._graphs.clear()
        self._pool = None
        # Not empty: a cell is read before it is written, under a mask that does not help against NaN.
        self._memory = self._new_cache(self._prompts, rows, cells).zero_()
        self._ids, self._pads = torch.zeros(2, rows, dtype=torch.int64, device=self._memory.device)
        self._now = torch.zeros(1, dtype=torch.int64, device=self._memory.device)
        self._cells = torch.arange(cells, device=self._memory.device)
        self._rotations = self._rotation(self._embedding, self._cells)

    def _capture(self, size: Size) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._step(size)
        self._pool = graph.pool()
        self._graphs[size] = graph, logits

    def _step(self, size: Size) -> Tensor:
        """One token for so many rows, those that live and those that round them up; logits (rows, vocab_size)."""
        rows, cells = size
        seen = self._cells[:cells]
        pads = self._pads[:rows, None]
        hidden_cells = (seen > self._now) | (seen < pads)
        mask = torch.zeros_like(hidden_cells, dtype=self._memory.dtype).masked_fill_(hidden_cells, -torch.inf)
        mask = mask[:, None, None].expand(-1, self._n_kv_heads, self._group, -1)

        def attend(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            cached_keys, cached_values = self._memory[:, layer, :rows, :, :cells]
            cached_keys.index_copy_(2, self._now, keys[:, :, None])
            cached_values.index_copy_(2, self._now, values[:, :, None])
            # The queries of a group stand where a sequence's would: each head of keys is then read once for all.
            grouped = queries.unflatten(1, (self._n_kv_heads, self._group))
            mixed = F.scaled_dot_product_attention(grouped, cached_keys, cached_values, mask, scale=self._scale)
            return mixed.flatten(1)

        hidden = self._embedding[self._ids[:rows]]
        return self._logits(self._blocks(hidden, self._now - self._pads[:rows], attend))


def _rounded(rows: int, cells: int) -> Size:
    """A power of two of rows, and a multiple of `CELLS`."""
    return max(FEWEST_ROWS, 1 << (rows - 1).bit_length()), -(-cells // CELLS) * CELLS
