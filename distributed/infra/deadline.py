"""Deadlines for calls into libraries that may hang: each runs in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, action: Callable[[], T]) -> T:
    """Runs an action in another thread, and waits for it at most so many seconds.

    An action that takes longer is abandoned: its thread goes on, until the process ends at the latest, and its
    result or exception is lost.

    Args:
        seconds: how long it may take.
        action: what to do.

    Returns:
        What the action returns.

    Raises:
        TimeoutError: it took longer.
        BaseException: what the action raises.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def act() -> None:
        try:
            given.append(action())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    if not given:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return given[0]
