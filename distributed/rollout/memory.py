"""How much memory a worker holds, and whether that is a leak, such as of a user's world."""

from __future__ import annotations

from typing import NamedTuple

import psutil

SHARE = 0.8
"""Share of a machine's memory that its workers may hold together where no setting says how much one may."""

GROWN = 1.5
"""How many times as much as behind its first answer a process has to hold before that is a leak."""

GB = 1e9


class Memory(NamedTuple):
    """What a process holds, and what its machine has, in bytes."""

    held: int
    machine: int

    @classmethod
    def of_this_process(cls) -> Memory:
        """Measures this process."""
        return cls(psutil.Process().memory_info().rss, psutil.virtual_memory().total)


class Growth:
    """Follows one process from its first answer on.

    Args:
        most_gb: GB, of 1e9 bytes, that it may hold; None for its share of the machine's.
        workers: that share that machine.
    """

    def __init__(self, most_gb: float | None, workers: int) -> None:
        self._most_gb, self._workers = most_gb, workers
        self._first: Memory | None = None

    def leak(self, now: Memory | None) -> str:
        """Returns what is wrong with what a process holds now, in words; nothing where it is no leak."""
        if now is None:
            return ""
        if self._first is None:
            self._first = now
        most = self._most_gb * GB if self._most_gb is not None else SHARE * now.machine / self._workers
        if now.held <= most or now.held <= GROWN * self._first.held:
            return ""
        grown = f"from {self._first.held / GB:.3g} to {now.held / GB:.3g} GB"
        return f"leaks memory, perhaps its world's ({grown}; rollouts.max_worker_memory_gb is {most / GB:.3g})"
