"""Repairs prompts after surgery: they learn, on stored programs, to say what the prompts before them said.

Token KL to the donor's distribution, with Adam on the new prompts alone; nothing is sampled and nothing simulated
(prompts as students of prompts: after Hinton et al. 2015, arXiv 1503.02531, section 2, at temperature 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from softprompt.logprobs.beginnings import LINEAR_HEADS
from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.rl.kl import k3

MOST_LOGITS = 2**24
"""Logits held at a time while a divergence is only measured."""


@dataclass(frozen=True)
class StoredPrograms:
    """Programs of several terrains to compare prompts on.

    Attributes:
        ids: right-padded, shape (b, l) int64.
        mask: which cells are real, shape (b, l) bool.
        terrain: shape (b,) int64.
        instructions: token ids that each program stands behind.
    """

    ids: Tensor
    mask: Tensor
    terrain: Tensor
    instructions: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Returns how many programs there are."""
        return len(self.ids)

    def of_terrain(self, terrain: int, most: int) -> tuple[list[tuple[int, ...]], Tensor, Tensor]:
        """Returns instructions, ids and mask, each (at most ``most``, l), of a terrain's first programs."""
        rows = (self.terrain == terrain).nonzero()[:most, 0]
        width = int(self.mask[rows].sum(1).max()) if len(rows) else 0
        instructions = [self.instructions[row] for row in rows.tolist()]
        return instructions, self.ids[rows][:, :width], self.mask[rows][:, :width]


class Donor:
    """What some prompts make of stored programs; other prompts are measured against it.

    The divergence is that of whole distributions over the vocabulary. For models whose logits are not the head's linear
    map of the last hidden state it is estimated from the stored tokens, by k3.
    """

    def __init__(self, lm: FrozenLM, prompts: Tensor, programs: StoredPrograms) -> None:
        """Evaluates the stored programs.

        Args:
            lm: the frozen language model.
            prompts: of all terrains, shape (n_terrains, n, d).
            programs: at least one.

        Raises:
            ValueError: there are no programs.
        """
        if not len(programs):
            raise ValueError("there are no stored programs to compare prompts on")
        self.lm, self.programs = lm, programs
        self._whole = lm.model.config.model_type in LINEAR_HEADS
        with torch.no_grad():
            self._logprobs, self._hidden = self._evaluate(prompts, torch.arange(len(programs)))

    def kl(self, prompts: Tensor, rows: Tensor) -> Tensor:
        """Returns the divergence from the donor to other prompts, nats a token, a scalar; differentiable.

        Args:
            prompts: of all terrains, shape (n_terrains, m, d).
            rows: which programs to compare on, shape (b,).
        """
        mask = self.programs.mask[rows]
        logprobs, hidden = self._evaluate(prompts, rows)
        if hidden is None or self._hidden is None:
            return k3(self._logprobs[rows], logprobs)[mask].mean()
        head = self.lm.model.get_output_embeddings()
        theirs = head(self._hidden[rows][mask]).float().log_softmax(dim=-1)
        ours = head(hidden[mask]).float().log_softmax(dim=-1)
        return (theirs.exp() * (theirs - ours)).sum(dim=-1).mean()

    def distance(self, prompts: Tensor) -> float:
        """Returns the divergence to other prompts over all stored programs, nats a token; see :meth:`kl`."""
        mask = self.programs.mask
        at_a_time = max(1, MOST_LOGITS // (mask.shape[1] * self.lm.vocab_size))
        total = 0.0
        with torch.no_grad():
            for rows in torch.arange(len(mask)).split(at_a_time):
                total += self.kl(prompts, rows).item() * int(mask[rows].sum())
        return total / int(mask.sum())

    def _evaluate(self, prompts: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        stored = self.programs
        terrain = stored.terrain[rows]
        instructions = [stored.instructions[row] for row in rows.tolist()]
        ids, mask = stored.ids[rows], stored.mask[rows]
        return evaluate(self.lm, prompts, instructions, ids, mask, self._whole, terrain)


@dataclass(frozen=True)
class Distilled:
    """Prompts after distillation.

    Attributes:
        prompts: shape (n_terrains, m, d).
        kl_before: divergence from the donor before, nats a token.
        kl_after: divergence from the donor after.
    """

    prompts: Tensor
    kl_before: float
    kl_after: float


def distill(
    donor: Donor, prompts: Tensor, steps: int, generator: Generator, lr: float = 0.02, batch_size: int = 12
) -> Distilled:
    """Moves prompts towards saying what the donor's prompts say.

    The learning rate falls to zero along half a cosine. Should the prompts be no nearer at the end, which a learning
    rate too high can bring about, they are returned as they were.

    Args:
        donor: the prompts to be like, with the programs to learn on.
        prompts: where to start, shape (n_terrains, m, d).
        steps: steps of Adam; 0 only measures.
        generator: decides which programs each step sees.
        lr: first learning rate.
        batch_size: programs a step.
    """
    before = donor.distance(prompts)
    weight = prompts.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=lr)
    order = torch.zeros(0, dtype=torch.int64)
    for step in range(steps):
        if not len(order):
            order = torch.randperm(len(donor.programs), generator=generator)
        rows, order = order[:batch_size], order[batch_size:]
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        donor.kl(weight, rows).backward()
        optimizer.step()
    after = donor.distance(weight) if steps else before
    if after < before:
        return Distilled(weight.detach(), before, after)
    return Distilled(prompts.detach().clone(), before, before)
