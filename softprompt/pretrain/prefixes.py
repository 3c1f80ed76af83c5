"""Prefixes for Stage 2: what makes a language model ready for soft prompts.

A model that was never trained behind soft prompts writes broken programs behind one, and a model that was trained only
behind prompts unrelated to the program learns to ignore them. So Stage 2 does with every batch what training will later
do with every terrain: it puts an untrained prompt before each program and tunes that prompt by gradient descent on the
program's likelihood, while the model learns from the same gradients. While a prompt is untuned the model learns to
write valid programs in spite of it; once it is tuned, the model learns to use what an optimizer has written into it.
Both gradients come from one backward pass, so a tuned prefix costs no more than a fixed one. For programs that come
with a hint, the prefix can be the hint's tokens.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from softprompt.pretrain.hint_prefixes import Hints, copied, disturbed
from softprompt.prompts.init import vocabulary_rows

Batch = Sequence[Sequence[int]]
"""Token ids of some programs."""


class PrefixConfig(BaseModel):
    """How prefixes are drawn and tuned during pretraining."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    none: float = Field(0.35, ge=0, le=1)
    """Share of steps without any prefix."""
    untrained: float = Field(0.15, ge=0, le=1)
    """Share of steps behind prefixes that were never tuned, of every size."""
    hinted: float = Field(0.0, ge=0, le=1)
    """Share of steps behind tokens of the programs' hints, of every size; in the rest prefixes are being tuned."""
    max_rows: int = Field(50, ge=1)
    """Longest prefix; of those that are tuned many have 20 rows."""
    slots: int = Field(24, ge=1)
    """Batches whose prefixes are being tuned at the same time; each step takes one of them."""
    visits: int = Field(10, ge=1)
    """Steps that a batch's prefixes are tuned for, on average; then a new batch takes the slot."""
    lr: float = Field(0.1, gt=0)
    """Learning rate of the prefixes; each slot has half of it, all of it, or twice as much."""

    @model_validator(mode="after")
    def _shares_are_parts_of_one(self) -> Self:
        if self.none + self.untrained + self.hinted > 1 + 1e-9:
            hinted = f", hinted {self.hinted:g}" if self.hinted else ""
            shares = f"none {self.none:g}, untrained {self.untrained:g}{hinted}"
            raise ValueError(f"{shares} are shares of steps: at most 1 together")
        return self


class Slot:
    """A batch of programs and the prefixes that are being tuned on it, one prefix a program, by Adam.

    Args:
        programs: token ids of the batch.
        rows: untrained prefixes, shape (len(programs), n, d).
        lr: learning rate.
        visits: how often the slot is used.
    """

    def __init__(self, programs: Batch, rows: Tensor, lr: float, visits: int) -> None:
        self.programs, self.rows = programs, rows.requires_grad_()
        self.left = visits
        self.lr = lr
        # Short memories: a prefix is tuned in a few steps, and the model moves meanwhile.
        self._optimizer = torch.optim.Adam([self.rows], lr=lr, betas=(0.8, 0.9), eps=1e-12)

    def tune(self) -> None:
        """Makes one step of Adam along the gradient that is there; it does not depend on the batch's size."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.left -= 1

    def state_dict(self) -> dict[str, Any]:
        """What another slot goes on from."""
        moments = self._optimizer.state_dict()
        programs = [list(program) for program in self.programs]
        return {"programs": programs, "rows": self.rows, "lr": self.lr, "left": self.left, "optimizer": moments}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device) -> Self:
        """Makes the slot that a state was of."""
        slot = cls(state["programs"], state["rows"].detach().to(device), state["lr"], state["left"])
        slot._optimizer.load_state_dict(state["optimizer"])
        return slot


class TunedPrefixes:
    """Chooses what stands before each batch: nothing, untrained or hinted prefixes, or those of one of its slots.

    Args:
        embedding: token embedding of the model in training, shape (vocab, d).
        token_counts: how often each token stands in the corpus, shape (vocab,).
        config: shares, sizes and rates.
        seed: where every choice comes from.
        special_ids: tokens whose rows no prompt starts from.
        hints: tokens that go with the programs.
    """

    def __init__(
        self,
        embedding: Tensor,
        token_counts: Tensor,
        config: PrefixConfig,
        seed: int,
        special_ids: Collection[int] = (),
        hints: Hints | None = None,
    ) -> None:
        self.config = config
        self._hints = hints or {}
        self._embedding = embedding
        self._counts = token_counts.numpy().astype(np.float64)
        self._counts[list(special_ids)] = 0
        self._rng = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._slots: list[Slot] = []

    def next(self, batches: Iterator[Batch]) -> tuple[Batch, Slot | None]:
        """Returns the programs of the next step, and the slot that holds their prefixes, or None for no prefix."""
        share = self._rng.random()
        if share < self.config.none:
            return next(batches), None
        if share < self.config.none + self.config.untrained:
            programs = next(batches)
            rows = self.untrained(len(programs), self._rng.randint(1, self.config.max_rows))
            return programs, Slot(programs, rows, self.config.lr, visits=1)
        if share < self.config.none + self.config.untrained + self.config.hinted:
            programs = next(batches)
            rows = self.hinted(programs, self._rng.randint(1, self.config.max_rows))
            return programs, Slot(programs, rows, self.config.lr, visits=1)
        while len(self._slots) < self.config.slots:
            self._slots.append(self._new(next(batches)))
        k = self._rng.randrange(len(self._slots))
        if self._slots[k].left == 0:
            self._slots[k] = self._new(next(batches))
        return self._slots[k].programs, self._slots[k]

    def untrained(self, count: int, rows: int) -> Tensor:
        """Returns prefixes unrelated to any program, shape (count, rows, d): common tokens, one token, noise, zeros."""
        embedding = self._embedding.detach()
        form = self._rng.random()
        if form < 0.6:
            return self.from_vocabulary(count, rows)
        if form < 0.75:
            return self.from_vocabulary(count, 1).expand(count, rows, -1).clone()
        scale = self._rng.choice([0.0, 0.3, 1.0, 1.0, 2.0]) * embedding.norm(dim=1).mean() / embedding.shape[1] ** 0.5
        return scale * torch.randn(count, rows, embedding.shape[1], generator=self._generator).to(embedding.device)

    def hinted(self, programs: Batch, rows: int) -> Tensor:
        """Returns prefixes of tokens of each program's own hint, shape (len(programs), rows, d), some disturbed.

        A program without a hint gets common tokens.
        """
        embedding = self._embedding.detach()
        hints = [self._hints.get(tuple(program)) for program in programs]
        prefixes = [
            embedding[torch.tensor(copied(hint, rows, self._rng), device=embedding.device)].float()
            if hint
            else self.from_vocabulary(1, rows)[0]
            for hint in hints
        ]
        return disturbed(torch.stack(prefixes), self._rng, self._generator)

    def from_vocabulary(self, count: int, rows: int) -> Tensor:
        """Returns prefixes initialised from the vocabulary as prompts are, shape (count, rows, d)."""
        embedding = self._embedding.detach()
        return torch.stack([vocabulary_rows(embedding, self._counts, rows, self._generator) for _ in range(count)])

    def state_dict(self) -> dict[str, Any]:
        """All chance and all slots, as they are now."""
        slots = [slot.state_dict() for slot in self._slots]
        return {"random": self._rng.getstate(), "generator": self._generator.get_state(), "slots": slots}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another with the same settings was."""
        self._rng.setstate(state["random"])
        self._generator.set_state(state["generator"])
        self._slots = [Slot.from_state(slot, self._embedding.device) for slot in state["slots"]]

    def _new(self, programs: Batch) -> Slot:
        rows = self._rng.choice([20, 20, self._rng.randint(1, 20), self._rng.randint(1, self.config.max_rows)])
        rows = min(rows, self.config.max_rows)
        lr = self.config.lr * self._rng.choice([0.5, 1.0, 2.0])
        return Slot(programs, self.untrained(len(programs), rows), lr, self._rng.randint(1, 2 * self.config.visits - 1))
