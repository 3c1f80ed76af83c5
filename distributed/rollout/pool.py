"""The interface of rollout pools: tickets for requests, the error, and the texts of messages."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ray.exceptions import RayError

from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from softprompt.finite import NotFiniteError
from terrains.errors import WorldError

logger = logging.getLogger("terraprompt")

OnResult = Callable[[Rollouts], None]


class RolloutError(RuntimeError):
    """A request, or the pool as a whole, cannot be served. The message is one line and names what and why."""


@dataclass
class Ticket:
    """Requests that were submitted, and the answers so far; ``collect`` waits for the rest.

    Attributes:
        requests: what was submitted.
        state: the prompt state to answer them with.
        results: answers so far, by the id of the request.
        unseen: answers that no ``on_result`` has been called with.
        error: why the rest will not be answered, or None.
    """

    requests: tuple[RolloutRequest, ...]
    state: PromptState
    results: dict[int, Rollouts] = field(default_factory=dict)
    unseen: list[Rollouts] = field(default_factory=list)
    error: RolloutError | NotFiniteError | None = None

    def __post_init__(self) -> None:
        if len({request.id for request in self.requests}) != len(self.requests):
            raise ValueError("requests sent together need ids that differ")

    @property
    def pending(self) -> list[int]:
        """Ids of the requests that have no answer yet."""
        return [request.id for request in self.requests if request.id not in self.results]


class Pool:
    """Answers rollout requests. Usable as a context manager.

    Attributes:
        n_workers: requests answered at a time.
        losses: requests taken back from a worker that died or was killed, and sent again.
        errors: requests that raised in a worker.
        replacements: workers that died or were killed, and were started again.
    """

    n_workers: int = 1

    def __init__(self) -> None:
        self.losses = self.errors = self.replacements = 0
        self._warned: set[str] = set()

    @property
    def counters(self) -> dict[str, int]:
        """The fault counters, by the names they are tracked under."""
        return {"losses": self.losses, "errors": self.errors, "replacements": self.replacements}

    def submit(self, requests: Sequence[RolloutRequest], state: PromptState) -> Ticket:
        """Sends requests off, to be collected later.

        Raises:
            ValueError: two requests share an id.
        """
        raise NotImplementedError

    def collect(self, ticket: Ticket, on_result: OnResult | None = None) -> list[Rollouts]:
        """Waits for the answers of a ticket and returns them in the order of its requests.

        Args:
            ticket: what ``submit`` returned.
            on_result: called with every answer as it comes, in any order, for progress displays.

        Raises:
            RolloutError: a request failed too often, no worker can be had, or the world cannot go on.
            NotFiniteError: the language model's logits are not finite, as they would be on any other worker.
        """
        raise NotImplementedError

    def run(
        self, requests: Sequence[RolloutRequest], state: PromptState, on_result: OnResult | None = None
    ) -> list[Rollouts]:
        """Submits and collects."""
        return self.collect(self.submit(requests, state), on_result)

    def close(self) -> None:
        """Ends the workers. Safe to call twice."""
        raise NotImplementedError

    def _warn_once(self, warnings: Iterable[str]) -> None:
        """Logs what no worker has said before; numbers do not make a warning another one."""
        for said in warnings:
            if (kind := re.sub(r"[0-9.]+", "0", said)) not in self._warned:
                self._warned.add(kind)
                logger.warning("%s", said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def describe(request: RolloutRequest) -> str:
    """A request as it is named in a message: with the seed and the groups that repeat it."""
    groups = ", ".join(f"{terrain}x{count}" for terrain, count in request.groups[:4])
    more = f", and {len(request.groups) - 4} more" if len(request.groups) > 4 else ""
    return f"request {request.id} (seed {request.seed}, terrains {groups}{more})"


def world_failed(error: WorldError) -> RolloutError:
    """What a world's error is to a pool: the end, in the world's own words, as it would say the same again."""
    return RolloutError(" ".join(str(error).split()))


def one_line(error: BaseException) -> str:
    """An error's type and message without its trace; of an error in a worker, those of its cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        error = cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # An error that Ray could not unpickle comes as the text of its trace, whose last line says what it was.
    message = lines[-1 if isinstance(error, RayError) else 0] if lines else ""
    return f"{type(error).__name__}: {message}"[:500]
