"""Calls into a user's code that may hang, raise anything, print, fork, or never let go of Python's lock."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from terrains.errors import WorldError
from terrains.loading import described
from terrains.prints import Prints
from terrains.watchdog import WATCHDOG

logger = logging.getLogger("terraprompt")

T = TypeVar("T")

LOOK_S = 1.0
"""Seconds between two looks at how much a call has printed."""

SAYS_ITSELF = (WorldError,)
"""Errors whose message is meant for the user as it is."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of a call.

    Attributes:
        value: what it returned.
        error: what it raised, or None.
        late: whether it took too long.
    """

    value: T | None = None
    error: BaseException | None = None
    late: bool = False


class Calls:
    """Calls into one piece of a user's code, one after the other.

    Args:
        said: what messages call it.
        files: the user's files, whose lines messages name.
        deadline_s: longest that a call may take, in seconds; it is what code that holds Python's lock may take too.
        apart: whether calls are made in a thread of their own, and their deadline kept. The thread is one for all of
            them, as some libraries want to be called by the thread that they were set up by.
        watched: whether this process is ended when a call holds Python's lock for too long; false where others watch.

    Attributes:
        stuck: what was called and nobody waits for any more, empty for nothing.
    """

    def __init__(
        self, said: str, files: Sequence[str] = (), deadline_s: float = 300.0, apart: bool = True, watched: bool = True
    ) -> None:
        self._arguments = said, files, deadline_s, apart, watched
        self._said, self._files, self._deadline_s, self._watched = said, files, deadline_s, watched
        self._prints, self._has_said = Prints(), False
        self._thread = _OwnThread() if apart else None
        self.stuck = ""

    def do(
        self,
        what: str,
        action: Callable[[], T],
        about: str = "",
        own_message: tuple[type[Exception], ...] = SAYS_ITSELF,
        deadline_s: float | None = None,
    ) -> T:
        """Makes a call.

        Args:
            what: what is called, for messages.
            action: the call.
            about: more of it, behind the message that it is late.
            own_message: errors whose message is meant for the user.
            deadline_s: a deadline of this call's own.

        Returns:
            What it returns.

        Raises:
            WorldError: it raises, takes too long, or one before still goes on; the message is one line.
        """
        if self.stuck:
            raise WorldError(f"{self._said}: {self.stuck} still works on an earlier call, and does not come back")
        limit = deadline_s or self._deadline_s
        said = f"{self._said}: {what} has not come back after {limit:g} s{about}"
        with ExitStack() as held:
            if self._watched:
                ended = f"{said}, and lets nothing else run, so this process is ended; its last checkpoint stays"
                held.enter_context(WATCHDOG.watching(ended, limit))
            try:
                done = self._made(action, limit)
            except BaseException:  # a signal's: the call goes on
                self.stuck = what
                raise
        self._tell()
        if done.late:
            self.stuck = what
            raise WorldError(f"{said}; a longer rollouts.deadline_s gives it more time")
        if isinstance(done.error, own_message):
            raise WorldError(
                str(done.error).strip().partition("\n")[0] or f"{self._said}: {what} failed"
            ) from done.error
        if done.error is not None:
            raise WorldError(f"{self._said}: {what} raised {described(done.error, *self._files)}") from done.error
        return done.value  # type: ignore[return-value]

    def anew(self) -> Calls:
        """Returns others, that wait for nothing."""
        return Calls(*self._arguments)

    def end(self) -> None:
        """Ends the thread, when it has nothing to do."""
        if self._thread:
            self._thread.end()

    def _made(self, action: Callable[[], T], limit: float) -> Done[T]:
        if self._thread is None:
            with self._prints.taken():
                return result(action, (Exception, SystemExit))
        with self._prints.taken(self._thread.ident):
            return self._thread.do(action, time.monotonic() + limit, self._prints.trim)

    def _tell(self) -> None:
        """One line, once, on what was printed."""
        if self._prints.first and not self._has_said:
            self._has_said = True
            logger.warning(
                "%s prints %r; this, and what it prints after it, is not shown", self._said, self._prints.first
            )


class _OwnThread:
    """A thread for calls. It ends with the process at the latest, whatever it is doing then."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Done[Any]]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="world")
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The thread's identity."""
        return self._thread.ident

    def do(self, action: Callable[[], T], until: float, look: Callable[[], None]) -> Done[T]:
        """Makes a call; what is late is left behind.

        Args:
            action: the call.
            until: monotonic time to wait for.
            look: called now and then.
        """
        answers: SimpleQueue[Done[T]] = SimpleQueue()
        self._calls.put((action, answers))
        while True:
            try:
                return answers.get(timeout=min(LOOK_S, max(0.0, until - time.monotonic())))
            except Empty:
                look()
                if time.monotonic() >= until:
                    return Done(late=True)

    def end(self) -> None:
        """Ends the thread."""
        self._calls.put(None)

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            action, answers = asked
            answers.put(result(action))  # KeyboardInterrupt too: no signal raises it in this thread


def result(action: Callable[[], T], errors: tuple[type[BaseException], ...] = (BaseException,)) -> Done[T]:
    """Makes a call, in this thread. A process that the call was copied into, by a fork, ends here.

    Args:
        action: the call.
        errors: what is a result too; SystemExit would end a thread, or the program, without a word.
    """
    process = os.getpid()
    try:
        return Done(action())
    except errors as error:
        return Done(error=error)
    finally:
        if os.getpid() != process:
            os._exit(0)
