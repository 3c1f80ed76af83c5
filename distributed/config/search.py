"""The ``search`` section: a population of runs, and the values that their settings may have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from distributed.config.renamed import current_name
from distributed.config.section import Section


class Range(Section):
    """All values between two ends."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    log: bool = False
    """Whether values are drawn evenly by their logarithm, as learning rates should be."""

    @model_validator(mode="after")
    def _is_one(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, and with log it has to be above 0")
        return self


def _form(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Objective = Literal["fitness", "unique", "distinct", "unique_mean", "entropy", "cells", "qd_score"]
"""What members may be compared by: the mean fitness, and the figures of variety."""

Choices = Annotated[Annotated[tuple[Any, ...], Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_form)]
"""The values that a setting may have: a list of them, or a range."""


class SearchConfig(Section):
    """A population of runs, its members, that differ in some settings."""

    algorithm: Literal["pbt", "asha", "random"] = "pbt"
    """Population-based training, asynchronous successive halving, or a random choice of settings."""
    members: int = Field(8, ge=1)
    """Runs in the population."""
    concurrent: int | None = Field(None, ge=1)
    """Members at a time, for asha and random; null for as many as fit. With pbt all live, and take turns."""
    interval: int = Field(2, ge=1)
    """Steps of a round, at whose end a member is evaluated and it is decided who goes on."""
    total_rounds: int | None = Field(None, ge=1)
    """Rounds of all members together after which the search ends; null for as many as the members need."""
    synch: bool = True
    """Whether pbt waits for all members at the end of a round; else it compares each with the others as last seen."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that pbt replaces by copies of the best."""
    resample: float = Field(0.25, ge=0, le=1)
    """Chance that pbt draws a copied member's setting anew; else it moves to a neighbour, or by a fifth in a range."""
    reduction: float = Field(3.0, gt=1)
    """asha lets the best of so many members go on at each halving."""
    space: dict[str, Choices] = {
        "method.n_soft_tokens": (1, 4, 8, 20, 50),
        "method.initialize_from_vocab": (True, False),
        "optimizer.kwargs.lr": (0.01, 0.02, 0.05, 0.1),
    }
    """Settings that differ between members, by full name: the values each may have, or ``{low, high, log}``."""

    objective: tuple[Objective, ...] = Field(("fitness",), min_length=1)
    """What members are ranked by, as a mean over the terrains: fitness, or how varied their programs are. Of a list the
    first ranks them, and the summary names the rounds that no other beats in all of it."""
    evaluation_samples: int = Field(32, ge=2)
    """Programs a terrain by which members are compared, drawn from the same seeds for every member and round."""
    stored_programs: int = Field(16, ge=1)
    """Programs a terrain of a member's last step on which surgery is measured and prompts are distilled."""
    distill_steps: int = Field(60, ge=0)
    """Steps that make a prompt of a new size say what the copied one said; 0 turns distillation off."""
    distill_lr: float = Field(0.02, gt=0)
    """Learning rate of these steps."""
    measure_surgery: bool = True
    """Whether programs are sampled to measure fitness behind surgery, before and after distillation."""

    cpus_per_member: float = Field(1.0, gt=0)
    """CPUs, or parts of one, that Ray sets aside for a member's learner; its workers come on top."""
    gpus_per_member: float = Field(0.0, ge=0)
    """GPUs, or parts of one, for a member's learner."""
    max_failures: int = Field(1, ge=0)
    """Times that a member which fails goes on from its last checkpoint; after that the others go on without it."""

    @field_validator("objective", mode="before")
    @classmethod
    def _one_is_a_list(cls, objective: Any) -> Any:
        return (objective,) if isinstance(objective, str) else objective

    @field_validator("objective")
    @classmethod
    def _names_each_once(cls, objective: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(objective)) < len(objective):
            raise ValueError(f"{', '.join(objective)} names one of them twice")
        return objective

    @field_validator("space", mode="before")
    @classmethod
    def _has_current_names(cls, space: Any) -> Any:
        return {current_name(str(name)): values for name, values in space.items()} if isinstance(space, dict) else space

    @field_validator("space")
    @classmethod
    def _has_choices(cls, space: dict[str, Any]) -> dict[str, Any]:
        for name, values in space.items():
            if not isinstance(values, Range) and not values:
                raise ValueError(f"{name} has no values to choose from")
        return space

    @model_validator(mode="after")
    def _has_a_population(self) -> SearchConfig:
        if self.algorithm == "pbt" and self.members < 2:
            raise ValueError("pbt needs at least 2 members to copy from each other; set search.members")
        if self.algorithm == "pbt" and self.concurrent is not None:
            raise ValueError("pbt compares all members, so concurrent is null; ray.num_cpus says how many fit")
        return self
