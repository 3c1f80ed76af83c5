"""What scoring a program takes, counted."""

from __future__ import annotations

from dataclasses import dataclass

from terrains.base import Score
from terrains.sodarace.score_cache import Key

Job = tuple[str, dict[Key, str]]
"""A program, and the names of the terrains it is asked for."""


@dataclass(frozen=True)
class Done:
    """A job that is done: its scores, the simulations they took, and seconds in the sandbox and on the ground."""

    scores: dict[Key, Score]
    simulated: int
    sandbox_seconds: float
    simulation_seconds: float


@dataclass
class ScoringCounts:
    """What a world did.

    Attributes:
        attempts: scores asked for.
        remembered: scores that the cache held; attempts that are equal to another of their call are not in here.
        programs: programs run in the sandbox.
        simulated: walkers simulated.
        sandbox_seconds: time in the sandbox, over all threads, checking what programs returned included.
        simulation_seconds: time in the simulation, over all threads.
    """

    attempts: int = 0
    remembered: int = 0
    programs: int = 0
    simulated: int = 0
    sandbox_seconds: float = 0.0
    simulation_seconds: float = 0.0

    def add(self, done: Done) -> None:
        """Counts a job."""
        self.programs += 1
        self.simulated += done.simulated
        self.sandbox_seconds += done.sandbox_seconds
        self.simulation_seconds += done.simulation_seconds
