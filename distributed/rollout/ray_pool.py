"""Sends rollout requests to workers and loses none of them, whatever happens to the workers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError

from distributed.infra.ray_cluster import resource_summary
from distributed.rollout.actor import ActorFactory, ActorHandle, Worker
from distributed.rollout.pool import OnResult, Pool, RolloutError, Ticket, describe, one_line
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from softprompt.finite import NotFiniteError

logger = logging.getLogger("terraprompt")

RETRY_START_S = 30.0
"""Pause before a worker that could not start, beside others that could, is tried again."""


@dataclass
class _Job:
    """One request of a ticket, and how often it has failed."""

    request: RolloutRequest
    state: ray.ObjectRef
    ticket: Ticket
    failures: int = 0


class LocalPool(Pool):
    """The pool without Ray: one worker in this process, which works while ``collect`` waits."""

    def __init__(
        self, build: Callable[..., Worker], kwargs: Mapping[str, Any], shared: Mapping[str, Any] | None = None
    ):
        """Builds the worker.

        Args:
            build: class of the worker.
            kwargs: its arguments.
            shared: more of its arguments, those that RayPool would put into the object store.
        """
        super().__init__()
        self._worker: Worker | None = build(**kwargs, **(shared or {}))

    def submit(self, requests: Sequence[RolloutRequest], state: PromptState) -> Ticket:
        """Notes the requests; see Pool."""
        return Ticket(tuple(requests), state)

    def collect(self, ticket: Ticket, on_result: OnResult | None = None) -> list[Rollouts]:
        """Answers the requests one after the other; see Pool."""
        if self._worker is None:
            raise RolloutError("the rollout pool is closed")
        for request in ticket.requests:
            try:
                result = self._worker.generate(request, ticket.state)
            except NotFiniteError:
                raise
            except Exception as error:
                self.errors += 1
                raise RolloutError(f"{describe(request)} failed: {one_line(error)}") from error
            ticket.results[request.id] = result
            if on_result:
                on_result(result)
        return [ticket.results[request.id] for request in ticket.requests]

    def close(self) -> None:
        """Ends the worker's subprocesses; see Pool."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class RayPool(Pool):
    """Workers on Ray actors, each with a few requests in flight.

    A worker that dies comes back; one whose request overruns its deadline is killed first. Their requests go to
    other workers, and the one that was running is charged a failure, as is one that raises: after ``max_attempts``
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
            start_deadline_s: longest the first worker may take to start, in seconds; of others that take longer it is
                said, and they may come later.
            max_attempts: failures of one request before it is an error.
            in_flight: requests at a worker at a time, the running one included.
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
        self._slots = [ActorHandle(f"worker {index}", factory) for index in range(n_workers)]
        self._backlog: deque[_Job] = deque()
        self._trouble = "no worker said why"
        self._closed = False

    @property
    def pids(self) -> list[int | None]:
        """Process id of each worker, None while it starts."""
        return [slot.pid for slot in self._slots]

    def wait_ready(self) -> None:
        """Waits until every worker is started, those that come late included.

        Raises:
            RolloutError: none is started within the start deadline, or a worker's constructor raises before one is.
        """
        while not all(slot.started for slot in self._slots):
            self._turn()

    def submit(self, requests: Sequence[RolloutRequest], state: PromptState) -> Ticket:
        """Queues requests and fills the started workers; the rest moves while a ``collect`` waits. See Pool."""
        if self._closed:
            raise RolloutError("the rollout pool is closed")
        ticket = Ticket(tuple(requests), state)
        reference = ray.put(state)
        self._backlog.extend(_Job(request, reference, ticket) for request in ticket.requests)
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
                self._turn()
        if ticket.error is not None:
            raise ticket.error
        return [ticket.results[request.id] for request in ticket.requests]

    def close(self) -> None:
        """Ends the workers, each after a short time to end its own subprocesses; see Pool."""
        if self._closed:
            return
        self._closed = True
        self._backlog.clear()
        if not ray.is_initialized():
            return
        goodbyes: list[Any] = [slot.actor.close.remote() for slot in self._slots if slot.started and not slot.calls]
        if goodbyes:
            ray.wait(goodbyes, num_returns=len(goodbyes), timeout=5.0)
        for slot in self._slots:
            ray.kill(slot.actor, no_restart=True)

    # One turn of the wheel: feed the workers, wait until one of them speaks, look at the clocks.

    def _turn(self) -> None:
        if self._closed:
            raise RolloutError("the rollout pool is closed")
        self._feed()
        awaited: dict[Any, ActorHandle] = {word: slot for slot in self._slots if (word := slot.listen()) is not None}
        if awaited:
            ray.wait(list(awaited), num_returns=1, timeout=self._patience())
            spoken, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
            for reference in spoken:
                self._receive(awaited[reference], reference)
        else:
            time.sleep(0.05)
        self._check_clocks()

    def _feed(self) -> None:
        """Hands the backlog out, the emptiest worker first, so that a short list is spread over all workers."""
        for depth in range(self._in_flight):
            for slot in self._slots:
                if slot.started and len(slot.calls) == depth and (job := self._next_job()):
                    slot.give(job, job.request, job.state)

    def _next_job(self) -> _Job | None:
        """The next job of the backlog; those of a ticket that has failed are dropped."""
        while self._backlog:
            job = self._backlog.popleft()
            if job.ticket.error is None:
                return job
        return None

    def _patience(self) -> float:
        """Seconds until the next running request overruns, at most one, so that a start is looked at again in time."""
        now = time.monotonic()
        left = [slot.since + self._deadline_s - now for slot in self._slots if slot.started and slot.calls]
        return max(0.0, min([1.0, *left]))

    def _receive(self, slot: ActorHandle, reference: ray.ObjectRef) -> None:
        """Takes what a worker said: it is up, an answer, an error, or that it is gone."""
        try:
            answer = ray.get(reference, timeout=self._deadline_s)
        except RayTaskError as error:
            if not slot.started:
                return self._cannot_start(slot, error)
            if isinstance(error.cause, NotFiniteError):  # every worker would say the same
                slot.pop().job.ticket.error = error.cause
                return
            self.errors += 1
            self._charge(slot.pop().job, f"{slot.name} raised {one_line(error)}")
        except RayActorError as error:
            self._lost(slot, error)
        except (RayError, GetTimeoutError) as error:  # the answer was lost on its way; the worker is fine
            if not slot.started:
                self._trouble = one_line(error)
                return slot.look_again(0.5)
            self.losses += 1
            self._charge(slot.pop().job, f"the answer of {slot.name} was lost: {one_line(error)}")
        else:
            if not slot.started:
                return slot.up(answer)
            if answer is None:  # Ray has replaced the worker before we noticed
                self._take_back(slot, "died")
                return slot.restarting(pause=0.0)
            job = slot.pop().job
            job.ticket.results[job.request.id] = answer
            job.ticket.unseen.append(answer)

    def _lost(self, slot: ActorHandle, error: RayActorError) -> None:
        """A host is gone, or has not come back yet."""
        if error.actor_init_failed:
            return self._cannot_start(slot, error)
        if slot.started:
            self._take_back(slot, "died")
            return slot.restarting(pause=0.0)
        self._trouble = one_line(error)
        if isinstance(error, ActorDiedError):  # for good: Ray was told not to restart it
            slot.replace()
        else:
            slot.look_again(pause=0.25)

    def _cannot_start(self, slot: ActorHandle, error: RayError) -> None:
        """A worker's constructor raises: the end where no other worker is up, else the others do its share."""
        if not any(other.started for other in self._slots):
            raise self._fail(f"{slot.name} cannot start: {one_line(error)}") from error
        self._trouble = f"{slot.name} cannot start: {one_line(error)}"
        if not slot.late:
            slot.late = True
            logger.warning("%s; the others go on, and it is tried again", self._trouble)
        if isinstance(error, ActorDiedError):
            slot.replace()
        slot.look_again(pause=RETRY_START_S)

    def _check_clocks(self) -> None:
        """Kills workers that overran the deadline, and gives up when no worker at all comes up in time."""
        now = time.monotonic()
        for slot in self._slots:
            running = slot.started and slot.calls and now - slot.since >= self._deadline_s
            if running and not ray.wait([slot.calls[0].reference], timeout=0)[0]:
                ray.kill(slot.actor, no_restart=False)
                self._take_back(slot, f"overran its deadline of {self._deadline_s:g} s")
                slot.restarting(pause=0.25)
        late = [slot for slot in self._slots if not slot.started and now - slot.since >= self._start_deadline_s]
        if len(late) == self.n_workers:
            raise self._fail(self._no_workers())
        self._name_late([slot for slot in late if not slot.late])

    def _name_late(self, late: Sequence[ActorHandle]) -> None:
        """Says once of each worker that it is not up in time; it may still come, while the others work."""
        for slot in late:
            slot.late = True
        back = [slot.name for slot in late if slot.was_up]
        for name in back:
            logger.warning("%s is not back after %g s; the others go on", name, self._start_deadline_s)
        if len(late) > len(back):
            logger.warning("%s; the run goes on with those, and the rest may still come", self._no_workers())

    def _take_back(self, slot: ActorHandle, what: str) -> None:
        """Takes the calls of a lost worker back, in front of the backlog; only the running one is charged."""
        jobs = slot.drain()
        self.replacements += 1
        self.losses += len(jobs)
        ids = ", ".join(str(job.request.id) for job in jobs) or "none"
        logger.warning("%s (pid %s) %s and is replaced; requests taken back: %s", slot.name, slot.pid, what, ids)
        self._backlog.extendleft(reversed(jobs[1:]))
        if jobs:
            self._charge(jobs[0], f"{slot.name} {what}", logged=True)

    def _charge(self, job: _Job, what: str, logged: bool = False) -> None:
        """Counts a failure of a request, and sends it again unless there were too many."""
        job.failures += 1
        if not logged:
            logger.warning("%s: %s (failure %d of %d)", describe(job.request), what, job.failures, self._max_attempts)
        if job.failures < self._max_attempts:
            self._backlog.appendleft(job)
        elif job.ticket.error is None:
            job.ticket.error = RolloutError(f"{describe(job.request)} failed {job.failures} times; last: {what}")

    def _fail(self, message: str) -> RolloutError:
        """Ends the pool, whose workers cannot be had."""
        self.close()
        return RolloutError(message)

    def _no_workers(self) -> str:
        started = sum(slot.started for slot in self._slots)
        return (
            f"{started} of {self.n_workers} rollout workers started within {self._start_deadline_s:g} s: "
            f"each asks for {self._asked}; the cluster has {resource_summary()} ({self._trouble})"
        )
