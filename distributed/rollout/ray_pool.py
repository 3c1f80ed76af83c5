"""The pool on Ray: sends rollout requests to workers and loses none of them, whatever happens to the workers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError

from distributed.infra.ray_cluster import resource_summary
from distributed.rollout.actor import ActorFactory, ActorHandle, Job, Worker
from distributed.rollout.memory import Growth
from distributed.rollout.pool import OnResult, Pool, RolloutError, Ticket, describe, one_line, world_failed
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from softprompt.finite import NotFiniteError
from terrains.errors import WorldError

logger = logging.getLogger("terraprompt")

CLOSING_S = 5.0
"""Longest that idle workers may take to end their own subprocesses, in seconds."""

RETRY_START_S = 30.0
"""Pause before a worker that could not start, beside others that could, is tried again."""


class RayPool(Pool):
    """Workers on Ray actors, each with a few requests in flight.

    A worker that dies is started again; one whose request overruns its deadline is killed first. Their requests go to
    other workers. The request that was running counts a failure, as does one that raises: after ``max_attempts``
    failures it is an error, so that a request that kills its workers ends the run instead of every worker.
    """

    def __init__(
        self,
        build: Callable[..., Worker],
        kwargs: Mapping[str, Any],
        shared: Mapping[str, Any] | None = None,
        *,
        n_workers: int = 2,
        cpus_per_worker: float = 1.0,
        gpus_per_worker: float = 0.0,
        threads: int = 1,
        deadline_s: float = 300.0,
        start_deadline_s: float = 300.0,
        max_attempts: int = 3,
        in_flight: int = 2,
        max_memory_gb: float | None = None,
        actor_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts the workers without waiting for them, so that the caller can load its own model meanwhile.

        Args:
            build: class of the worker, importable on every node.
            kwargs: its small arguments.
            shared: its large ones, such as the weights as numpy arrays: they travel once, and every worker of a node
                reads the same copy. An ObjectRef is taken as it is, so that several pools can share one.
            n_workers: workers.
            cpus_per_worker: CPUs that Ray sets aside for each, above 0.
            gpus_per_worker: GPUs, or parts of one.
            threads: threads of the numerical libraries in each worker.
            deadline_s: longest a request may run, in seconds.
            start_deadline_s: longest the first worker may take to start, in seconds; for others that take longer there
                is a warning, and they may come later.
            max_attempts: failures of one request before it is an error.
            in_flight: requests at a worker at a time, the running one included.
            max_memory_gb: memory that a worker may come to hold, in GB, before it is started anew; None for its share
                of its machine's.
            actor_options: more of Ray's actor options, such as a scheduling strategy.

        Raises:
            ValueError: an argument is out of range.
        """
        super().__init__()
        if n_workers < 1 or in_flight < 1 or max_attempts < 1:
            raise ValueError("n_workers, in_flight and max_attempts are at least 1")
        if cpus_per_worker <= 0 or deadline_s <= 0 or start_deadline_s <= 0:
            raise ValueError("cpus_per_worker, deadline_s and start_deadline_s are above 0")
        self.n_workers = n_workers
        self._deadline_s, self._start_deadline_s = deadline_s, start_deadline_s
        self._max_attempts, self._in_flight = max_attempts, in_flight
        self._asked = f"{cpus_per_worker:g} CPU" + (f", {gpus_per_worker:g} GPU" if gpus_per_worker else "")
        options = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker, **(actor_options or {})}
        factory = ActorFactory(build, kwargs, shared or {}, options, threads)
        growth = partial(Growth, max_memory_gb, n_workers)
        self._handles = [ActorHandle(f"worker {index}", factory, growth) for index in range(n_workers)]
        self._backlog: deque[Job] = deque()
        self._last_trouble = "no worker said why"
        self._closed = False

    @property
    def pids(self) -> list[int | None]:
        """Process id of each worker, None while it starts."""
        return [handle.pid for handle in self._handles]

    def wait_ready(self) -> None:
        """Waits until every worker is started, those that come late included.

        Raises:
            RolloutError: none is started within the start deadline, or a worker's constructor raises before one is.
        """
        while not all(handle.started for handle in self._handles):
            self._work_once()

    def submit(self, requests: Sequence[RolloutRequest], state: PromptState) -> Ticket:
        """Queues requests and hands out what the started workers take; ``collect`` hands out the rest. See Pool."""
        if self._closed:
            raise RolloutError("the rollout pool is closed")
        ticket = Ticket(tuple(requests), state)
        reference = ray.put(state)
        self._backlog.extend(Job(request, reference, ticket) for request in ticket.requests)
        self._feed()
        return ticket

    def collect(self, ticket: Ticket, on_result: OnResult | None = None) -> list[Rollouts]:
        """Keeps the workers busy until the ticket is answered; see Pool."""
        while ticket.error is None and (ticket.unseen or ticket.pending):
            if on_result:
                for result in ticket.unseen:
                    on_result(result)
            ticket.unseen.clear()
            if ticket.pending:
                self._work_once()
        if ticket.error is not None:
            raise ticket.error
        return [ticket.results[request.id] for request in ticket.requests]

    def close(self) -> None:
        """Ends the workers; idle ones first get `CLOSING_S` to end their own subprocesses. See Pool."""
        if self._closed:
            return
        self._closed = True
        self._backlog.clear()
        if not ray.is_initialized():
            return
        closing: list[Any] = [each.actor.close.remote() for each in self._handles if each.started and not each.calls]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING_S)
        for handle in self._handles:
            ray.kill(handle.actor, no_restart=True)

    def _work_once(self) -> None:
        """Hands out requests, takes the answers that come first, at most a second later, and checks the deadlines."""
        if self._closed:
            raise RolloutError("the rollout pool is closed")
        self._feed()
        awaited: dict[Any, ActorHandle] = {ref: each for each in self._handles if (ref := each.awaited()) is not None}
        if awaited:
            ray.wait(list(awaited), num_returns=1, timeout=self._seconds_to_wait())
            ready, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
            for reference in ready:
                self._receive(awaited[reference], reference)
        else:
            time.sleep(0.05)
        self._check_deadlines()

    def _feed(self) -> None:
        """Hands the backlog out, the emptiest worker first, so that a short list is spread over all workers."""
        for depth in range(self._in_flight):
            for handle in self._handles:
                if handle.started and len(handle.calls) == depth and (job := self._next_job()):
                    handle.give(job)

    def _next_job(self) -> Job | None:
        """The next job of the backlog; those of a ticket that has failed are dropped."""
        while self._backlog:
            job = self._backlog.popleft()
            if job.ticket.error is None:
                return job
        return None

    def _seconds_to_wait(self) -> float:
        """Seconds until the next running request overruns its deadline; at most one, as a start is polled too."""
        now = time.monotonic()
        left = [handle.since + self._deadline_s - now for handle in self._handles if handle.started and handle.calls]
        return max(0.0, min([1.0, *left]))

    def _receive(self, handle: ActorHandle, reference: ray.ObjectRef) -> None:
        """Takes what a worker's reference holds: that it has started, an answer, an error, or that it is gone."""
        try:
            answer = ray.get(reference, timeout=self._deadline_s)
        except RayTaskError as error:
            if not handle.started:
                return self._on_failed_start(handle, error)
            if isinstance(cause := error.cause, NotFiniteError | WorldError):  # every worker would say the same
                handle.pop().job.ticket.error = cause if isinstance(cause, NotFiniteError) else world_failed(cause)
                return
            self.errors += 1
            self._count_failure(handle.pop().job, f"{handle.name} raised {one_line(error)}")
        except RayActorError as error:
            self._on_process_lost(handle, error)
        except (RayError, GetTimeoutError) as error:  # the answer was lost on its way; the worker is fine
            if not handle.started:
                self._last_trouble = one_line(error)
                return handle.ask_again(0.5)
            self.losses += 1
            self._count_failure(handle.pop().job, f"the answer of {handle.name} was lost: {one_line(error)}")
        else:
            if not handle.started:
                return handle.mark_ready(answer)
            if answer is None:  # Ray has replaced the worker before we noticed
                self._take_back(handle, "died")
                return handle.mark_starting(pause=0.0)
            job = handle.pop().job
            job.ticket.results[job.request.id] = answer
            job.ticket.unseen.append(answer)
            self._warn_once(answer.warnings)
            if leak := handle.growth.leak(answer.memory):
                ray.kill(handle.actor, no_restart=False)
                self._take_back(handle, leak, failed=False)
                handle.mark_starting(pause=0.25)

    def _on_process_lost(self, handle: ActorHandle, error: RayActorError) -> None:
        """A worker's process is gone, or has not come back yet."""
        if error.actor_init_failed:
            return self._on_failed_start(handle, error)
        if handle.started:
            self._take_back(handle, "died")
            return handle.mark_starting(pause=0.0)
        self._last_trouble = one_line(error)
        if isinstance(error, ActorDiedError):  # for good: Ray was told not to restart it
            handle.replace()
        else:
            handle.ask_again(pause=0.25)

    def _on_failed_start(self, handle: ActorHandle, error: RayError) -> None:
        """A worker's constructor raises: an error where no other has started, else a warning and another try."""
        if not any(other.started for other in self._handles):
            raise self._fail(f"{handle.name} cannot start: {one_line(error)}") from error
        self._last_trouble = f"{handle.name} cannot start: {one_line(error)}"
        if not handle.late:
            handle.late = True
            logger.warning("%s; the others go on, and it is tried again", self._last_trouble)
        if isinstance(error, ActorDiedError):
            handle.replace()
        handle.ask_again(pause=RETRY_START_S)

    def _check_deadlines(self) -> None:
        """Kills workers that overran the deadline; an error when no worker at all has started in time."""
        now = time.monotonic()
        for handle in self._handles:
            running = handle.started and handle.calls and now - handle.since >= self._deadline_s
            if running and not ray.wait([handle.calls[0].reference], timeout=0)[0]:
                ray.kill(handle.actor, no_restart=False)
                self._take_back(handle, f"overran its deadline of {self._deadline_s:g} s")
                handle.mark_starting(pause=0.25)
        late = [each for each in self._handles if not each.started and now - each.since >= self._start_deadline_s]
        if len(late) == self.n_workers:
            raise self._fail(self._no_workers())
        self._warn_of_late([handle for handle in late if not handle.late])

    def _warn_of_late(self, late: Sequence[ActorHandle]) -> None:
        """Warns once of each worker that has not started in time; it may still come, while the others work."""
        for handle in late:
            handle.late = True
        back = [handle.name for handle in late if handle.was_up]
        for name in back:
            logger.warning("%s is not back after %g s; the others go on", name, self._start_deadline_s)
        if len(late) > len(back):
            logger.warning("%s; the run goes on with those, and the rest may still come", self._no_workers())

    def _take_back(self, handle: ActorHandle, what: str, failed: bool = True) -> None:
        """Puts a lost worker's requests back at the front of the backlog; none but the running one counts a failure."""
        jobs = handle.drain()
        self.replacements += 1
        self.losses += len(jobs)
        ids = ", ".join(str(job.request.id) for job in jobs) or "none"
        logger.warning("%s (pid %s) %s and is replaced; requests taken back: %s", handle.name, handle.pid, what, ids)
        self._backlog.extendleft(reversed(jobs[1:] if failed else jobs))
        if jobs and failed:
            self._count_failure(jobs[0], f"{handle.name} {what}", logged=True)

    def _count_failure(self, job: Job, what: str, logged: bool = False) -> None:
        """Counts a failure of a request, and sends it again unless there were too many."""
        job.failures += 1
        if not logged:
            logger.warning("%s: %s (failure %d of %d)", describe(job.request), what, job.failures, self._max_attempts)
        if job.failures < self._max_attempts:
            self._backlog.appendleft(job)
        elif job.ticket.error is None:
            job.ticket.error = RolloutError(f"{describe(job.request)} failed {job.failures} times; last: {what}")

    def _fail(self, message: str) -> RolloutError:
        """Closes the pool, as no worker can be started, and returns the error to raise."""
        self.close()
        return RolloutError(message)

    def _no_workers(self) -> str:
        started = sum(handle.started for handle in self._handles)
        return (
            f"{started} of {self.n_workers} rollout workers started within {self._start_deadline_s:g} s: "
            f"each asks for {self._asked}; the cluster has {resource_summary()} ({self._last_trouble})"
        )
