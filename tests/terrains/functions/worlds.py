"""Worlds of reward functions for tests, and attempts at their terrains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from terrains.base import Attempt, Score
from terrains.functions.config import FunctionsConfig
from terrains.functions.world import FunctionsWorld

TERRAINS = {"sums": {"instructions": [{"prompt": "2+3=", "answer": 5}, {"prompt": "4+4=", "answer": 8}]}}


def make_world(reward: Callable[..., Any] | None = None, **settings: Any) -> FunctionsWorld:
    """A world with one terrain, scored by a function unless the settings say by what."""
    settings = {"reward": "reward", "terrains": TERRAINS} | settings
    return FunctionsWorld(FunctionsConfig(**settings), {"reward": reward} if reward else None)


def attempts_at(world: FunctionsWorld, outputs: Sequence[str], terrain: str = "sums") -> list[Attempt]:
    """Attempts behind the terrain's instructions in turn; every character of an output is a token."""
    known = world.terrain(terrain).all_instructions
    return [
        Attempt(terrain, known[i % len(known)].text + output, i % len(known), tuple(map(ord, output)))
        for i, output in enumerate(outputs)
    ]


def scores_of(world: FunctionsWorld, outputs: Sequence[str], terrain: str = "sums") -> list[Score]:
    """Scores of outputs."""
    return world.score(attempts_at(world, outputs, terrain))
