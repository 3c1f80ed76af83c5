"""Runs programs nobody trusts: each in an interpreter of its own (Monty), in a subprocess that can be killed.

A program sees ``math``, ``walker_creator`` and nothing of the machine: no files, no network, no clock, no entropy.
Its time, memory and recursion are limited inside the interpreter, and the subprocess is killed when that does not
help.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from threading import Lock
from types import TracebackType

import pydantic_monty as monty
from pydantic import BaseModel, ConfigDict, Field

from terrains.sodarace import failures

PRELUDE = """\
import math

class _WalkerCreator:
    def __init__(self):
        self.joints = []
        self.muscles = []

    def add_joint(self, x, y):
        self.joints.append([x, y])
        return len(self.joints) - 1

    def add_muscle(self, j0, j1, *settings, **named):
        settings = list(settings)
        rigid = settings.pop(0) if settings and isinstance(settings[0], bool) else False
        amplitude = settings[0] if settings else named.get('amplitude', 0.0)
        phase = settings[1] if len(settings) > 1 else named.get('phase', 0.0)
        self.muscles.append([j0, j1, rigid, amplitude, phase])

    def get_walker(self):
        return {'joints': self.joints, 'muscles': self.muscles}

def walker_creator():
    return _WalkerCreator()

"""
"""What every program finds defined. ``add_muscle`` takes both (j0, j1, amplitude, phase) and (j0, j1, rod?,
amplitude, phase)."""

CALL = "\nmake_walker()\n"


class SandboxLimits(BaseModel):
    """What a program may use. Part of what decides a score."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: float = Field(1.0, gt=0)
    """Time a program may run."""
    memory_mb: int = Field(64, ge=1)
    """Memory of its values, in MiB."""
    recursion: int = Field(200, ge=10)
    """Depth of its calls."""
    characters: int = Field(20_000, ge=100)
    """Longer programs are not run."""
    printed: int = Field(10_000, ge=0)
    """Bytes it may print; they go nowhere."""


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
    """

    def __init__(self, limits: SandboxLimits | None = None, workers: int = 1) -> None:
        self.limits = limits or SandboxLimits()
        self._workers = max(1, workers)
        self._pool: monty.Monty | None = None
        self._opening = Lock()

    def run(self, program: str) -> Outcome:
        """Runs one program. Whatever it does, this returns an Outcome, within about the time limit."""
        if not isinstance(program, str) or len(program) > self.limits.characters:
            return Outcome(None, failures.TOO_LONG, f"not a text of at most {self.limits.characters} characters")
        for last_try in (False, True):
            try:
                return Outcome(self._feed(program))
            except monty.MontyCrashedError as error:
                # The pool replaces the subprocess. One that died by chance (killed from outside) deserves a second try.
                if getattr(error, "timed_out", False):
                    return self._too_slow()
                if last_try:
                    return Outcome(None, failures.CRASH, _line(error))
            except monty.MontySyntaxError as error:
                return Outcome(None, failures.SYNTAX, _line(error))
            except monty.MontyError as error:
                kind = failures.BY_EXCEPTION.get(type(error.exception()).__name__, failures.ERROR)
                return self._too_slow() if kind == failures.TIMEOUT else Outcome(None, kind, _line(error))
            except (ValueError, TypeError, UnicodeError, OverflowError) as error:
                # A value that Monty cannot hand over, such as an integer beyond what the wire format holds.
                return Outcome(None, failures.ERROR, _line(error))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Ends the subprocesses. Safe to call twice; the next run starts them again."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _too_slow(self) -> Outcome:
        """Monty's own words hold the time that was measured: no two runs would be equal."""
        return Outcome(None, failures.TIMEOUT, f"ran longer than {self.limits.seconds:g} s")

    def _open(self) -> monty.Monty:
        with self._opening:
            if self._pool is None:
                pool = monty.Monty(
                    min_processes=self._workers,
                    max_processes=self._workers,
                    request_timeout=2 * self.limits.seconds + 5,
                    feed_duration_limit_grace=0.1,
                )
                pool.__enter__()
                self._pool = pool
            return self._pool

    def _feed(self, program: str) -> object:
        limits: monty.ResourceLimits = {
            "max_feed_duration_secs": self.limits.seconds,
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
            return session.feed_run(PRELUDE + program + CALL, print_callback=printed)


def _line(error: BaseException) -> str:
    """First line of an error. A program can put anything into it: what no terminal should be sent is left out."""
    return "".join(c if c.isprintable() else "?" for c in str(error).partition("\n")[0][:200])
