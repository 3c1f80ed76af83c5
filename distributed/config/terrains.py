"""The ``terrains`` section: what the prompts are trained on."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from distributed.config.section import PathText, Section

Difficulty = Annotated[float, Field(ge=0, le=1)]


class TerrainSampleConfig(Section):
    """Terrains drawn from families; ``terraprompt terrains sample`` shows them."""

    families: tuple[str, ...] = ()
    """Families that take turns, such as ``tunnel`` or ``tunnel+bumpy``; what a name says of parameters stays as it is.
    Empty for all that have something to draw."""
    count: int = Field(0, ge=0)
    """How many terrains are drawn; 0 for none."""
    difficulty: tuple[Difficulty, Difficulty] = (0.0, 1.0)
    """From how difficult to how difficult, each from 0 to 1; one number for terrains that are all alike."""
    split: Literal["train", "held_out"] = "train"
    """Terrains of the two splits share no seed and no drawn parameter, whatever the other settings are."""
    seed: int = 0
    """Another seed draws other terrains."""

    @field_validator("difficulty", mode="before")
    @classmethod
    def _one_for_both(cls, given: Any) -> Any:
        return (given, given) if isinstance(given, int | float) else given

    @model_validator(mode="after")
    def _can_be_drawn(self) -> TerrainSampleConfig:
        self.names()
        return self

    def names(self) -> tuple[str, ...]:
        """Returns the names of the terrains that are drawn."""
        return _sampled(self.families, self.count, self.difficulty, self.split, self.seed) if self.count else ()


@lru_cache(maxsize=32)
def _sampled(
    families: tuple[str, ...], count: int, difficulty: tuple[float, float], split: str, seed: int
) -> tuple[str, ...]:
    # Imported here: the world brings a compiler along, for which a command's --help has no time.
    from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, sample_terrains

    return tuple(sample_terrains(families or DRAWN_FAMILIES, count, difficulty, split, seed))


class TerrainsConfig(Section):
    """What the prompts are trained on."""

    world: Literal["sodarace"] = "sodarace"
    """Kind of task."""
    names: tuple[PathText, ...] = ("left_wall", "right_wall", "tunnel")
    """Terrains, each with a soft prompt: a family with parameters, as in ``bumpy(amplitude=12, seed=3)``, several on
    top of each other, as in ``tunnel+bumpy``, or ``file(path=canyon.csv)``; `terraprompt terrains list` has all
    families. Where terrains are sampled and none named, there are none but those."""
    sample: TerrainSampleConfig = TerrainSampleConfig()
    """More terrains, drawn from families."""
    seconds: float = Field(20.0, gt=0)
    """Simulated time that a walker has."""

    def all_names(self) -> tuple[str, ...]:
        """Returns the names of all terrains, those that are sampled last."""
        return self.names + self.sample.names()

    @model_validator(mode="before")
    @classmethod
    def _sampled_only(cls, given: Any) -> Any:
        if isinstance(given, dict) and "names" not in given and isinstance(given.get("sample"), dict):
            return {**given, "names": ()} if given["sample"].get("count") else given
        return given

    @field_validator("names")
    @classmethod
    def _differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"must differ; {', '.join(twice)} is there more than once")
        return names
