"""Turns SIGINT and SIGTERM into a way to end a run in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """SIGINT or SIGTERM came. No Exception, so that nothing on its way takes it for an error."""


@contextmanager
def interruptible(raising: bool = True) -> Iterator[list[int]]:
    """Lets SIGINT and SIGTERM raise `Interrupted`; a second one ends the process as it always did.

    Args:
        raising: False only notes the signal, for loops that ask between two steps.

    Enter it after Ray is connected: ``ray.init`` puts a handler of its own in the place of SIGTERM's.

    Yields:
        A list that holds the signal's number once it has come. Ask it, not the exception: raised in the middle of a
        call into Ray, `Interrupted` comes out as a SystemError, and raised while an object is deleted it is lost.
    """
    received: list[int] = []

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        restore()
        if raising:
            raise Interrupted(number)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()


def exit_status(number: int) -> int:
    """The status with which a process ends that a signal has ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number
