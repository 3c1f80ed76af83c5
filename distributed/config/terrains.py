"""The ``terrains`` section: what the prompts are trained on."""

from __future__ import annotations

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


class TerrainsConfig(Section):
    """What the prompts are trained on."""

    world: PathText = "sodarace"
    """Kind of task: a world that comes along, ``package.module:Class``, or ``my_world.py:MyWorld``, whose path counts
    from the current directory or from that of the file with the settings."""
    names: tuple[PathText, ...] = ("left_wall", "right_wall", "tunnel")
    """Terrains, each with a soft prompt: a family with parameters, as in ``bumpy(amplitude=12, seed=3)``, several on
    top of each other, as in ``tunnel+bumpy``, or ``file(path=canyon.csv)``; `terraprompt terrains list` has all
    families. Where terrains are sampled and none named, there are none but those."""
    sample: TerrainSampleConfig = TerrainSampleConfig()
    """More terrains, drawn from families."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the world itself, such as ``{seconds: 20}``, the simulated time that a walker of sodarace has; for
    that one ``terrains.seconds`` is short."""

    @property
    def count(self) -> int:
        """How many terrains are named or sampled."""
        return len(self.names) + self.sample.count

    def all_names(self) -> tuple[str, ...]:
        """Returns the names of all terrains, those that are sampled last.

        Raises:
            ValueError: terrains cannot be drawn as it is said.
        """
        return self.names + self.sampled_names()

    def sampled_names(self) -> tuple[str, ...]:
        """Returns the names of the terrains that are drawn; raises as `all_names` does."""
        if not self.sample.count:
            return ()
        # Imported here: a world brings a compiler along, for which a command's --help has no time.
        from terrains.registry import sampled

        drawn = self.sample
        return sampled(self.world, drawn.families, drawn.count, drawn.difficulty, drawn.split, drawn.seed)

    @model_validator(mode="before")
    @classmethod
    def _sampled_only(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "names" in given:
            return given
        sample = given.get("sample")
        sampled = isinstance(sample, dict) and sample.get("count")
        # The terrains that are there by default are those of sodarace.
        return {**given, "names": ()} if sampled or given.get("world", "sodarace") != "sodarace" else given

    @field_validator("names")
    @classmethod
    def _differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"must differ; {', '.join(twice)} is there more than once")
        return names
