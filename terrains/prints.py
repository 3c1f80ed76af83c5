"""What a user's code prints is kept apart from what the program itself shows, whatever prints it, and however much."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from terrains.errors import one_line

_taking = threading.Lock()
"""Held by whoever takes what this process prints: there is one standard output, and blocks may lie in one another."""

MOST = 1 << 20
"""Bytes that are kept, on disk and for a moment; what comes after them takes their place."""

STREAMS = ("stdout", "stderr")


class Prints:
    """Takes what is printed while a block runs: by Python, by C code, and by processes that were started.

    Standard output and standard error of the process are a file meanwhile, as C code and other processes know no
    streams of Python's. A file, and not a pipe: nobody might come to read it, and the one who prints would wait.

    Attributes:
        first: the first line that was printed, empty for none.
    """

    def __init__(self) -> None:
        self.first = ""
        self._file: Any = None

    @contextmanager
    def taken(self, thread: int | None = None) -> Iterator[None]:
        """Takes what is printed while the block runs.

        Args:
            thread: identity of the thread that prints, beside those that are begun meanwhile; others write to Python's
                streams as ever. The current one for None.
        """
        if not _taking.acquire(blocking=False):
            yield
            return
        passing = {each.ident for each in threading.enumerate()} - {thread or threading.get_ident()}
        streams = {name: getattr(sys, name) for name in STREAMS}
        try:
            with self._descriptors():
                for name, stream in streams.items():
                    if stream is not None:
                        setattr(sys, name, _Apart(stream, passing, self._take))
                yield
        finally:
            for name, stream in streams.items():
                setattr(sys, name, stream)
            _taking.release()

    def trim(self) -> None:
        """Keeps the file small; to be called now and then while a block runs."""
        if self._file is None or (size := os.fstat(self._file.fileno()).st_size) == 0:
            return
        if not self.first:
            self._take(os.pread(self._file.fileno(), 4096, 0).decode("utf-8", "replace"))
        if size > MOST:
            os.ftruncate(self._file.fileno(), 0)

    def _take(self, text: str) -> None:
        if not self.first:
            self.first = next((one_line(line) for line in text.splitlines() if one_line(line)), "")

    @contextmanager
    def _descriptors(self) -> Iterator[None]:
        """Lets descriptors 1 and 2 be a file while the block runs, as far as there are such, and room for a file."""
        if self._file is None:
            with suppress(OSError):
                made = tempfile.TemporaryFile(buffering=0)
                flags = fcntl.fcntl(made, fcntl.F_GETFL)
                fcntl.fcntl(made, fcntl.F_SETFL, flags | os.O_APPEND)  # it goes on from 0 when it is cut
                self._file = made
        file, saved = self._file, dict[int, int]()
        if file is None:
            yield
            return
        for number in (1, 2):
            with suppress(OSError):
                saved[number] = os.dup(number)
        _flush()
        try:
            for number in saved:
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, before in saved.items():
                os.dup2(before, number)
                os.close(before)
            self.trim()
            os.ftruncate(file.fileno(), 0)


class _Apart:
    """A stream that goes on for some threads, and whose texts from all others are taken."""

    def __init__(self, stream: TextIO, passing: Collection[int | None], take: Callable[[str], None]) -> None:
        self._stream, self._passing, self._take = stream, passing, take

    def write(self, text: str) -> int:
        if threading.get_ident() in self._passing:
            return self._stream.write(text)
        self._take(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _flush() -> None:
    """Writes out what was printed before, as it would go into the file otherwise."""
    for name in STREAMS:
        for stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.flush()
