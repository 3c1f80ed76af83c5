"""What Stage 1 asks of a program: its walker's size, and how far it goes on each terrain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from terrains.base import Attempt
from terrains.sodarace.canonical import descriptors
from terrains.sodarace.world import SodaraceWorld


@dataclass(frozen=True)
class Evaluation:
    """One program, evaluated.

    Attributes:
        fitness: units travelled on each terrain, in the order that was asked for; zeros for a program without a walker.
        descriptors: height, width and mass of the walker in program units, or None.
        failure: the first failure kind, or None if the program is valid on every terrain.
    """

    fitness: tuple[float, ...]
    descriptors: tuple[float, float, float] | None
    failure: str | None


class Evaluator(Protocol):
    """Evaluates programs; where and on how many processors is its own affair."""

    def evaluate(self, chunks: Iterable[Sequence[str]]) -> Iterator[list[Evaluation]]:
        """Yields one list a chunk, and in it one Evaluation a program, in order.

        Chunks are taken as they are needed, so that the next can be made while earlier ones are evaluated.
        """
        ...


class WorldEvaluator:
    """Evaluates in this process.

    Args:
        world: scores the programs.
        terrains: names of the terrains.
    """

    def __init__(self, world: SodaraceWorld, terrains: Sequence[str]) -> None:
        self.world = world
        self.terrains = tuple(terrains)

    def evaluate(self, chunks: Iterable[Sequence[str]]) -> Iterator[list[Evaluation]]:
        """See `Evaluator`."""
        return map(self.evaluate_chunk, chunks)

    def evaluate_chunk(self, programs: Sequence[str]) -> list[Evaluation]:
        """Evaluates some programs, in order."""
        names = self.terrains
        scores = self.world.score([Attempt(t, p) for p in programs for t in names])
        found = []
        for k, program in enumerate(programs):
            own = scores[k * len(names) : (k + 1) * len(names)]
            fitness = tuple(round(s.fitness, 2) for s in own)
            failure = next((s.failure for s in own if s.failure), None)
            found.append(Evaluation(fitness, self._descriptors(program) if any(fitness) else None, failure))
        return found

    def _descriptors(self, program: str) -> tuple[float, float, float]:
        return descriptors(self.world.walker(program))
