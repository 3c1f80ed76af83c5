"""What the policy thinks of programs already written: teacher-forced log-probabilities behind soft prompts.

Sequences are ``[soft prompt; instruction; response]`` without gaps, padding last. A causal model never looks ahead,
so padding cannot reach what stands before it: no attention mask is needed, and attention takes its fast causal path.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softprompt.model import FrozenLM
from softprompt.token_logprobs import token_logprobs

LINEAR_HEADS = ("llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox")
"""Model types whose logits are the head's linear map of the last hidden state; others may scale or cap them."""

CPU_CHUNK_CELLS = 2048
ACCELERATOR_CHUNK_CELLS = 65536


def evaluate(
    lm: FrozenLM,
    prompts: Tensor | None,
    instruction: Tensor | Sequence[Sequence[int]],
    ids: Tensor,
    mask: Tensor,
    want_hidden: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Returns log-probabilities of responses under the model's own distribution (temperature 1).

    Gradients flow into ``prompts``, and into what of the model is trained (:mod:`softprompt.unfreezing`). The reference
    policy is the same call with the frozen model and ``prompts=None`` under ``no_grad``. Rows are taken in order of
    length, a few at a time, so that padding costs little and what is in work fits the caches of a CPU.

    Args:
        lm: the language model.
        prompts: each row's soft prompt, shape (b, n_soft_tokens, d_model), or None for the bare model.
        instruction: token ids of the hard prompt, shape (n,), or one sequence per row.
        ids: token ids of the responses, right-padded, shape (b, l).
        mask: which cells of ``ids`` are real, shape (b, l) bool.
        want_hidden: return the hidden states too, for a critic.

    Returns:
        Log-probabilities, shape (b, l) float32, and hidden states, shape (b, l, d_model), or None. Those of cell t
        are the ones before token t is seen, from which it is predicted. Cells that are not real are zero.

    Raises:
        ValueError: a row has neither prompt nor instruction, padding stands before a token, or the sequence is too
            long for the model.
    """
    n_soft_tokens = 0 if prompts is None else prompts.shape[1]
    before = _instructions(instruction, len(ids), ids.device)
    lengths = mask.sum(dim=1).tolist()
    _check(lm, n_soft_tokens, before, lengths, mask)
    totals = [n_soft_tokens + len(row) + length for row, length in zip(before, lengths, strict=True)]
    order = sorted((row for row in range(len(ids)) if lengths[row]), key=totals.__getitem__)

    rows_done, logprobs, hidden = [], [], []
    limit = CPU_CHUNK_CELLS if ids.device.type == "cpu" else ACCELERATOR_CHUNK_CELLS
    for rows in _chunks(order, totals, limit):
        index = torch.tensor(rows, device=ids.device)
        chunk_prompts = None if prompts is None else prompts[index]
        chunk_lengths, chunk_before = [lengths[row] for row in rows], [before[row] for row in rows]
        sequences = [torch.cat([head, ids[row, : lengths[row]]]) for row, head in zip(rows, chunk_before, strict=True)]
        starts = [len(head) for head in chunk_before]
        result = _evaluate_chunk(lm, chunk_prompts, sequences, starts, chunk_lengths, want_hidden)
        rows_done += rows
        logprobs.append(result[0])
        hidden.append(result[1])

    cells = _real_cells(rows_done, lengths, ids.device)
    flat = torch.zeros(ids.shape, device=ids.device)
    if not rows_done:
        return flat, torch.zeros(*ids.shape, lm.d_model, device=ids.device) if want_hidden else None
    flat = flat.index_put(cells, torch.cat(logprobs))
    if not want_hidden:
        return flat, None
    states = torch.cat(hidden)
    return flat, states.new_zeros(*ids.shape, states.shape[-1]).index_put(cells, states)


def _evaluate_chunk(
    lm: FrozenLM,
    prompts: Tensor | None,
    sequences: list[Tensor],
    starts: list[int],
    lengths: list[int],
    want_hidden: bool,
) -> tuple[Tensor, Tensor]:
    """Returns log-probabilities (cells,) and hidden states (cells, d_model) of all real response tokens, row by row.

    Args:
        lm: the frozen language model.
        prompts: shape (rows, n_soft_tokens, d_model) or None.
        sequences: each row's instruction and response.
        starts: where each row's response begins in its sequence.
        lengths: tokens of each response.
        want_hidden: whether hidden states are asked for.
    """
    device = sequences[0].device
    # Nothing is predicted from the last token, so it is not read.
    inputs = lm.embed(nn.utils.rnn.pad_sequence([row[:-1] for row in sequences], batch_first=True))
    if prompts is not None:
        inputs = torch.cat([prompts.to(inputs.dtype), inputs], dim=1)
    n_soft_tokens = 0 if prompts is None else prompts.shape[1]
    rows = torch.arange(len(sequences), device=device).repeat_interleave(torch.tensor(lengths, device=device))
    spans = [torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    positions = torch.cat(spans).to(device) + n_soft_tokens - 1
    targets = torch.cat([row[start:] for row, start in zip(sequences, starts, strict=True)])

    head = lm.model.get_output_embeddings()
    frozen_head = not (torch.is_grad_enabled() and head.weight.requires_grad)
    if frozen_head and lm.model.config.model_type in LINEAR_HEADS and type(head) is nn.Linear:
        hidden = lm.model.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state[rows, positions]
        return token_logprobs(hidden, head.weight, head.bias, targets), hidden
    output = lm.model(inputs_embeds=inputs, use_cache=False, output_hidden_states=want_hidden)
    logits = output.logits[rows, positions].float()
    hidden = output.hidden_states[-1][rows, positions] if want_hidden else logits
    return logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0], hidden


def _chunks(order: list[int], totals: list[int], limit: int) -> list[list[int]]:
    """Cuts rows, shortest first, into runs of at most ``limit`` cells, padding included."""
    chunks: list[list[int]] = []
    for row in order:
        if chunks and (len(chunks[-1]) + 1) * totals[row] <= limit:
            chunks[-1].append(row)
        else:
            chunks.append([row])
    return chunks


def _real_cells(rows: list[int], lengths: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns row and column of every response token of these rows, in order."""
    counts = torch.tensor([lengths[row] for row in rows], dtype=torch.int64)
    columns = torch.cat([torch.arange(lengths[row]) for row in rows]) if rows else counts
    return torch.tensor(rows, dtype=torch.int64).repeat_interleave(counts).to(device), columns.to(device)


def _instructions(instruction: Tensor | Sequence[Sequence[int]], n_rows: int, device: torch.device) -> list[Tensor]:
    """Returns one tensor of token ids per row."""
    if isinstance(instruction, Tensor):
        return [instruction.to(device)] * n_rows
    if len(instruction) != n_rows:
        raise ValueError(f"{len(instruction)} instructions for {n_rows} responses")
    return [torch.tensor(row, dtype=torch.int64, device=device) for row in instruction]


def _check(lm: FrozenLM, n_soft_tokens: int, before: list[Tensor], lengths: list[int], mask: Tensor) -> None:
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("responses are right-padded: padding stands before a token here")
    if any(n_soft_tokens + len(row) == 0 for row in before):
        raise ValueError("nothing to begin with: give the row an instruction or a soft prompt")
    longest = max((n_soft_tokens + len(row) + length for row, length in zip(before, lengths, strict=True)), default=0)
    if lm.max_length is not None and longest > lm.max_length:
        raise ValueError(f"prompt, instruction and response need {longest} positions; the model has {lm.max_length}")
