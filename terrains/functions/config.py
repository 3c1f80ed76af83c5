"""Settings of the world of reward functions: its terrains, what scores them, and what happens when that fails."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from terrains.functions.settings import Settings


class RewardConfig(BaseModel):
    """A function that scores samples, and how much it counts. All other settings are arguments of the function."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True, protected_namespaces=())

    name: str = Field(min_length=1)
    """One of those that come along, such as ``length``, or ``package.module:function``, or ``file.py:function``."""
    weight: float = Field(1.0, allow_inf_nan=False)
    """What its rewards are multiplied with before they are added up."""

    @model_validator(mode="before")
    @classmethod
    def _of_a_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings of the function itself."""
        return dict(self.model_extra or {})


def _several(given: Any) -> Any:
    each = given if isinstance(given, list | tuple) else (given,)
    if any(callable(one) for one in each):
        raise ValueError("settings name functions; one of Python's own is given as terraprompt.train(reward_fn=...)")
    return (given,) if isinstance(given, str | dict | RewardConfig) else given


Rewards = Annotated[tuple[RewardConfig, ...], Field(min_length=1), BeforeValidator(_several)]
"""One reward or a list of rewards, each a name or settings; what they give is added up with their weights."""

Files = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]
Rows = tuple[str | dict[str, Any], ...]


class TaskConfig(Settings):
    """What a terrain can say for itself, and the world for all terrains that do not."""

    reward: Rewards | None = None
    """What the learner maximises: a function with trlx's signature, one that comes along, or a weighted list."""
    fitness: Rewards | None = None
    """The measure that runs are compared by; left out, the reward."""
    valid: Rewards | None = None
    """Where it gives false, 0 or less, a sample counts as a failure of kind ``invalid``; it keeps its reward."""
    metric: RewardConfig | None = None
    """Function that measures more of what is evaluated: returns a list, a number a sample, by name."""
    measures: dict[str, Rewards] | None = None
    """More measures of what is evaluated, by name, each of what could be a reward."""
    instruction_field: str | None = None
    """Field of a data file that holds the instruction; left out, ``prompt``."""
    template: str | None = None
    """The instruction as a text with fields in braces, as in ``"Q: {question}\\nA:"``; left out, the field alone.
    ``{{question}}`` is the text ``{question}``, and ``{{{question}}}`` the field in braces."""
    fields: tuple[str, ...] | None = None
    """Fields that the functions are given as metadata; left out, all but the instruction's."""
    limit: int | None = Field(None, ge=1)
    """Rows that are read of each data file, from its beginning; left out, all."""
    eval_fraction: float | None = Field(None, gt=0, lt=1)
    """Share of the data that is set aside for evaluation, where no data for it are named."""


class TerrainConfig(TaskConfig):
    """A terrain: instructions that are read behind one soft prompt."""

    instructions: Rows = ()
    """Instructions written here, each a text, or fields as a data file has them."""
    data: Files = ()
    """Files with more: .jsonl, .json, .csv, .tsv, .parquet or .txt (an instruction a line), a folder that Hugging Face
    datasets saved, or ``hf:name``, ``hf:name:subset@split`` on its hub."""
    eval_instructions: Rows = ()
    """Instructions that are for evaluation alone."""
    eval_data: Files = ()
    """Files with instructions that are for evaluation alone."""

    @model_validator(mode="after")
    def _something_to_read(self) -> TerrainConfig:
        if not self.instructions and not self.data:
            raise ValueError("needs instructions, or data with some")
        return self


class FunctionsConfig(TaskConfig):
    """Settings of the world of reward functions."""

    terrains: dict[str, TerrainConfig] = Field(min_length=1)
    """Terrains by name, each with a soft prompt of its own."""
    on_error: Literal["stop", "count"] = "stop"
    """A sample that a function fails for ends the run, with a line that names it, or is counted as a failure."""
    failure_reward: float = 0.0
    """Reward of samples that are counted as failures of a function."""
    threads: int = Field(1, ge=1)
    """Calls that are made side by side, each in a thread; for functions that wait for a server."""
    batch_size: int = Field(0, ge=0)
    """Samples a call is given; 0 for all of them, or for one where there are several threads."""
    deadline_s: float = Field(120.0, ge=0)
    """How long a call may take, in seconds; its samples are failures of kind ``late`` then. 0 for as long as it
    takes: such calls are made in the program's main thread if there is but one."""
    units: dict[str, str] = Field(default_factory=dict)
    """What measures are counted in, by name, and ``fitness`` too: ``{words: words, fitness: "%"}``. It is shown."""
    seed: int = 0
    """Another seed sets aside other data for evaluation."""

    @model_validator(mode="after")
    def _every_terrain_is_scored(self) -> FunctionsConfig:
        for name in self.terrains:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"terrains: {name!r} is no name for a terrain")
            if self.of(name).reward is None:
                raise ValueError(f"terrain {name!r} has no reward: set one for it, or one for all")
        return self

    def of(self, name: str) -> TerrainConfig:
        """Returns the settings of a terrain, with those of the world where it has none of its own."""
        own = self.terrains[name]
        shared = {each: getattr(self, each) for each in TaskConfig.model_fields if getattr(own, each) is None}
        return own.model_copy(update=shared)
