"""Carries a soft prompt from one number of rows to another: which rows stay, and where new ones go.

Rows that are given up are those that are missed least; new rows stand in front, where they are farthest from the
program and leave the distances between it and the old rows as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.rl.kl import k3

SHARE_AT_A_TIME = 2
"""Of the rows still there, at most one in so many is given up between two measurements."""

NEWBORN = -1


@dataclass(frozen=True)
class Resized:
    """A prompt of another size, and where its rows come from.

    Attributes:
        prompt: shape (n_new, d).
        source: row of the old prompt that each row was, or NEWBORN, shape (n_new,) int64.
    """

    prompt: Tensor
    source: Tensor

    def carry(self, values: Tensor) -> Tensor:
        """Takes along what belongs to the old rows, such as an optimizer's moments: zeros for new rows.

        Args:
            values: shape (n, ...), one entry for each row of the old prompt.

        Returns:
            Shape (n_new, ...).
        """
        known = (self.source != NEWBORN).reshape(-1, *[1] * (values.ndim - 1))
        return torch.where(known.to(values.device), values[self.source.clamp(min=0)], 0)


def resize(prompt: Tensor, n_soft_tokens: int, born: Tensor | None = None, kept: Tensor | None = None) -> Resized:
    """Returns a prompt of ``n_soft_tokens`` rows; of the same size it is the identity.

    Args:
        prompt: shape (n, d).
        n_soft_tokens: rows of the new prompt.
        born: candidates for new rows, shape (at least n_soft_tokens - n, d); needed to grow.
        kept: ascending indices of the rows that stay, shape (n_soft_tokens,), from :func:`rows_to_keep`; needed to
            shrink.

    Raises:
        ValueError: the new size is below 1, or what it needs is not there.
    """
    n = len(prompt)
    if n_soft_tokens < 1:
        raise ValueError(f"a prompt has at least 1 row, not {n_soft_tokens}")
    missing = n_soft_tokens - n
    if missing > 0:
        if born is None or len(born) < missing:
            raise ValueError(f"{missing} new rows are needed to grow from {n} to {n_soft_tokens}")
        source = torch.cat([torch.full((missing,), NEWBORN), torch.arange(n)])
        return Resized(torch.cat([born[:missing].to(prompt), prompt]), source)
    if missing == 0:
        return Resized(prompt.clone(), torch.arange(n))
    if kept is None or len(kept) != n_soft_tokens:
        raise ValueError(f"{n_soft_tokens} rows to keep are needed to shrink from {n} to {n_soft_tokens}")
    source = kept.cpu().to(torch.int64)
    return Resized(prompt[source.to(prompt.device)].clone(), source)


def rows_to_keep(
    lm: FrozenLM, prompt: Tensor, n_keep: int, instructions: Sequence[tuple[int, ...]], ids: Tensor, mask: Tensor
) -> Tensor:
    """Chooses the rows without which the output would change most.

    The prompt is tried without each of its rows in turn, on programs that it wrote; up to half of the rows, those
    whose loss moves the tokens' distribution least, are given up, and the rest is tried again, until few enough are
    left.

    Args:
        lm: the frozen language model.
        prompt: shape (n, d).
        n_keep: how many rows stay, at least 1 and at most n.
        instructions: token ids that each program stands behind.
        ids: stored programs, right-padded, shape (b, l).
        mask: which cells are real, shape (b, l) bool.

    Returns:
        Ascending indices of the rows that stay, shape (n_keep,) int64.

    Raises:
        ValueError: n_keep is out of range.
    """
    if not 1 <= n_keep <= len(prompt):
        raise ValueError(f"of {len(prompt)} rows between 1 and {len(prompt)} can stay, not {n_keep}")
    kept = torch.arange(len(prompt))
    with torch.no_grad():
        owners = torch.zeros(len(ids), dtype=torch.int64)
        whole, _ = evaluate(lm, prompt[None], instructions, ids, mask, prompt_of=owners)
        while len(kept) > n_keep:
            damage = _damage(lm, prompt[kept.to(prompt.device)], whole, instructions, ids, mask)
            give_up = min(len(kept) - n_keep, max(1, len(kept) // SHARE_AT_A_TIME))
            order = damage.argsort(stable=True)
            kept = kept[order[give_up:].sort().values]
    return kept


def _damage(
    lm: FrozenLM, prompt: Tensor, whole: Tensor, instructions: Sequence[tuple[int, ...]], ids: Tensor, mask: Tensor
) -> Tensor:
    """Token KL from the whole prompt to this one without each of its rows, nats a token, shape (n,) on the CPU."""
    n, b = len(prompt), len(ids)
    others = torch.stack([torch.cat([torch.arange(i), torch.arange(i + 1, n)]) for i in range(n)])
    candidates = prompt[others.to(prompt.device)]
    owners = torch.arange(n).repeat_interleave(b)
    logprobs, _ = evaluate(
        lm, candidates, list(instructions) * n, ids.repeat(n, 1), mask.repeat(n, 1), prompt_of=owners
    )
    kl = k3(whole.repeat(n, 1), logprobs) * mask.repeat(n, 1)
    return (kl.reshape(n, -1).sum(1) / mask.sum()).cpu()
