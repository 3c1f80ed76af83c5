"""What a world may offer besides scores. Each protocol stands alone, and nothing outside a world needs any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from terrains.base import Attempt
from terrains.errors import WorldError
from terrains.niches import Niches
from terrains.scene import Scene


@runtime_checkable
class Counting(Protocol):
    """A world that also counts what it does; its counts become metrics of a run."""

    def counters(self) -> Mapping[str, float]:
        """Returns what it did since it was made, by name. Every number only ever grows."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """A world whose scores need the language model's tokenizer; each rollout worker hands it over once."""

    def use_tokenizer(self, tokenizer: Any) -> None:
        """Takes the tokenizer, as transformers has it, before the first attempt is scored."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """A world that measures more of what is evaluated than its score; the means become metrics of a run.

    Its attribute ``metric_units``, if it has one, says what they are counted in, by name.
    """

    def metrics(self, attempts: Sequence[Attempt]) -> Mapping[str, Sequence[float]]:
        """Returns measures by name, each with a number per attempt, in order."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A world whose scores have descriptors: numbers that tell programs apart, such as a walker's height and width."""

    niches: Niches
    """The descriptors' names, and the grid of cells by which kinds of programs are counted."""


@runtime_checkable
class Rendering(Protocol):
    """A world whose programs can be looked at; a run's report, ``write`` and ``replay`` show texts of any other's."""

    def scene(self, terrain: str, program: str, seconds_per_frame: float) -> Scene:
        """Returns what a program does on a terrain.

        Args:
            terrain: its name.
            program: the whole text.
            seconds_per_frame: wanted time between two frames; the scene says what it is.

        Raises:
            ValueError: there is nothing to see of it; the message is one line.
        """
        ...


@runtime_checkable
class Listing(Protocol):
    """A world that says which terrains it has; a run that names none is trained on these."""

    def default_names(self) -> Sequence[str]:
        """Returns the terrains' names."""
        ...


@runtime_checkable
class Naming(Protocol):
    """Names of terrains that can be checked before a world is made: a world's class with such static methods."""

    def canonical_name(self, name: str) -> str:
        """Returns the one name of a terrain, however it is spelt.

        Raises:
            ValueError: no such terrain; the message names the nearest one.
        """
        ...


@runtime_checkable
class Sampling(Protocol):
    """A world whose terrains can be drawn from families: a world's class with such a static method."""

    def sample_terrains(
        self, families: Sequence[str], count: int, difficulty: tuple[float, float], split: str, seed: int
    ) -> Sequence[str]:
        """Returns names of terrains, all different; the arguments are the settings of ``terrains.sample``.

        Raises:
            ValueError: they cannot be drawn; the message is one line.
        """
        ...


@runtime_checkable
class Travelling(Protocol):
    """A world that reads files which other machines may not have."""

    def luggage(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Returns what the world's class has to be given beside its settings to be made elsewhere.

        Args:
            names: of the terrains that are scored there.

        Returns:
            Arguments by their names, which can be pickled.

        Raises:
            ValueError: a file is not there, or not what it should be; the message is one line.
        """
        ...


@runtime_checkable
class Keeping(Protocol):
    """A world whose runs can be looked at, exported and continued when the files that it read are gone."""

    def keep(self) -> Mapping[str, Any]:
        """Returns what it read of files, as JSON has it, which its class is given back as the argument ``kept``."""
        ...


PROTOCOLS: tuple[type, ...] = (
    Counting, Tokenizing, Measuring, Describing, Rendering, Listing, Naming, Sampling, Travelling, Keeping,
)  # fmt: skip
"""Everything that a world may add."""


def fitness_unit(world: object) -> str:
    """Returns what a world's fitness is counted in, behind a space, or nothing: its attribute ``fitness_unit``."""
    unit = getattr(world, "fitness_unit", "")
    return f" {unit}" if isinstance(unit, str) and unit else ""


def niches_of(world: object) -> Niches | None:
    """Returns a world's grid, None for a world whose programs have no descriptors.

    Raises:
        WorldError: what it has under that name is no grid.
    """
    found = world.niches if isinstance(world, Describing) else None
    if found is not None and not isinstance(found, Niches):
        name = getattr(world, "name", type(world).__name__)
        raise WorldError(f"the world {name}: its niches are a {type(found).__name__}, and not terrains.niches.Niches")
    return found


def units_of(world: object) -> dict[str, str]:
    """Returns what a world's numbers are counted in, by name: ``fitness``, and what it measures, as far as it says."""
    units = getattr(world, "metric_units", {})
    known = {str(name): str(unit) for name, unit in units.items()} if isinstance(units, Mapping) else {}
    return {**known, "fitness": fitness_unit(world).strip()}
