"""Decoding with a KV cache: prefill once per prompt, then one token a step, for rows that finish at different times."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from softprompt.sampling.decoders.llama import LlamaDecoder, is_llama_like
from softprompt.sampling.decoders.llama_cpu_small import cpu_decoder
from softprompt.sampling.decoders.llama_cuda_graph import LlamaGraphDecoder

SMALL_MODEL_BYTES = 2**27
"""Up to this size graphs pay on a GPU in float32 too: behind a mask, attention in float32 has slow kernels only, which
cost a larger model more than launching its kernels one by one (benchmarks/results/gpu.json)."""


class Decoder(Protocol):
    """Reads prompts with ``prefill``, then decodes one batch of rows after another behind them.

    A batch is ``begin``, then ``step`` and ``keep`` in any order.

    Attributes:
        rows_at_once: rows of a batch beyond which more of them are no faster, or slower; None if there is no such end.
    """

    rows_at_once: int | None

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """Reads the prompts.

        Args:
            embedded: what the prompts are to the model, left-padded, shape (r, s, d_model).
            padding: cells of padding of each prompt, shape (r,).
            max_new_tokens: most calls of ``step`` that can follow in one batch, plus one.

        Returns:
            Logits of the first token behind each prompt, shape (r, vocab_size), float32.
        """
        ...

    def begin(self, prompt_of: Tensor) -> None:
        """Begins a batch: one row behind each of these prompts, shape (n,), in which a prompt may stand many times."""
        ...

    def step(self, ids: Tensor) -> Tensor:
        """Appends one token to each row, shape (n,), and returns the next logits, shape (n, vocab_size), float32."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keeps these rows, in this order, and forgets the others."""
        ...


def make_decoder(model: PreTrainedModel, fast: bool = True) -> Decoder:
    """Returns the fastest decoder that computes what this model computes.

    Args:
        model: any causal language model of transformers.
        fast: False asks for transformers' own forward even where there is a faster one.
    """
    if not (fast and is_llama_like(model)):
        # Imported here: what looks at caches decodes, too.
        from softprompt.sampling.cache_check import can_use_cache

        return TransformersDecoder(model) if can_use_cache(model) else UncachedDecoder(model)
    exact = model.dtype == torch.float32
    if model.device.type == "cuda" and not (exact and sum(p.nbytes for p in model.parameters()) > SMALL_MODEL_BYTES):
        return LlamaGraphDecoder(model)
    return cpu_decoder(model) if exact and model.device.type == "cpu" else LlamaDecoder(model)


class TransformersDecoder:
    """Decodes with the model's own forward and transformers' cache, where the model keeps keys and values in it."""

    rows_at_once: int | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        """Wraps a model.

        Args:
            model: the model, in eval mode.
        """
        self._model = model
        self._parameters = inspect.signature(model.forward).parameters
        self._cache = self._prompts = DynamicCache(config=model.config)
        self._mask: Tensor | None = None
        self._prompt_mask: Tensor | None = None

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """See :class:`Decoder`."""
        self._cache = DynamicCache(config=self._model.config)
        self._mask = None
        if bool(padding.any()):
            self._mask = (torch.arange(embedded.shape[1], device=embedded.device) >= padding[:, None]).long()
        logits = self._forward(inputs_embeds=embedded)
        self._prompts, self._prompt_mask = self._cache, self._mask
        return logits

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`Decoder`."""
        # Selecting leaves the tensors of the prompts as they are, for the next batch.
        self._cache = copy.deepcopy(self._prompts)
        self._mask = self._prompt_mask
        self.keep(prompt_of)

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`Decoder`."""
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
        return self._forward(input_ids=ids[:, None])

    def keep(self, rows: Tensor) -> None:
        """See :class:`Decoder`."""
        self._cache.batch_select_indices(rows)
        if self._mask is not None:
            self._mask = self._mask[rows]

    def _forward(self, **tokens: Tensor) -> Tensor:
        arguments: dict[str, Any] = {"past_key_values": self._cache, "use_cache": True, **tokens}
        if self._mask is not None:
            n_new = next(iter(tokens.values())).shape[1]
            arguments["attention_mask"] = self._mask
            if "position_ids" in self._parameters:
                arguments["position_ids"] = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -n_new:]
        if "logits_to_keep" in self._parameters:
            arguments["logits_to_keep"] = 1
        return self._model(**arguments).logits[:, -1].float()


class UncachedDecoder:
    """Reads everything again for each token: slow, and right for models that keep no keys and values, or a state."""

    rows_at_once: int | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        """Wraps a model.

        Args:
            model: the model, in eval mode.
        """
        self._model = model
        self._prompts: list[Tensor] = []
        self._rows: list[Tensor] = []

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """See :class:`Decoder`."""
        self._prompts = [prompt[empty:] for prompt, empty in zip(embedded, padding.tolist(), strict=True)]
        return self._read(self._prompts)

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`Decoder`."""
        self._rows = [self._prompts[prompt] for prompt in prompt_of.tolist()]

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`Decoder`."""
        new = self._model.get_input_embeddings()(ids)
        self._rows = [torch.cat([row, cell[None]]) for row, cell in zip(self._rows, new, strict=True)]
        return self._read(self._rows)

    def keep(self, rows: Tensor) -> None:
        """See :class:`Decoder`."""
        self._rows = [self._rows[row] for row in rows.tolist()]

    def _read(self, rows: list[Tensor]) -> Tensor:
        """Logits behind these rows; those of one length together, as a state would take padding for something read."""
        logits: dict[int, Tensor] = {}
        for length in sorted({len(row) for row in rows}):
            places = [place for place, row in enumerate(rows) if len(row) == length]
            inputs = torch.stack([rows[place] for place in places])
            read = self._model(inputs_embeds=inputs, use_cache=False).logits[:, -1].float()
            logits |= dict(zip(places, read, strict=True))
        return torch.stack([logits[place] for place in range(len(rows))])
