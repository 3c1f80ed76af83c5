"""Recorded walkers of programs, for reports, pictures and replays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distributed.results.best_programs import Found

if TYPE_CHECKING:
    from terrains.sodarace.ground.geometry import Ground
    from terrains.sodarace.world import SodaraceWorld


@dataclass(frozen=True)
class WalkerShow:
    """A program to show, and the walker it made where its world has one.

    Attributes:
        terrain: the terrain it belongs to; walkers of one terrain are shown side by side.
        title: its label, for example ``best tuned``.
        fitness: its fitness on that terrain.
        program: the program's text.
        frames: (f, n, 2) joint positions in world units, or None for a program that has no moving picture.
        ground: what it walked on; needed with frames.
        muscles: (m, 2) joint indices; needed with frames.
        rigid: (m,) bool, the muscles that do not swing.
        seconds_per_frame: simulated time between two frames.
    """

    terrain: str
    title: str
    fitness: float
    program: str
    frames: np.ndarray | None = None
    ground: Ground | None = None
    muscles: np.ndarray | None = None
    rigid: np.ndarray | None = None
    seconds_per_frame: float = 2 / 60

    @property
    def moving(self) -> bool:
        """Whether there is something to play."""
        return self.frames is not None and self.ground is not None


def recorded(world: SodaraceWorld, found: Found, every: int) -> WalkerShow:
    """Simulates a program's walker again and records every ``every``-th step.

    Raises:
        ValueError: it has no walker that can be simulated; the message is one line.
    """
    # Imported here: a report without walkers needs no compiled physics.
    from terrains.sodarace.kernel import DT
    from terrains.sodarace.physics import trace

    walker, ground = world.walker(found.program), world.ground(found.terrain)
    frames = trace(walker, ground, world.config.seconds, every)
    return WalkerShow(
        found.terrain,
        found.title,
        found.fitness,
        found.program,
        frames,
        ground,
        walker.muscles,
        walker.rigid,
        seconds_per_frame=every * DT,
    )
