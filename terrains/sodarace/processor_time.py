"""Ends a process that uses more processor time than it may: the same limit beside a busy machine as on an idle one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition, Thread, current_thread

import psutil

SHORTEST_SLEEP = 0.005
"""Seconds between two looks at a process that is about to reach its limit."""


@dataclass(eq=False)
class Watched:
    """A process that is being watched.

    Attributes:
        process: the process.
        before: processor time it had used when the watch began, in seconds; None where nobody can tell.
        began: when the watch began, in seconds of `time.monotonic`.
        due: when the process can have reached its limit at the earliest, on the same clock.
        ended: whether it reached its limit and was ended.
    """

    process: psutil.Process
    before: float | None
    began: float
    due: float
    ended: bool = False

    def used(self) -> float:
        """Seconds of processor time since the watch began; those on the clock where nobody can tell.

        Not above 0 for a process that has ended: it did so by itself, or somebody else ended it.
        """
        now = None if self.before is None else _processor_time(self.process)
        return time.monotonic() - self.began if now is None or self.before is None else now - self.before


class ProcessorTimeLimit:
    """Watches processes, from a thread of its own, and ends those that use too much processor time.

    Processor time is what the kernel accounts a process for, and stands still while other processes have the
    processor. A process that never gets any is ended too, in the end. May be used by several threads at once.

    Args:
        seconds: processor time that a process may use while it is watched.
        patience: seconds on the clock after which it is ended whatever it has used.
    """

    def __init__(self, seconds: float, patience: float) -> None:
        self._seconds, self._patience = seconds, patience
        self._watched: set[Watched] = set()
        self._changed = Condition()
        self._idle = False
        self._thread: Thread | None = None

    @contextmanager
    def watch(self, process: psutil.Process) -> Iterator[Watched]:
        """Watches a process while the block runs.

        Its ``ended`` says afterwards whether the process went beyond its limit. When the block is left no signal is
        on its way any more, so that the process may be given other work.
        """
        began = time.monotonic()
        watched = Watched(process, _processor_time(process), began, began + min(self._seconds, self._patience))
        with self._changed:
            self._start()
            self._watched.add(watched)
            if self._idle:
                self._changed.notify_all()
        try:
            yield watched
        finally:
            with self._changed:
                self._watched.discard(watched)
                # Nobody looked between the limit and the end of the work.
                if time.monotonic() >= watched.due and not watched.ended:
                    watched.ended = watched.used() >= self._seconds

    def close(self) -> None:
        """Ends the thread. Safe to call twice; the next watch starts it again."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._look_after, name="processor-time", daemon=True)
            self._thread.start()

    def _look_after(self) -> None:
        with self._changed:
            me = current_thread()  # self._thread may already be another one, or none
            while self._thread is me:
                now = time.monotonic()
                for watched in self._watched:
                    if not watched.ended and now >= watched.due:
                        self._look_at(watched, now)
                due = min((each.due for each in self._watched if not each.ended), default=None)
                # Who is watched from now on is due after those of now: only an idle thread has to be told.
                self._idle = due is None
                self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))

    def _look_at(self, watched: Watched, now: float) -> None:
        left = self._seconds - watched.used()
        if left > 0 and now - watched.began < self._patience:
            watched.due = min(now + max(left, SHORTEST_SLEEP), watched.began + self._patience)
            return
        watched.ended = True
        with suppress(psutil.Error):
            watched.process.kill()


def _processor_time(process: psutil.Process) -> float | None:
    """Seconds of processor time of a process, 0 of one that has ended, or None where nobody can tell."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.Error:
        return None
    return float(times.user + times.system)
