"""The Ray actor that holds a rollout worker, and the driver's handle on it."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ray
from ray.actor import ActorHandle as RayActorHandle

from distributed.rollout.memory import Growth, Memory
from distributed.rollout.pool import Ticket
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Worker(Protocol):
    """Answers requests, in an actor or in this process."""

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts:
        """Answers one request."""
        ...

    def close(self) -> None:
        """Ends the worker's subprocesses."""
        ...


MOST_WARNINGS = 20
"""Warnings that an answer takes along; what is warned of more often than that is in the worker's own log."""


class _Warnings(logging.StreamHandler):
    """Keeps warnings for the driver, as nobody reads a worker's standard error."""

    def __init__(self) -> None:
        super().__init__()
        self.setLevel(logging.WARNING)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if len(self.kept) < MOST_WARNINGS:
            self.kept.append(record.getMessage())

    def take(self) -> tuple[str, ...]:
        taken, self.kept = tuple(self.kept), []
        return taken


class RolloutActor:
    """The actor: builds a worker from its class and arguments, and passes requests to it."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._warnings = _Warnings()
        logging.getLogger("terraprompt").addHandler(self._warnings)

    def start(self, build: Callable[..., Worker], kwargs: Mapping[str, Any], **shared: Any) -> int:
        """Builds the worker, which can take seconds, unless it is there already; returns this process's id."""
        if self._worker is None:
            self._worker = build(**kwargs, **shared)
        return os.getpid()

    def generate(self, request: RolloutRequest, state: PromptState) -> Rollouts | None:
        """Answers one request; None from a process that has just replaced the one that the request was meant for."""
        if self._worker is None:
            return None
        answer = self._worker.generate(request, state)
        return replace(answer, memory=Memory.of_this_process(), warnings=self._warnings.take())

    def close(self) -> None:
        """Ends the worker's subprocesses."""
        if self._worker is not None:
            self._worker.close()


class ActorFactory:
    """Starts actors, all with the same arguments; large ones are put into the object store once."""

    def __init__(
        self,
        build: Callable[..., Worker],
        kwargs: Mapping[str, Any],
        shared: Mapping[str, Any],
        options: Mapping[str, Any],
        threads: int,
    ) -> None:
        """Puts the shared arguments into the object store, where they stay as long as this object.

        Args:
            build: class of the worker, importable on every node.
            kwargs: its small arguments, copied to every actor.
            shared: its large ones (weights as numpy arrays), or references to them.
            options: Ray's actor options.
            threads: threads of the numerical libraries in each actor.
        """
        self._arguments = build, dict(kwargs)
        self._shared = {name: put_once(value) for name, value in shared.items()}
        # Ray brings a lost process back, but never repeats a call by itself: it would repeat one that hangs.
        self._actor: Any = ray.remote(RolloutActor).options(
            max_restarts=-1,
            max_task_retries=0,
            runtime_env={"env_vars": {name: str(threads) for name in THREAD_VARIABLES}},
            **options,
        )

    def create(self) -> RayActorHandle:
        """Starts the process of one more actor."""
        return self._actor.remote()

    def build(self, actor: RayActorHandle) -> ray.ObjectRef:
        """Lets an actor build its worker; the reference gives its process id."""
        return actor.start.remote(*self._arguments, **self._shared)


def put_once(value: Any) -> ray.ObjectRef:
    """A reference to a value in the object store; a reference is taken as it is."""
    return value if isinstance(value, ray.ObjectRef) else ray.put(value)


@dataclass
class Job:
    """One request of a ticket, and how often it has failed."""

    request: RolloutRequest
    state: ray.ObjectRef
    ticket: Ticket
    failures: int = 0


@dataclass
class Call:
    """A job whose request was sent to an actor, and the reference to its answer."""

    job: Job
    reference: ray.ObjectRef


class ActorHandle:
    """The driver's view of one actor: whether it has started, and which calls wait in it.

    An actor answers in order, one call at a time, so only the first call is running. Its time counts from when it
    became the first, or from when the actor was ready.

    Attributes:
        name: of the worker, for messages.
        actor: Ray's own handle.
        calls: those without an answer, in the order in which they were sent.
        pid: process id, None while the actor starts.
        was_up: whether it has ever been ready.
        late: whether there was a warning that this start takes too long.
        since: monotonic time at which the present start, or the first call, began.
        growth: of the process's memory since it started.
    """

    def __init__(self, name: str, factory: ActorFactory, growth: Callable[[], Growth]) -> None:
        self.name = name
        self.calls: deque[Call] = deque()
        self.pid: int | None = None
        self.was_up = self.late = False
        self.since = 0.0
        self.growth = growth()
        self._growth, self._factory = growth, factory
        self.respawn()

    def respawn(self) -> None:
        """Starts a new actor under this handle, and lets it build its worker at once."""
        self.actor = self._factory.create()
        self.mark_starting(0.0)
        self.awaited()

    def replace(self) -> None:
        """Starts a new actor in the place of one that never became ready; the time that took goes on counting."""
        since, late = self.since, self.late
        self.respawn()
        self.since, self.late = since, late

    def mark_starting(self, pause: float) -> None:
        """Notes that the actor is starting; it is first asked for its worker after ``pause`` seconds."""
        self.pid = None
        self.late = False
        self.growth = self._growth()
        self.since = time.monotonic()
        self.ask_again(pause)

    def ask_again(self, pause: float) -> None:
        """Asks an actor that is starting for its worker again, after ``pause`` seconds."""
        self._start: ray.ObjectRef | None = None
        self._ask_at = time.monotonic() + pause

    @property
    def started(self) -> bool:
        """Whether the actor takes requests."""
        return self.pid is not None

    def awaited(self) -> ray.ObjectRef | None:
        """The reference to wait for, if any: of the start until the actor is ready, of the first call after that."""
        if self.started:
            return self.calls[0].reference if self.calls else None
        if self._start is None and time.monotonic() >= self._ask_at:
            self._start = self._factory.build(self.actor)
        return self._start

    def mark_ready(self, pid: int) -> None:
        """Notes that the actor is ready."""
        self.pid, self.since, self.was_up = pid, time.monotonic(), True

    def give(self, job: Job) -> None:
        """Sends a job's request."""
        if not self.calls:
            self.since = time.monotonic()
        self.calls.append(Call(job, self.actor.generate.remote(job.request, job.state)))

    def pop(self) -> Call:
        """Takes the first call off; the time of the next one starts to count."""
        self.since = time.monotonic()
        return self.calls.popleft()

    def drain(self) -> list[Job]:
        """Takes all calls off and returns their jobs, the one that was running first."""
        jobs = [call.job for call in self.calls]
        self.calls.clear()
        return jobs
