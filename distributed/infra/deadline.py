"""Calls into libraries that may hang: they get a thread of their own, and so much time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, action: Callable[[], T]) -> T:
    """Does something in another thread, and waits for it so long.

    An action that takes longer is left behind: its thread goes on, ends with the process at the latest, and what it
    gives or raises is lost.

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
