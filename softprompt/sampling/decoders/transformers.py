"""Decoding with a model's own forward: from transformers' cache, or by reading everything again for each token."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


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
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._cache = DynamicCache(config=self._model.config)
        self._mask = None
        if bool(padding.any()):
            self._mask = (torch.arange(embedded.shape[1], device=embedded.device) >= padding[:, None]).long()
        logits = self._forward(inputs_embeds=embedded)
        self._prompts, self._prompt_mask = self._cache, self._mask
        return logits

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        # Selecting leaves the tensors of the prompts as they are, for the next batch.
        self._cache = copy.deepcopy(self._prompts)
        self._mask = self._prompt_mask
        self.keep(prompt_of)

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
        return self._forward(input_ids=ids[:, None])

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
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
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._prompts = [prompt[empty:] for prompt, empty in zip(embedded, padding.tolist(), strict=True)]
        return self._read(self._prompts)

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._rows = [self._prompts[prompt] for prompt in prompt_of.tolist()]

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        new = self._model.get_input_embeddings()(ids)
        self._rows = [torch.cat([row, cell[None]]) for row, cell in zip(self._rows, new, strict=True)]
        return self._read(self._rows)

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
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
