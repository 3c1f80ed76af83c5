"""The words every world shares: Terrain, Attempt, Score and World."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Terrain:
    """One task of a world.

    Attributes:
        name: canonical name, for example ``bumpy(amplitude=12,seed=3)``; naming it again gives the same terrain.
        instruction: the hard prompt; every program of this terrain begins with it.
        features: vector that a terrain embedding network reads, shape (n_features,), float32.
        fingerprint: hex digest of everything that decides a program's score on this terrain.
        profiles: of how many profiles the features consist, one behind the other and equally long.
    """

    name: str
    instruction: str
    features: np.ndarray
    fingerprint: str
    profiles: int = 1

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Terrain) and (self.name, self.fingerprint) == (other.name, other.fingerprint)


@dataclass(frozen=True)
class Attempt:
    """A program offered to a terrain.

    Attributes:
        terrain: the terrain's name.
        program: the whole text that the language model wrote, its instruction included.
    """

    terrain: str
    program: str


@dataclass(frozen=True)
class Score:
    """What a world says of one attempt. A bad program is a Score too, never an exception.

    Attributes:
        reward: what the learner maximises, always finite.
        fitness: the world's own measure (sodarace: units travelled), 0 for a failure.
        failure: the failure kind, or None for a valid program.
        detail: one short line a person can read, empty for a valid program.
    """

    reward: float
    fitness: float
    failure: str | None = None
    detail: str = ""

    @property
    def valid(self) -> bool:
        """Whether the program did what the world asks of every program."""
        return self.failure is None


class World(Protocol):
    """A kind of task: names terrains and scores attempts on them."""

    name: str

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name.

        Raises:
            ValueError: no such terrain; the message names the nearest one.
        """
        ...

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order, whatever the programs do."""
        ...

    def close(self) -> None:
        """Ends the world's subprocesses. Safe to call twice."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A world that also counts what it does; its counts become metrics of a run."""

    def counters(self) -> Mapping[str, float]:
        """Returns what it did since it was made, by name. Every number only ever grows."""
        ...
