"""What the policy thinks of programs already written: teacher-forced log-probabilities behind soft prompts.

Sequences are ``[soft prompt; instruction; response]`` without gaps, padding last. A causal model never looks ahead,
so padding cannot reach what stands before it: no mask has to say where it is. A beginning that several responses have
in common is read once, and they go on from its keys and values.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from softprompt.logprobs.llama_reader import LlamaReader, Rows
from softprompt.logprobs.token_logprobs import token_logprobs
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.table import take_prompts
from softprompt.sampling.decoders.cache_check import can_use_cache

LINEAR_HEADS = ("llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox", "opt")
"""Model types whose logits are the head's linear map of the last hidden state; others may scale or cap them."""

CPU_CHUNK_CELLS = 512
ACCELERATOR_CHUNK_CELLS = 65536

WORTH_SHARING = 8
"""Cells of a beginning from which on it pays to read it apart: attention to what was read before costs a mask."""

States = tuple[Tensor, ...]
"""Hidden states (n, cells, d_model) where the head is linear; else logits (n, cells, vocab_size) and perhaps those."""


def evaluate(
    lm: FrozenLM,
    prompts: Tensor | None,
    instruction: Tensor | Sequence[Sequence[int]],
    ids: Tensor,
    mask: Tensor,
    want_hidden: bool = False,
    prompt_of: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Returns log-probabilities of responses under the model's own distribution (temperature 1).

    Gradients flow into ``prompts``, and into what of the model is trained (:mod:`softprompt.models.unfrozen`). The
    reference policy is the same call with the frozen model and ``prompts=None`` under ``no_grad``. Rows are taken in
    order of length, a few at a time, so that padding costs little and what is in work fits the caches of a CPU.

    Args:
        lm: the language model.
        prompts: soft prompts, shape (p, n_soft_tokens, d_model), or None for the bare model.
        instruction: token ids of the hard prompt, shape (n,), or one sequence per row.
        ids: token ids of the responses, right-padded, shape (b, l).
        mask: which cells of ``ids`` are real, shape (b, l) bool.
        want_hidden: return the hidden states too, for a critic.
        prompt_of: the prompt of each row, shape (b,), so that rows behind one prompt share the work on it; None where
            each row has its own, in order.

    Returns:
        Log-probabilities, shape (b, l) float32, and hidden states, shape (b, l, d_model), or None. Those of cell t
        are the ones before token t is seen, from which it is predicted. Cells that are not real are zero.

    Raises:
        ValueError: a row has neither prompt nor instruction, padding stands before a token, or the sequence is too
            long for the model.
    """
    n_soft_tokens = 0 if prompts is None else prompts.shape[1]
    before = _instructions(instruction, len(ids))
    lengths = mask.sum(dim=1).tolist()
    _check(lm, n_soft_tokens, before, lengths, mask)
    owners = [0] * len(ids) if prompts is None else list(range(len(ids))) if prompt_of is None else prompt_of.tolist()

    reader = LlamaReader.of(lm.model)
    make = _Beginnings if reader is None else partial(_ReadBeginnings, reader)
    rows_done, logprobs, hidden = [], [], []
    for size in sorted({len(row) for row in before}):
        rows = [row for row in range(len(ids)) if len(before[row]) == size and lengths[row]]
        if not rows:
            continue
        beginnings = make(lm, prompts, [(owners[row], before[row]) for row in rows], want_hidden)
        place = {row: k for k, row in enumerate(rows)}
        for chunk in _chunks(sorted(rows, key=lengths.__getitem__), lengths, beginnings.cells_a_row, ids.device):
            responses = [ids[row, : lengths[row]] for row in chunk]
            result = beginnings.go_on([place[row] for row in chunk], responses)
            rows_done += chunk
            logprobs.append(result[0])
            hidden.append(result[1])

    flat = torch.zeros(ids.shape, device=ids.device)
    if not rows_done:
        return flat, torch.zeros(*ids.shape, lm.d_model, device=ids.device) if want_hidden else None
    cells = _real_cells(rows_done, lengths, ids.device)
    flat = flat.index_put(cells, torch.cat(logprobs))
    if not want_hidden:
        return flat, None
    states = torch.cat(hidden)
    return flat, states.new_zeros(*ids.shape, states.shape[-1]).index_put(cells, states)


class _Beginnings:
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


class _ReadBeginnings(_Beginnings):
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
        """See :class:`_Beginnings`."""
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


def _chunks(order: Sequence[int], lengths: Sequence[int], besides: int, device: torch.device) -> list[list[int]]:
    """Cuts rows, shortest first, into runs of so many cells, padding included, as suit the device."""
    limit = CPU_CHUNK_CELLS if device.type == "cpu" else ACCELERATOR_CHUNK_CELLS
    chunks: list[list[int]] = []
    for row in order:
        if chunks and (len(chunks[-1]) + 1) * (lengths[row] + besides) <= limit:
            chunks[-1].append(row)
        else:
            chunks.append([row])
    return chunks


def _real_cells(rows: list[int], lengths: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns row and column of every response token of these rows, in order."""
    counts = torch.tensor([lengths[row] for row in rows], dtype=torch.int64)
    columns = torch.cat([torch.arange(lengths[row]) for row in rows])
    return torch.tensor(rows, dtype=torch.int64).repeat_interleave(counts).to(device), columns.to(device)


def _instructions(instruction: Tensor | Sequence[Sequence[int]], n_rows: int) -> list[tuple[int, ...]]:
    """Returns the token ids before each row."""
    if isinstance(instruction, Tensor):
        return [tuple(instruction.tolist())] * n_rows
    if len(instruction) != n_rows:
        raise ValueError(f"{len(instruction)} instructions for {n_rows} responses")
    return [tuple(row) for row in instruction]


def _check(lm: FrozenLM, n_soft_tokens: int, before: list[tuple[int, ...]], lengths: list[int], mask: Tensor) -> None:
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("responses are right-padded: padding stands before a token here")
    if any(n_soft_tokens + len(row) == 0 for row in before):
        raise ValueError("nothing to begin with: give the row an instruction or a soft prompt")
    longest = max((n_soft_tokens + len(row) + length for row, length in zip(before, lengths, strict=True)), default=0)
    if lm.max_length is not None and longest > lm.max_length:
        raise ValueError(f"prompt, instruction and response need {longest} positions; the model has {lm.max_length}")
