"""What stands before responses, ``[soft prompt; instruction]``: read once for all rows that have it in common.

Rows go on from its keys and values, by transformers for any model and by :class:`.LlamaReader` for those that it reads.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from softprompt.logprobs.llama_reader import LlamaReader
from softprompt.logprobs.packed_rows import Rows
from softprompt.logprobs.token_logprobs import token_logprobs
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.table import take_prompts
from softprompt.sampling.decoders.cache_check import can_use_cache

LINEAR_HEADS = ("llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox", "opt")
"""Model types whose logits are the head's linear map of the last hidden state; others may scale or cap them."""

WORTH_SHARING = 8
"""Cells of a beginning from which on it pays to read it apart: attention to what was read before costs a mask."""

States = tuple[Tensor, ...]
"""Hidden states (n, cells, d_model) where the head is linear; else logits (n, cells, vocab_size) and perhaps those."""


class Beginnings:
    """What stands before the responses, all of one length: read once where rows share it, else along with each row.

    Attributes:
        cells_a_row: cells that a row's chunk holds besides its response.
    """

    def __init__(
        self,
        lm: FrozenLM,
        prompts: Tensor | None,
        of_rows: Sequence[tuple[int, tuple[int, ...]]],
        want_hidden: bool,
    ) -> None:
        """Reads the beginnings that are shared.

        Args:
            lm: the language model.
            prompts: shape (p, n_soft_tokens, d_model) or None.
            of_rows: number of the prompt, and instruction, of each row.
            want_hidden: whether hidden states are asked for.
        """
        self._lm, self._want_hidden = lm, want_hidden
        different = list(dict.fromkeys(of_rows))
        self._of_row = [different.index(one) for one in of_rows]
        instructions = torch.tensor([ids for _, ids in different], dtype=torch.int64, device=lm.device)
        self._inputs = lm.embed(instructions)
        if prompts is not None:
            owners = torch.tensor([owner for owner, _ in different], device=lm.device)
            self._inputs = torch.cat([take_prompts(prompts, owners).to(self._inputs.dtype), self._inputs], dim=1)
        size = self._inputs.shape[1]
        self._shared = len(different) < len(of_rows) and size >= WORTH_SHARING and _takes_cache(lm)
        self.cells_a_row = -1 if self._shared else size - 1
        if self._shared:
            self._read()

    def _read(self) -> None:
        """Reads the beginnings, which are shared."""
        self._cache = DynamicCache(config=self._lm.model.config)
        states = _run(self._lm, self._inputs, self._want_hidden, self._cache)
        self._last = tuple(state[:, -1:] for state in states)

    def go_on(self, rows: Sequence[int], responses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns log-probabilities (cells,) and hidden states (cells, d_model) of all response tokens, row by row.

        Args:
            rows: numbers of rows, as when this was made.
            responses: token ids of each.
        """
        device = self._lm.device
        index = torch.tensor([self._of_row[row] for row in rows], device=device)
        # Nothing is predicted from the last token, so it is not read.
        inputs = self._lm.embed(nn.utils.rnn.pad_sequence([row[:-1] for row in responses], batch_first=True))
        lengths = torch.tensor([len(row) for row in responses], device=device)
        numbers = torch.arange(len(responses), device=device).repeat_interleave(lengths)
        positions = torch.cat([torch.arange(len(row), device=device) for row in responses])
        if self._shared:
            states: States = tuple(take_prompts(state, index) for state in self._last)
            if inputs.shape[1]:
                behind = _run(self._lm, inputs, self._want_hidden, _rows_of(self._cache, index))
                states = tuple(torch.cat(pair, dim=1) for pair in zip(states, behind, strict=True))
        else:
            states = _run(self._lm, torch.cat([take_prompts(self._inputs, index), inputs], dim=1), self._want_hidden)
            positions = positions + self._inputs.shape[1] - 1
        return _token_logprobs(
            self._lm, tuple(state[numbers, positions] for state in states), torch.cat(list(responses))
        )


class ReadBeginnings(Beginnings):
    """The same by the reader of Llama-like models, which needs neither padding nor a copy of a beginning a row."""

    def __init__(self, reader: LlamaReader, *arguments: Any) -> None:
        self._reader = reader
        super().__init__(*arguments)

    def _read(self) -> None:
        self._past, self._ends = self._begin(self._inputs)

    def _begin(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Reads beginnings (n, cells, d_model); returns what they leave behind, and their last states (n, d_model)."""
        n, size, _ = inputs.shape
        ends, past = self._reader.read(inputs.flatten(0, 1), Rows([size] * n, range(n), n, 0))
        return past, ends

    def go_on(self, rows: Sequence[int], responses: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See :class:`Beginnings`."""
        if self._shared:
            past, ends = self._past, self._ends
            beginnings = [self._of_row[row] for row in rows]
        else:
            past, ends = self._begin(take_prompts(self._inputs, torch.tensor([self._of_row[row] for row in rows])))
            beginnings = list(range(len(rows)))
        lengths = [len(row) - 1 for row in responses]
        # The reader wants rows with the same beginning together. First tokens follow the beginnings, so that states
        # come as those of the ends, then those of all rows' tokens but their last.
        order = sorted((k for k in range(len(rows)) if lengths[k]), key=beginnings.__getitem__)
        states = take_prompts(ends, torch.tensor(beginnings))
        targets = [row[:1] for row in responses]
        if order:
            packed = Rows([lengths[k] for k in order], [beginnings[k] for k in order], len(ends), self._inputs.shape[1])
            different, tokens = torch.cat([responses[k][:-1] for k in order]).unique(return_inverse=True)
            states = torch.cat([states, self._reader.read(self._lm.embed(different), packed, past, tokens)[0]])
            targets += [responses[k][1:] for k in order]
        places = _row_by_row(lengths, order)
        logprobs, hidden = _token_logprobs(self._lm, (states,), torch.cat(targets))
        return logprobs.index_select(0, places), hidden.index_select(0, places) if self._want_hidden else hidden


def _row_by_row(lengths: Sequence[int], order: Sequence[int]) -> Tensor:
    """Where each row's cells are, row by row: one of each row, then ``lengths`` more of these rows in this order."""
    starts, total = {}, len(lengths)
    for k in order:
        starts[k] = total
        total += lengths[k]
    return torch.cat([torch.tensor([k, *range(starts.get(k, 0), starts.get(k, 0) + n)]) for k, n in enumerate(lengths)])


def _run(lm: FrozenLM, inputs: Tensor, want_hidden: bool, cache: DynamicCache | None = None) -> States:
    """Reads embedded tokens (n, cells, d_model), behind what the cache holds."""
    reading = {"inputs_embeds": inputs, "use_cache": cache is not None}
    if cache is not None:
        reading["past_key_values"] = cache
    if _linear_head(lm) is not None:
        return (lm.model.base_model(**reading).last_hidden_state,)
    output = lm.model(**reading, output_hidden_states=want_hidden)
    return (output.logits, output.hidden_states[-1]) if want_hidden else (output.logits,)


def _token_logprobs(lm: FrozenLM, cells: States, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities of the tokens that follow these cells, and the hidden states if they are there."""
    head = _linear_head(lm)
    if head is not None:
        return token_logprobs(cells[0], head.weight, head.bias, targets), cells[0]
    return cells[0].float().log_softmax(dim=-1).gather(1, targets[:, None])[:, 0], cells[-1]


def _linear_head(lm: FrozenLM) -> nn.Linear | None:
    """The head, if logits are its linear map of the last hidden states and no more, and it is not trained."""
    head = lm.model.get_output_embeddings()
    frozen = not (torch.is_grad_enabled() and head.weight.requires_grad)
    return head if frozen and lm.model.config.model_type in LINEAR_HEADS and type(head) is nn.Linear else None


def _takes_cache(lm: FrozenLM) -> bool:
    return "past_key_values" in inspect.signature(lm.model.base_model.forward).parameters and can_use_cache(lm.model)


def _rows_of(cache: DynamicCache, index: Tensor) -> DynamicCache:
    """A cache of its own whose row k is row ``index[k]`` of another; differentiable."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in own.layers:
        for name in ("keys", "values"):
            setattr(layer, name, take_prompts(getattr(layer, name), index))
    return own
