"""Runs programs nobody trusts: each in an interpreter of its own (Monty), in a subprocess that can be killed.

A program sees ``math``, ``walker_creator`` and nothing of the machine: no files, no network, no clock, no entropy.
Its memory and recursion are limited inside the interpreter.

Its time is limited in seconds of processor time, which the kernel counts for the subprocess, and beyond which that is
killed. Monty counts neither instructions nor processor time: its own limits are on the clock, so beside a busy machine
a slow program that is right would become a failure. The clock has a part only where a program gets no processor for a
long time. Of processor time, too, a program takes somewhat more beside busy neighbours, which share caches and
memory: one that needs about as much as the limit may pass once and fail another time. Programs that make walkers need
a hundredth of it or less.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import psutil
import pydantic_monty as monty

from terrains.sodarace import failures
from terrains.sodarace.prelude import as_fed
from terrains.sodarace.processor_time import ProcessorTimeLimit
from terrains.sodarace.settings import SandboxLimits

PATIENCE = 60.0
"""A program is ended after this many times its limit on the clock, however little processor time it was given."""


class TooSlow(Exception):
    """A program used more time than it may."""


@dataclass(frozen=True)
class Outcome:
    """What became of one program.

    Attributes:
        value: what ``make_walker`` returned, plain data of any shape and depth: do not recurse into it, do not print
            it.
        failure: failure kind, or None.
        detail: one line about the failure.
    """

    value: object | None = None
    failure: str | None = None
    detail: str = ""


class Sandbox:
    """A pool of interpreters. Usable as a context manager; `run` may be called from several threads at once.

    Args:
        limits: what a program may use.
        workers: subprocesses: how many programs can run at once, each called from a thread of its own.
        feed: makes what the interpreter is given of a program.
    """

    def __init__(
        self, limits: SandboxLimits | None = None, workers: int = 1, feed: Callable[[str], str] = as_fed
    ) -> None:
        self.limits = limits or SandboxLimits()
        self._as_fed = feed
        self._workers = max(1, workers)
        self._pool: monty.Monty | None = None
        self._opening = Lock()
        self._time = ProcessorTimeLimit(self.limits.seconds, PATIENCE * self.limits.seconds)

    def run(self, program: str) -> Outcome:
        """Runs one program. Whatever it does, this returns an Outcome, and the program has its time limit once."""
        if not isinstance(program, str) or len(program) > self.limits.characters:
            return Outcome(None, failures.TOO_LONG, f"not a text of at most {self.limits.characters} characters")
        for last_try in (False, True):
            try:
                return Outcome(self._feed(program))
            except TooSlow:
                return Outcome(None, failures.TIMEOUT, f"ran longer than {self.limits.seconds:g} s")
            except (monty.MontyCrashedError, psutil.NoSuchProcess) as error:
                # The pool replaces the subprocess. One that died by chance (killed from outside) deserves a second try.
                if last_try:
                    return Outcome(None, failures.CRASH, _line(error))
            except monty.MontySyntaxError as error:
                return Outcome(None, failures.SYNTAX, _line(error))
            except monty.MontyError as error:
                kind = failures.BY_EXCEPTION.get(type(error.exception()).__name__, failures.ERROR)
                return Outcome(None, kind, _line(error))
            except (ValueError, TypeError, UnicodeError, OverflowError) as error:
                # A value that Monty cannot hand over, such as an integer beyond what the wire format holds.
                return Outcome(None, failures.ERROR, _line(error))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Ends the subprocesses. Safe to call twice; the next run starts them again."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None
        self._time.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> monty.Monty:
        with self._opening:
            if self._pool is None:
                pool = monty.Monty(min_processes=self._workers, max_processes=self._workers)
                pool.__enter__()
                self._pool = pool
            return self._pool

    def _feed(self, program: str) -> object:
        """Runs a program and returns its value.

        Raises:
            TooSlow: it used more time than it may.
            monty.MontyError: it failed otherwise, or its subprocess did.
            psutil.NoSuchProcess: the subprocess died before it was given the program.
        """
        limits: monty.ResourceLimits = {
            "max_memory": self.limits.memory_mb << 20,
            "max_recursion_depth": self.limits.recursion,
        }
        policy: monty.OSPolicy = {
            "datetime": datetime.datetime(2000, 1, 1),
            "sleep": "zero",
            "random_start": {"seed": 0},
        }
        with self._open().checkout(limits=limits, os_policy=policy) as session:
            printed = monty.CollectString(self.limits.printed)
            process = psutil.Process(session.worker_pid or 0)
            try:
                with self._time.watch(process) as watched:
                    value = session.feed_run(self._as_fed(program), print_callback=printed)
            except Exception:
                if watched.ended:
                    raise TooSlow from None
                raise
            if watched.ended:
                raise TooSlow
            return value


def _line(error: BaseException) -> str:
    """First line of an error. A program can put anything into it: what no terminal should be sent is left out."""
    return "".join(c if c.isprintable() else "?" for c in str(error).partition("\n")[0][:200])
