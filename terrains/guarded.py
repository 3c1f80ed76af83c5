"""A world of a user's own behind checks, so that its mistakes end in one clear line and never in a wrong score."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from numbers import Real
from typing import Any

from terrains.base import Attempt, Score, Terrain, World
from terrains.errors import WorldError
from terrains.loading import described
from terrains.optional import PROTOCOLS

logger = logging.getLogger("terraprompt")

CLOSING_S = 10.0
"""Longest that closing a world may take, in seconds."""


def guarded(world: World, name: str, files: Sequence[str] = (), deadline_s: float = 300.0) -> World:
    """Returns a world that does what another does, and has what that adds, with checks.

    Args:
        world: the world.
        name: what messages call it.
        files: the user's files, whose lines messages name.
        deadline_s: longest that scoring may take, in seconds.
    """
    members = {each for protocol in PROTOCOLS for each in _members(protocol)} | {
        "fitness_unit",
        "metric_units",
        "config",
    }
    added = {each: _passed_on(each) for each in sorted(members) if hasattr(world, each)}
    kind: type[Guarded] = type("Guarded", (Guarded,), added)
    return kind(world, name, files, deadline_s)


class Guarded:
    """See `guarded`."""

    def __init__(self, world: World, name: str, files: Sequence[str], deadline_s: float) -> None:
        self.world, self.name = world, world.name
        self._said, self._files, self._deadline_s = name, files, deadline_s
        self._stuck = False

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name.

        Raises:
            WorldError: there is none, or what the world returns is none.
        """
        try:
            found = self.world.terrain(name)
        except ValueError as error:
            raise WorldError(str(error).strip().partition("\n")[0] or f"no terrain {name!r}") from error
        except Exception as error:
            raise WorldError(f"{self._said}: terrain({name!r}) raised {described(error, *self._files)}") from error
        if not isinstance(found, Terrain):
            raise WorldError(f"{self._said}: terrain({name!r}) returned {_a(found)}, and not a terrains.Terrain")
        return found

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order.

        Raises:
            WorldError: the world raises, takes too long, or returns something else.
        """
        if self._stuck:
            raise WorldError(f"{self._said}: score still works on earlier attempts, and does not come back")
        answers: list[Any] = []
        thread = threading.Thread(target=self._ask, args=(list(attempts), answers), daemon=True, name="scoring")
        thread.start()
        thread.join(self._deadline_s)
        if thread.is_alive():
            self._stuck = True
            raise WorldError(
                f"{self._said}: score has not come back after {self._deadline_s:g} s with {len(attempts)} attempts"
            )
        [answer] = answers
        if isinstance(answer, BaseException):
            raise WorldError(f"{self._said}: score raised {described(answer, *self._files)}") from answer
        return checked_scores(answer, len(attempts), self._said)

    def close(self) -> None:
        """Ends what the world holds; a failure is logged, and does not fail the run."""
        thread = threading.Thread(target=self._close, daemon=True, name="closing")
        thread.start()
        thread.join(CLOSING_S)
        if thread.is_alive():
            logger.warning("%s: close has not come back after %g s; the run goes on", self._said, CLOSING_S)

    def _ask(self, attempts: list[Attempt], answers: list[Any]) -> None:
        try:
            answers.append(self.world.score(attempts))
        except BaseException as error:  # also SystemExit, which would end the thread alone
            answers.append(error)

    def _close(self) -> None:
        try:
            self.world.close()
        except Exception as error:
            logger.warning("%s: close raised %s", self._said, described(error, *self._files))


def checked_scores(answer: Any, count: int, said: str) -> list[Score]:
    """Returns what a world's ``score`` returned, if it is one Score an attempt.

    Args:
        answer: what it returned.
        count: the number of attempts.
        said: what messages call the world.

    Raises:
        WorldError: it is something else.
    """
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        raise WorldError(f"{said}: score returned {_a(answer)}, and not a list of terrains.Score")
    if len(answer) != count:
        raise WorldError(f"{said}: score returned {len(answer)} scores for {count} attempts")
    for place, each in enumerate(answer):
        if not isinstance(each, Score):
            raise WorldError(f"{said}: score returned {_a(each)} for attempt {place}, and not a terrains.Score")
        if not isinstance(each.reward, Real) or not isinstance(each.fitness, Real):
            raise WorldError(f"{said}: the Score of attempt {place} has a reward or fitness that is no number")
        if each.failure is not None and not isinstance(each.failure, str):
            raise WorldError(f"{said}: the Score of attempt {place} has a failure that is no text")
    return list(answer)


def _passed_on(member: str) -> property:
    return property(lambda self: getattr(self.world, member))


def _members(protocol: type) -> set[str]:
    own = {each for each in vars(protocol) if not each.startswith("_")}
    return own | {each for each in getattr(protocol, "__annotations__", {}) if not each.startswith("_")}


def _a(value: object) -> str:
    return f"a {type(value).__name__}"
