"""Lets SIGINT, SIGTERM, SIGHUP and a broken pipe end a run in good order."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_unread = threading.Event()
"""Set when nobody reads standard output any more."""

_broken = threading.Event()
"""Set when that is because the reader of a pipe has gone, and not because a terminal was closed."""


class Interrupted(BaseException):
    """One of the signals came. Not an Exception, so that no handler of errors catches it."""


@contextmanager
def interruptible(raising: bool = True) -> Iterator[list[int]]:
    """Lets signals, and a standard output that nobody reads any more, raise `Interrupted`.

    A second SIGINT or SIGTERM ends the process as it always did; a second SIGHUP does nothing, as a terminal that is
    closed sends several. SIGHUP that is ignored, as below nohup, stays so.

    Args:
        raising: False only notes the signal, for loops that check the list between two steps.

    Enter it after Ray is connected: ``ray.init`` puts a handler of its own in the place of SIGTERM's. Outside of the
    main thread it does nothing: signals come to that one.

    Yields:
        A list that holds the signal's number once it has come, SIGPIPE's for a broken pipe. Rely on it, not on the
        exception: raised in the middle of a call into Ray, `Interrupted` comes out as a SystemError, and raised while
        an object is deleted it is lost.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    _unread.clear()
    _broken.clear()

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(cause(number))
        for each, handler in before.items():
            signal.signal(each, signal.SIG_IGN if each == signal.SIGHUP else handler)
        if raising:
            raise Interrupted(received[-1])

    heard = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in heard}
    stdout = sys.stdout
    own = _own(stdout)
    if stdout is not None:  # as it is in programs without a terminal, on Windows
        sys.stdout = _Output(own or stdout, received, also=1 if own else None)  # type: ignore[assignment]
    try:
        yield received
    finally:
        sys.stdout = stdout
        if own:
            with suppress(OSError):
                own.close()
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def as_sigint(received: list[int]) -> Iterator[None]:
    """Turns the other signals into SIGINT, for libraries that stop in good order at that one only, as Tune does.

    Args:
        received: takes the signal's number when it comes.
    """

    def pass_on(number: int, _: Any) -> None:
        if not received:
            received.append(cause(number))
            os.kill(os.getpid(), signal.SIGINT)

    others = [each for each in SIGNALS if each != signal.SIGINT and signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, pass_on) for each in others}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def cause(number: int) -> int:
    """The signal that a process was ended by: SIGPIPE where this one was sent as nobody reads a pipe any more."""
    return signal.SIGPIPE if _broken.is_set() else number


def exit_status(number: int) -> int:
    """The status of a process that a signal has ended: 130 for SIGINT, 143 SIGTERM, 129 SIGHUP, 141 SIGPIPE."""
    return 128 + number


def say_last(text: str) -> None:
    """Prints the last line of an interrupted run: to standard error where nobody reads standard output."""
    with suppress(OSError):
        print(text, file=sys.stderr if _unread.is_set() else sys.stdout, flush=True)


def _own(stdout: TextIO | None) -> TextIO | None:
    """A stream to where standard output goes, on a descriptor of its own; None where that is not descriptor 1.

    What a run shows goes on there while descriptor 1 is a file, as it is while a user's world works, which may print.
    """
    try:
        if stdout is None or stdout.fileno() != 1:
            return None
        stdout.flush()
        return open(os.dup(1), "w", buffering=1, encoding=stdout.encoding, errors=stdout.errors)
    except (OSError, ValueError, AttributeError):  # the last of an object that is no file, as a notebook may have
        return None


class _Output:
    """Standard output. When its reader goes away, the process is told by a signal and what is written is dropped.

    The signal is SIGTERM for a pipe. For a terminal it is SIGHUP, which the system sends too, sooner or later than the
    first write fails.
    """

    def __init__(self, stream: TextIO, received: list[int], also: int | None) -> None:
        self._stream, self._received, self._also = stream, received, also

    def write(self, text: str) -> int:
        if not _unread.is_set():
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(hung_up=error.errno == errno.EIO)
        return len(text)

    def flush(self) -> None:
        if not _unread.is_set():
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(hung_up=error.errno == errno.EIO)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, hung_up: bool) -> None:
        _unread.set()
        if not hung_up:
            _broken.set()
        # What is still in buffers, and what is flushed when the interpreter ends, goes nowhere.
        with suppress(OSError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
            if self._also is not None:
                os.dup2(nowhere.fileno(), self._also)
        if not self._received:
            os.kill(os.getpid(), signal.SIGHUP if hung_up else signal.SIGTERM)
