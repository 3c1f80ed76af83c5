"""What a world says of programs that were written, checked: a world cannot shift a score to another program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from distributed.rollout.instructions import sharing
from distributed.rollout.types import Trial
from terrains.base import Attempt, Score, Terrain, World
from terrains.checks import checked_scores, kind_of
from terrains.errors import WorldError
from terrains.optional import Measuring

NOT_FINITE = "not_finite"
"""Failure kind of a program whose reward or fitness, as the world returned it, is NaN or infinite."""

WRONG_TOKEN_REWARDS = "wrong_token_rewards"
"""Failure kind of a program whose token rewards are not one a token, or do not add up to its reward."""

TRIALS = 12
"""A constant in the seeds that draw on which other terrains programs are tried."""

TOLERANCE = 1e-6
"""How far token rewards may be from adding up to the reward, as a share of the sum of their sizes, or of 1."""

Where = Literal["own", "all"]


@dataclass(frozen=True)
class Written:
    """Programs to score.

    Attributes:
        programs: b whole texts.
        terrain: index of the terrain each was written for, shape (b,), int64.
        instruction: which of its instructions each was written behind, shape (b,), int64.
        tokens: the sampled tokens of each.
    """

    programs: Sequence[str]
    terrain: np.ndarray
    instruction: np.ndarray
    tokens: Sequence[tuple[int, ...]]


class Scorer:
    """Scores programs on the terrains of a world.

    Args:
        world: what scores them.
        names: the terrains' names, in the order of their indices.
    """

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self._world, self._names = world, list(names)
        self._terrains: dict[int, Terrain] = {}

    def terrain(self, index: int) -> Terrain:
        """A terrain, looked up once."""
        if index not in self._terrains:
            self._terrains[index] = self._world.terrain(self._names[index])
        return self._terrains[index]

    def score(self, written: Written, where: Where) -> list[list[Score | None]]:
        """Scores of each program, on its own terrain or on all, all in one call, so that the world can share work.

        Returns:
            A row a program; None on terrains whose instructions are others than the program's.

        Raises:
            WorldError: the world cannot go on, or its scores are not one an attempt.
        """
        rows = self._places(written, where)
        attempts = [self._attempt(written, row, k) for row, places in enumerate(rows) for k in places]
        scores = iter(self._scored(attempts))
        width = 1 if where == "own" else len(self._names)
        table: list[list[Score | None]] = [[None] * width for _ in rows]
        for row, places in zip(table, rows, strict=True):
            for k in places:
                row[0 if where == "own" else k] = next(scores)
        return table

    def measure(self, written: Written, where: Where) -> dict[str, np.ndarray]:
        """What the world measures of each program, by name, shape (b, 1) or (b, n_terrains); empty for most worlds.

        Raises:
            WorldError: the world cannot go on, or a metric is not one number an attempt.
        """
        if not isinstance(self._world, Measuring):
            return {}
        cells = [(row, k) for row, places in enumerate(self._places(written, where)) for k in places]
        found = self._world.metrics([self._attempt(written, row, k) for row, k in cells])
        if not isinstance(found, Mapping):
            raise WorldError(f"the world {self._name} returned {kind_of(found)} as metrics; return numbers by name")
        shape = len(written.programs), 1 if where == "own" else len(self._names)
        columns = [(row, 0 if where == "own" else k) for row, k in cells]
        tables = {str(name): np.full(shape, np.nan) for name in found}
        for name, values in found.items():
            for cell, value in zip(columns, self._numbers(str(name), values, len(cells)), strict=True):
                tables[str(name)][cell] = value if math.isfinite(value) else np.nan
        return tables

    def try_elsewhere(
        self, written: Written, scores: Sequence[Sequence[Score | None]], most: int, seed: int
    ) -> tuple[Trial, ...]:
        """Tries each terrain's best valid program on other terrains that have the same instructions.

        Args:
            written: the programs.
            scores: of each on its own terrain.
            most: on how many others each is tried.
            seed: decides on which.

        Raises:
            WorldError: as for `score`.
        """
        chance = np.random.default_rng(np.random.SeedSequence((seed, TRIALS)))
        chosen: list[tuple[int, int]] = []
        for home in dict.fromkeys(written.terrain.tolist()) if most else ():
            valid = [(i, own) for i, (own, *_) in enumerate(scores) if written.terrain[i] == home and own and own.valid]
            others = [k for k in self._alike[home] if k != home]
            if valid and others:
                row, _ = max(valid, key=lambda pair: pair[1].fitness)
                drawn = chance.choice(others, min(most, len(others)), replace=False)
                chosen += [(row, int(k)) for k in drawn]
        found = self._scored([self._attempt(written, row, k) for row, k in chosen]) if chosen else []
        return tuple(
            Trial(row, k, None if score.failure else score.fitness)
            for (row, k), score in zip(chosen, found, strict=True)
        )

    @cached_property
    def _alike(self) -> list[list[int]]:
        """Of each terrain, those that have the same instructions, itself included."""
        firsts = sharing([self.terrain(k) for k in range(len(self._names))])
        together: dict[int, list[int]] = {first: [] for first in firsts}
        for k, first in enumerate(firsts):
            together[first].append(k)
        return [together[first] for first in firsts]

    def _places(self, written: Written, where: Where) -> list[list[int]]:
        """The terrains that each program is scored on."""
        if where == "own":
            return [[k] for k in written.terrain.tolist()]
        return [self._alike[k] for k in written.terrain.tolist()]

    def _attempt(self, written: Written, row: int, terrain: int) -> Attempt:
        return Attempt(self._names[terrain], written.programs[row], int(written.instruction[row]), written.tokens[row])

    def _scored(self, attempts: Sequence[Attempt]) -> list[Score]:
        """The world's scores, one an attempt."""
        scores = checked_scores(self._world.score(list(attempts)), len(attempts), f"the world {self._name}")
        return [checked(score, attempt) for score, attempt in zip(scores, attempts, strict=True)]

    def _numbers(self, name: str, values: Any, n: int) -> list[float]:
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError) as error:
            raise WorldError(f"the world {self._name}, metric {name}: {error}") from None
        if len(numbers) != n:
            raise WorldError(
                f"the world {self._name} returned {len(numbers)} numbers of metric {name} for {n} attempts"
            )
        return numbers

    @property
    def _name(self) -> str:
        return str(getattr(self._world, "name", type(self._world).__name__))


def checked(score: Score, attempt: Attempt) -> Score:
    """A world's score, or a failure where nothing can be learnt from it.

    So it is with a number that is not finite, and with token rewards that are not one a sampled token, or do not add up
    to the reward.
    """
    numbers = score.token_rewards
    if not all(map(math.isfinite, (score.reward, score.fitness, *numbers))):
        return Score(0.0, 0.0, NOT_FINITE, f"reward {score.reward}, fitness {score.fitness}")
    if not numbers:
        return score
    if len(numbers) != len(attempt.output_ids):
        said = f"{len(numbers)} token rewards for {len(attempt.output_ids)} tokens"
        return Score(0.0, 0.0, WRONG_TOKEN_REWARDS, said)
    total = math.fsum(numbers)
    if abs(total - score.reward) > TOLERANCE * max(1.0, math.fsum(map(abs, numbers))):
        return Score(
            0.0, 0.0, WRONG_TOKEN_REWARDS, f"token rewards add up to {total:g}, the reward is {score.reward:g}"
        )
    return score


def token_rewards(scores: Sequence[Score | None], mask: np.ndarray) -> np.ndarray | None:
    """The reward of each token, as `Rollouts` has it; None where no program got more than one reward.

    Args:
        scores: of each program on its own terrain.
        mask: sampled tokens, right-padded, shape (b, l), bool.
    """
    if not any(score and score.token_rewards for score in scores):
        return None
    rewards = np.zeros(mask.shape)
    for row, score, n in zip(rewards, scores, mask.sum(axis=1).tolist(), strict=True):
        assert score is not None
        if score.token_rewards:
            row[:n] = score.token_rewards
        elif n:
            row[n - 1] = score.reward
    return rewards
