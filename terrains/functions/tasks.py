"""Terrains of reward functions: instructions, and by what is scored that is written behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from terrains.base import Terrain
from terrains.errors import WorldError
from terrains.functions.config import FunctionsConfig, RewardConfig, Rewards, TerrainConfig
from terrains.functions.finding import Finder
from terrains.functions.given import is_given
from terrains.functions.instructions import make_instructions
from terrains.functions.paths import with_paths


@dataclass(frozen=True)
class Scoring:
    """What samples are scored by; see the settings of these names."""

    reward: Rewards
    fitness: Rewards | None
    valid: Rewards | None
    metric: RewardConfig | None
    measures: Mapping[str, Rewards]

    @property
    def functions(self) -> tuple[RewardConfig, ...]:
        """All functions of it."""
        metric = (self.metric,) if self.metric else ()
        measured = [spec for each in self.measures.values() for spec in each]
        return (*self.reward, *(self.fitness or ()), *(self.valid or ()), *metric, *measured)


@dataclass(frozen=True)
class Task:
    """A terrain and its scoring.

    Attributes:
        terrain: the terrain.
        scoring: what its samples are scored by.
        group: equal for tasks whose samples can be scored in one call.
    """

    terrain: Terrain
    scoring: Scoring
    group: str


def make_task(name: str, config: FunctionsConfig, finder: Finder, terrain: Terrain | None = None) -> Task:
    """Makes a task of settings.

    Args:
        name: the terrain's name.
        config: all settings.
        finder: finds the functions.
        terrain: the terrain, where its data were read already.

    Raises:
        WorldError: a file or a function is not there, or a function asks for what the data have not.
    """
    own = config.of(name)
    scoring = _scoring(own)
    read = terrain or _read(name, config)
    fields = tuple(dict.fromkeys(field for each in read.all_instructions for field in each.metadata))
    for spec in scoring.functions:
        finder.find(spec).check(name, fields)
    said = own.model_dump(mode="json", include={"reward", "fitness", "valid", "metric", "measures"})
    code = [finder.code(spec) for spec in scoring.functions]
    # Where a function's file lies decides nothing: what it says does.
    placeless = with_paths(said, lambda path: "")
    rules = json.dumps([read.fingerprint, placeless, code, config.failure_reward])
    marked = terrain or replace(read, fingerprint=hashlib.sha256(rules.encode()).hexdigest())
    return Task(marked, scoring, json.dumps([said, fields]))


def problems(config: FunctionsConfig) -> Iterator[str]:
    """Goes through what is wrong with the functions that settings name: their files are run, and no data are read."""
    finder, said = Finder({}, {}), set()
    for name in config.terrains:
        for spec in _scoring(config.of(name)).functions:
            try:
                if not is_given(spec.name):
                    finder.find(spec)
            except WorldError as error:
                if str(error) not in said:
                    said.add(str(error))
                    yield str(error)


def _scoring(own: TerrainConfig) -> Scoring:
    assert own.reward is not None  # the settings were checked
    return Scoring(own.reward, own.fitness, own.valid, own.metric, own.measures or {})


def _read(name: str, config: FunctionsConfig) -> Terrain:
    train, evaluation = make_instructions(name, config.of(name), config.seed)
    return Terrain(name, instructions=train, eval_instructions=evaluation)
