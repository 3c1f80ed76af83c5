"""Settings of the sodarace world. They are read without the compiler that the world needs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SandboxLimits(BaseModel):
    """What a program may use. Part of what decides a score."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: float = Field(1.0, gt=0)
    """Processor time a program may use."""
    memory_mb: int = Field(64, ge=1)
    """Memory of its values, in MiB."""
    recursion: int = Field(200, ge=10)
    """Depth of its calls."""
    characters: int = Field(20_000, ge=100)
    """Longer programs are not run."""
    printed: int = Field(10_000, ge=0)
    """Bytes it may print; they go nowhere."""


class WorldConfig(BaseModel):
    """Settings of the sodarace world."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seconds: float = Field(20.0, gt=0)
    """Simulated time of a run."""
    reward_scale: float = Field(100.0, gt=0)
    """A valid walker's reward is its fitness divided by this."""
    failure_reward: float = -0.1
    """Reward of every failure."""
    min_fitness: float = Field(1.0, ge=0)
    """A walker that travels less, in world units, did not move."""
    threads: int = Field(1, ge=0)
    """Programs worked on side by side, from text to score; 0 for one on each processor."""
    cache: int = Field(20_000, ge=0)
    """Scores remembered between calls, by program and terrain, the last ones asked for; 0 remembers none."""
    limits: SandboxLimits = SandboxLimits()
    """What a program may use."""
