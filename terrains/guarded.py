"""A world of a user's own behind checks, so that its mistakes end in one clear line and never in a wrong score."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from terrains.base import Attempt, Score, Terrain, World
from terrains.calls import SAYS_ITSELF, Calls
from terrains.checks import checked_counts, checked_scores, checked_terrain
from terrains.errors import WorldError, one_line
from terrains.optional import PROTOCOLS

logger = logging.getLogger("terraprompt")

CLOSING_S = 10.0
"""Longest that closing a world may take, in seconds."""

EXPLAINS = frozenset({"terrain", "scene", "canonical_name", "sample_terrains", "luggage"})
"""Methods whose ValueError is a message for the user."""


def guarded(world: World, name: str, files: Sequence[str] = (), deadline_s: float = 300.0) -> World:
    """Returns a world that does what another does, and has what that adds, with checks.

    Args:
        world: the world.
        name: what messages call it.
        files: the user's files, whose lines messages name.
        deadline_s: longest that a call may take, in seconds.
    """
    return guarded_by(Calls(name, files, deadline_s), world, name)


def guarded_by(calls: Calls, world: World, name: str, fingerprints: Mapping[str, str] | None = None) -> World:
    """The same, where there are calls to make it with, and fingerprints of terrains that another process has."""
    members = {each for protocol in PROTOCOLS for each in _members(protocol)} - {"counters"}
    added: dict[str, Any] = {
        each: _passed_on(each) for each in sorted(members | {"fitness_unit", "metric_units", "config"})
    }
    added = {each: passed for each, passed in added.items() if hasattr(world, each)}
    if hasattr(world, "counters"):
        added["counters"] = _counters
    kind: type[Guarded] = type("Guarded", (Guarded,), added)
    return kind(world, name, calls, fingerprints or {})


class Guarded:
    """See `guarded`."""

    def __init__(self, world: World, said: str, calls: Calls, fingerprints: Mapping[str, str]) -> None:
        self.world, self.name = world, world.name
        self._said, self._calls = said, calls
        self._fingerprints = dict(fingerprints)

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name.

        Raises:
            WorldError: there is none, what the world returns is none, or another one than before.
        """
        found = self._do(f"terrain({name!r})", functools.partial(self.world.terrain, name), (ValueError,))
        found = checked_terrain(found, self._said, name)
        before = self._fingerprints.setdefault(name, found.fingerprint)
        if before != found.fingerprint:
            raise WorldError(
                f"{self._said}: terrain({name!r}) is another terrain each time, or in each process, as hash() of a "
                "text is: its instructions and its fingerprint have to follow from its name and the settings alone"
            )
        return found

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order.

        Raises:
            WorldError: the world raises, takes too long, or returns something else, or scores may be of other attempts
                than those they stand for, as the world has changed the list of them.
        """
        given = [replace(attempt) for attempt in attempts]
        order = [id(attempt) for attempt in given]
        names = ", ".join(dict.fromkeys(repr(attempt.terrain) for attempt in attempts))
        about = f" with {len(attempts)} attempts on {one_line(names)}"
        scores = self._do("score", lambda: self.world.score(given), about=about)
        scores = checked_scores(scores, len(order), self._said)
        if order != [id(attempt) for attempt in given]:
            raise WorldError(
                f"{self._said}: score changed the list of attempts that it was given, so that nobody can tell which "
                "score is whose; sort or empty a copy of it"
            )
        return scores

    def close(self) -> None:
        """Ends what the world holds; a failure is logged, and does not fail the run."""
        calls = self._calls.anew() if self._calls.stuck else self._calls
        try:
            calls.do("close", self.world.close, deadline_s=CLOSING_S)
        except WorldError as error:
            logger.warning("%s; all else goes on", error)
        calls.end()

    def _do(self, what: str, action: Any, own: tuple[type[Exception], ...] = SAYS_ITSELF, about: str = "") -> Any:
        return self._calls.do(what, action, about, own)


def _passed_on(member: str) -> property:
    """What a world adds: an attribute as it is, a method by way of the checks."""

    def get(self: Guarded) -> Any:
        found = getattr(self.world, member)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*args: Any, **settings: Any) -> Any:
            own = (ValueError,) if member in EXPLAINS else SAYS_ITSELF
            return self._do(member, lambda: found(*args, **settings), own)

        return call

    return property(get)


def _counters(self: Guarded) -> Mapping[str, float]:
    world: Any = self.world
    return checked_counts(self._do("counters", world.counters), self._said)


def _members(protocol: type) -> set[str]:
    own = {each for each in vars(protocol) if not each.startswith("_")}
    return own | {each for each in getattr(protocol, "__annotations__", {}) if not each.startswith("_")}
