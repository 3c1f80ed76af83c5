"""What a user's function prints goes to the log, and not between the lines of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any, TextIO

LOG = logging.getLogger(__name__)

MOST_KEPT = 10_000
"""Characters of one call's prints that reach the log."""

_lock = Lock()
_printed: dict[int, list[str]] = {}
"""What each thread printed that prints for the log."""


class _Split:
    """A stream that is another one for all threads but those that print for the log."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        printed = _printed.get(get_ident())
        if printed is None:
            return self.stream.write(text)
        if sum(map(len, printed)) < MOST_KEPT:
            printed[:] = ["".join(printed) + text[:MOST_KEPT]]
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def quiet(called: str) -> Iterator[None]:
    """Sends what this thread prints to the log, at level INFO, while the block runs; other threads print as they did.

    Args:
        called: what the log calls the code in the block.
    """
    me = get_ident()
    with _lock:
        _printed[me] = []
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Split):
                setattr(sys, name, _Split(stream))
    try:
        yield
    finally:
        with _lock:
            printed = "".join(_printed.pop(me)).rstrip()
            for name in ("stdout", "stderr") if not _printed else ():
                stream = getattr(sys, name)
                if isinstance(stream, _Split):
                    setattr(sys, name, stream.stream)
        if printed:
            LOG.info("%s printed: %s", called, printed)
