"""In which order a corpus is gone through, with a state to go on from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softprompt.pretrain.prefixes import Batch


class BatchOrder(Iterator[Batch]):
    """Endless batches of programs of like length, in an order of their own every epoch.

    Args:
        programs: token ids of each.
        size: programs a batch.
        seed: of all orders.
    """

    def __init__(self, programs: Sequence[Sequence[int]], size: int, seed: int) -> None:
        self._programs, self._size = programs, size
        self._rng = random.Random(seed)
        self._begin()

    def __next__(self) -> Batch:
        """Returns the token ids of the next batch."""
        if self._made == len(self._chunks):
            self._begin()
        self._made += 1
        return [self._programs[i] for i in self._chunks[self._made - 1]]

    def state_dict(self) -> dict[str, Any]:
        """Where in the order it is: the chance from which the epoch was drawn, and how many batches are made."""
        return {"epoch": self._epoch, "made": self._made}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another of the same programs was."""
        self._rng.setstate(state["epoch"])
        self._begin()
        self._made = state["made"]

    def _begin(self) -> None:
        self._epoch, self._made = self._rng.getstate(), 0
        lengths = [len(program) for program in self._programs]
        order = sorted(range(len(lengths)), key=lambda i: lengths[i] + 12 * self._rng.random())
        self._chunks = [order[i : i + self._size] for i in range(0, len(order), self._size)]
        self._rng.shuffle(self._chunks)
