"""Programs to show, with what is to be seen of them, for reports, pictures and replays."""

from __future__ import annotations

from dataclasses import dataclass

from distributed.results.best_programs import Found
from terrains.base import World
from terrains.optional import Rendering
from terrains.scene import Scene


@dataclass(frozen=True)
class Show:
    """A program to show.

    Attributes:
        terrain: the terrain it belongs to; programs of one terrain are shown side by side.
        title: its label, for example ``best tuned``.
        fitness: its fitness on that terrain.
        program: the program's text.
        scene: what is to be seen of it, None for a program that is a text alone.
    """

    terrain: str
    title: str
    fitness: float
    program: str
    scene: Scene | None = None

    @property
    def moving(self) -> bool:
        """Whether there is something to play."""
        return self.scene is not None


def recorded(world: World, found: Found, seconds_per_frame: float) -> Show:
    """Returns a program with its scene, where its world has such.

    Raises:
        ValueError: there is nothing to see of it; the message is one line.
    """
    scene = world.scene(found.terrain, found.program, seconds_per_frame) if isinstance(world, Rendering) else None
    return Show(found.terrain, found.title, found.fitness, found.program, scene)


def shown(world: World, found: Found, seconds_per_frame: float) -> Show:
    """Returns a program with its scene, or its text alone where there is nothing to see of it."""
    try:
        return recorded(world, found, seconds_per_frame)
    except ValueError:
        return Show(found.terrain, found.title, found.fitness, found.program)
