"""Decoding with a KV cache: prefill once per prompt, then one token a step, for rows that finish at different times."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from softprompt.llama_decoder import LlamaDecoder, is_llama_like


class Decoder(Protocol):
    """A decoder is used for one batch at a time: ``prefill``, then ``step`` and ``keep`` in any order."""

    def prefill(self, embedded: Tensor, padding: Tensor, counts: Tensor, max_new_tokens: int) -> Tensor:
        """Reads the prompts and opens ``counts[r]`` rows for prompt r, in order.

        Args:
            embedded: what the prompts are to the model, left-padded, shape (r, s, d_model).
            padding: cells of padding of each prompt, shape (r,).
            counts: rows of each prompt, shape (r,).
            max_new_tokens: most calls of ``step`` that can follow, plus one.

        Returns:
            Logits of each row's first token, shape (counts.sum(), vocab_size), float32.
        """
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
    return LlamaDecoder(model) if fast and is_llama_like(model) else TransformersDecoder(model)


class TransformersDecoder:
    """Decodes with the model's own forward and transformers' cache; works for every causal language model."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Wraps a model.

        Args:
            model: the model, in eval mode.
        """
        self._model = model
        self._parameters = inspect.signature(model.forward).parameters
        self._cache = DynamicCache(config=model.config)
        self._mask: Tensor | None = None

    def prefill(self, embedded: Tensor, padding: Tensor, counts: Tensor, max_new_tokens: int) -> Tensor:
        """See :class:`Decoder`."""
        self._cache = DynamicCache(config=self._model.config)
        self._mask = None
        if bool(padding.any()):
            self._mask = (torch.arange(embedded.shape[1], device=embedded.device) >= padding[:, None]).long()
        logits = self._forward(inputs_embeds=embedded)
        rows = torch.arange(len(counts), device=embedded.device).repeat_interleave(counts)
        self.keep(rows)
        return logits[rows]

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
