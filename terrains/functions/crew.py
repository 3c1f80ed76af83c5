"""Calls into code that may hang: some side by side, each with a deadline. What is late is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

from terrains.calls import Done, result
from terrains.errors import WorldError

T = TypeVar("T")

WRONG = (Exception, SystemExit)
"""What a call may raise and others go on; not a signal's KeyboardInterrupt."""

MOST_LEFT_BEHIND = 64
"""Calls that may be going on though nobody waits for them any more."""


class Crew:
    """Makes calls in threads that end with the process at the latest, whatever they are doing then.

    Args:
        threads: calls side by side.
        deadline_s: seconds a call may take; 0 for as long as it takes.
    """

    def __init__(self, threads: int, deadline_s: float) -> None:
        self._threads, self._deadline = threads, deadline_s or float("inf")
        self._left_behind: list[threading.Thread] = []

    def do(self, calls: Sequence[Callable[[], T]], enough: Callable[[Done[T]], bool]) -> list[Done[T] | None]:
        """Makes calls, until one of them was enough.

        Args:
            calls: what to do.
            enough: whether, after such a result, no other call is needed.

        Returns:
            What became of each, in order; None for those that were not needed.

        Raises:
            WorldError: too many calls were left behind, and are still going on.
        """
        if self._threads == 1 and self._deadline == float("inf"):
            return self._in_this_thread(calls, enough)
        answers: SimpleQueue[tuple[int, Done[T]]] = SimpleQueue()
        done: list[Done[T] | None] = [None] * len(calls)
        running: dict[int, tuple[threading.Thread, float]] = {}
        begun, over = 0, False
        while True:
            while begun < len(calls) and len(running) < self._threads and not over:
                self._check()
                thread = threading.Thread(target=_act, args=(begun, calls[begun], answers), daemon=True)
                running[begun] = thread, time.monotonic() + self._deadline
                thread.start()
                begun += 1
            if over or not running:
                self._left_behind += [thread for thread, _ in running.values()]
                return done
            for place, found in self._next(answers, running):
                done[place] = found
                over = over or enough(found)

    def _next(
        self, answers: SimpleQueue[tuple[int, Done[T]]], running: dict[int, tuple[threading.Thread, float]]
    ) -> list[tuple[int, Done[T]]]:
        """Waits until a call has ended, or is late, and takes it out of those that are running."""
        due = min(due for _, due in running.values())
        try:
            place, found = answers.get(timeout=None if due == float("inf") else max(0.0, due - time.monotonic()))
        except Empty:
            late = [place for place, (_, due) in running.items() if due <= time.monotonic()]
            self._left_behind += [running.pop(place)[0] for place in late]
            return [(place, Done(late=True)) for place in late]
        return [(place, found)] if running.pop(place, None) else []

    def _check(self) -> None:
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            raise WorldError(
                f"{len(self._left_behind)} calls of reward functions are going on long after their deadline of "
                f"{self._deadline:g} s: what they wait for does not answer"
            )

    def _in_this_thread(
        self, calls: Sequence[Callable[[], T]], enough: Callable[[Done[T]], bool]
    ) -> list[Done[T] | None]:
        done: list[Done[T] | None] = [None] * len(calls)
        for place, call in enumerate(calls):
            found = done[place] = result(call, WRONG)
            if enough(found):
                break
        return done


def _act(place: int, call: Callable[[], T], answers: SimpleQueue[tuple[int, Done[T]]]) -> None:
    answers.put((place, result(call)))
