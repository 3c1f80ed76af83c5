"""Teacher-forced log-probabilities of given programs behind soft prompts.

Sequences are ``[soft prompt; instruction; response]`` without gaps, padding last. A causal model never looks ahead,
so padding cannot reach what stands before it: no mask has to say where it is. A beginning that several responses have
in common is read once, and they go on from its keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from softprompt.logprobs.beginnings import Beginnings, ReadBeginnings
from softprompt.logprobs.llama_reader import LlamaReader
from softprompt.models.frozen import FrozenLM

CPU_CHUNK_CELLS = 512
ACCELERATOR_CHUNK_CELLS = 65536


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
    make = Beginnings if reader is None else partial(ReadBeginnings, reader)
    rows_done, logprobs, hidden = [], [], []
    for size in sorted({len(row) for row in before}):
        rows = [row for row in range(len(ids)) if len(before[row]) == size and lengths[row]]
        if not rows:
            continue
        beginnings = make(lm, prompts, [(owners[row], before[row]) for row in rows], want_hidden)
        place = {row: k for k, row in enumerate(rows)}
        for chunk in chunks_of_rows(sorted(rows, key=lengths.__getitem__), lengths, beginnings.cells_a_row, ids.device):
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


def chunks_of_rows(order: Sequence[int], lengths: Sequence[int], besides: int, device: torch.device) -> list[list[int]]:
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
