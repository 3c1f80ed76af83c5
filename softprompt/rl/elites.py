"""Elite replay: the best programs found so far stay teachers (self-imitation, Oh et al. 2018, arXiv 1806.05635)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from softprompt.rl.ppo import masked_mean


@dataclass(frozen=True)
class Elite:
    """A program worth repeating.

    Attributes:
        ids: token ids of the response, its end token included.
        fitness: how good it is.
        instruction: which of its terrain's instructions it was written behind.
    """

    ids: tuple[int, ...]
    fitness: float
    instruction: int = 0


@dataclass(frozen=True)
class EliteBatch:
    """Elites of several terrains as tensors, best first within a terrain.

    Attributes:
        ids: right-padded, shape (b, l) int64.
        mask: which cells are real, shape (b, l) bool.
        prompt: index of the prompt that learns each, shape (b,) int64.
        fitness: shape (b,) float32.
        instruction: which of its terrain's instructions each was written behind, shape (b,) int64.
    """

    ids: Tensor
    mask: Tensor
    prompt: Tensor
    fitness: Tensor
    instruction: Tensor

    def in_turn(self, step: int, size: int | None) -> EliteBatch:
        """Returns the programs whose turn it is: dealt into parts, of which every step takes the next.

        Args:
            step: which one, from 0.
            size: how many programs of a prompt a part has at most; None for all.
        """
        if size is None:
            return self
        same = self.prompt[:, None] == self.prompt
        rank, count = same.tril(-1).sum(1), same.sum(1)
        parts = (count + size - 1) // size
        return self.rows(rank % parts == step % parts)

    def rows(self, chosen: Tensor) -> EliteBatch:
        """Returns some of the programs, as a mask of shape (b,) or their indices tell."""
        return EliteBatch(*(getattr(self, field.name)[chosen] for field in fields(self)))


class EliteBuffer:
    """The k best distinct programs of each terrain. Of equally good ones the first found stays.

    The same tokens behind another instruction are another program.
    """

    def __init__(self, n_terrains: int, k: int) -> None:
        """Starts empty.

        Args:
            n_terrains: how many terrains there are.
            k: programs kept per terrain.

        Raises:
            ValueError: k is less than 1.
        """
        if k < 1:
            raise ValueError(f"an elite buffer keeps at least 1 program per terrain, not {k}")
        self.k = k
        self._elites: list[list[Elite]] = [[] for _ in range(n_terrains)]

    def __len__(self) -> int:
        """Returns how many programs there are on all terrains."""
        return sum(len(elites) for elites in self._elites)

    def best(self, terrain: int) -> tuple[Elite, ...]:
        """Returns a terrain's elites, best first."""
        return tuple(self._elites[terrain])

    def add(self, terrain: int, ids: Iterable[int], fitness: float, instruction: int = 0) -> bool:
        """Offers a program; returns whether it entered or rose. One already known keeps its higher fitness.

        A program without tokens, or whose fitness is no number, is turned away.
        """
        new = Elite(tuple(ids), fitness, instruction)
        if not new.ids or not math.isfinite(fitness):
            return False
        known = self._elites[terrain]
        same = [elite for elite in known if (elite.ids, elite.instruction) == (new.ids, instruction)]
        if any(elite.fitness >= fitness for elite in same):
            return False
        others = [elite for elite in known if elite not in same]
        kept = sorted([*others, new], key=lambda elite: -elite.fitness)[: self.k]
        self._elites[terrain] = kept
        return new in kept

    def batch(self, terrains: Iterable[int] | None = None, best: int | None = None) -> EliteBatch:
        """Returns elites as tensors to learn from; an empty batch where there are none.

        Args:
            terrains: which terrains; None for all.
            best: at most this many of each; None for all k.
        """
        chosen = range(len(self._elites)) if terrains is None else terrains
        return as_batch((terrain, elite) for terrain in chosen for elite in self._elites[terrain][:best])

    def state_dict(self) -> dict[str, Any]:
        """Returns plain lists and numbers from which :meth:`load_state_dict` continues."""
        return {"elites": [[{**vars(e), "ids": list(e.ids)} for e in elites] for elites in self._elites]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the elites of another buffer, at most k of each terrain.

        Raises:
            ValueError: the other buffer had another number of terrains.
        """
        saved = state["elites"]
        if len(saved) != len(self._elites):
            raise ValueError(f"elites of {len(saved)} terrains do not fit a buffer of {len(self._elites)}")
        self._elites = [
            # States of before terrains had many instructions name none.
            [Elite(tuple(e["ids"]), e["fitness"], e.get("instruction", 0)) for e in elites][: self.k]
            for elites in saved
        ]


def as_batch(elites: Iterable[tuple[int, Elite]]) -> EliteBatch:
    """Returns programs as tensors, each with the index of the prompt that learns it."""
    rows = list(elites)
    lengths = torch.tensor([len(elite.ids) for _, elite in rows], dtype=torch.int64)
    mask = torch.arange(int(lengths.max()) if rows else 0) < lengths[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.int64)
    ids[mask] = torch.tensor([token for _, elite in rows for token in elite.ids], dtype=torch.int64)
    return EliteBatch(
        ids,
        mask,
        torch.tensor([prompt for prompt, _ in rows], dtype=torch.int64),
        torch.tensor([elite.fitness for _, elite in rows], dtype=torch.float32),
        torch.tensor([elite.instruction for _, elite in rows], dtype=torch.int64),
    )


def likelihood_loss(logprobs: Tensor, mask: Tensor) -> Tensor:
    """Returns nats per token, a scalar: minus the mean log-probability of the real tokens.

    Args:
        logprobs: of programs to imitate, shape (b, l), differentiable.
        mask: real tokens, shape (b, l) bool.
    """
    return -masked_mean(logprobs, mask)
