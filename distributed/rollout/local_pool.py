"""The pool without Ray: one worker in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed.rollout.actor import Worker
from distributed.rollout.memory import Growth, Memory
from distributed.rollout.pool import OnResult, Pool, RolloutError, Ticket, describe, one_line, world_failed
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from softprompt.ambient import usual_torch
from softprompt.finite import NotFiniteError
from terrains.errors import WorldError


class LocalPool(Pool):
    """One worker in this process, which works while ``collect`` waits."""

    def __init__(
        self,
        build: Callable[..., Worker],
        kwargs: Mapping[str, Any],
        shared: Mapping[str, Any] | None = None,
        max_memory_gb: float | None = None,
    ) -> None:
        """Builds the worker.

        Args:
            build: class of the worker.
            kwargs: its arguments.
            shared: more of its arguments, those that RayPool would put into the object store.
            max_memory_gb: memory that this process may come to hold, in GB, before there is a warning; None for a share
                of the machine's.
        """
        super().__init__()
        self._growth = Growth(max_memory_gb, workers=1)
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
                with usual_torch():  # a reward function may change what torch does
                    result = self._worker.generate(request, ticket.state)
            except NotFiniteError:
                raise
            except WorldError as error:
                raise world_failed(error) from error
            except Exception as error:
                self.errors += 1
                raise RolloutError(f"{describe(request)} failed: {one_line(error)}") from error
            ticket.results[request.id] = result
            if leak := self._growth.leak(Memory.of_this_process()):
                self._warn_once([f"this process {leak}; on Ray (ray.enabled) workers that do are started anew"])
            if on_result:
                on_result(result)
        return [ticket.results[request.id] for request in ticket.requests]

    def close(self) -> None:
        """Ends the worker's subprocesses; see Pool."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
