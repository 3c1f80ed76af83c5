"""Programs worth looking at, and their walkers recorded: what reports, pictures and replays show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from terrains.sodarace.ground.geometry import Ground
    from terrains.sodarace.world import SodaraceWorld


@dataclass(frozen=True)
class WalkerShow:
    """A program to show, and the walker it made where its world has one.

    Attributes:
        terrain: the terrain it belongs to; walkers of one terrain are shown side by side.
        title: what it is, for example ``best tuned``.
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


@dataclass(frozen=True)
class Found:
    """A program that a run found, on one of its terrains."""

    terrain: str
    title: str
    program: str
    fitness: float


def best_found(terrains: Sequence[str], untuned: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[Found]:
    """Returns each terrain's best untuned program, and the best and the median of its tuned prompt.

    Args:
        terrains: names, in the run's order.
        untuned: ``fitness`` (n, n_terrains) and ``best`` programs by terrain, as the training loop keeps them.
        tuned: by terrain, ``fitness`` (m, n_terrains) and ``programs``.
    """
    found = []
    for k, name in enumerate(terrains):
        own, programs = np.asarray(tuned[name]["fitness"])[:, k], tuned[name]["programs"]
        best, middle = int(own.argmax()), int(np.argsort(own)[len(own) // 2])
        found += [
            Found(name, "best untuned", untuned["best"][k], float(np.asarray(untuned["fitness"])[:, k].max())),
            Found(name, "best tuned", programs[best], float(own[best])),
            Found(name, "median tuned", programs[middle], float(own[middle])),
        ]
    return [each for each in found if each.fitness > 0]


def recorded(world: SodaraceWorld, found: Found, every: int) -> WalkerShow:
    """Runs a program's walker once more and takes down every ``every``-th step.

    Raises:
        ValueError: it has no walker that can be simulated; the message is one line.
    """
    # Imported here: what shows a report of another world needs no compiled physics.
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
