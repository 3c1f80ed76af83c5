"""The world of reward functions: texts are scored by whatever function a user names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from terrains.base import Attempt, Score, Terrain
from terrains.errors import WorldError, did_you_mean
from terrains.functions import failures
from terrains.functions.answers import Answer, Problem, combined, read_measures, total
from terrains.functions.carried import Carried
from terrains.functions.config import FunctionsConfig, Rewards
from terrains.functions.finding import Finder
from terrains.functions.function import Sample
from terrains.functions.given import StandIn, code_of
from terrains.functions.judge import Judge
from terrains.functions.tasks import Scoring, Task, make_task


class FunctionsWorld:
    """Scores texts by reward functions with trlx's signature. It can be pickled, what it read of files included.

    Args:
        config: settings.
        functions: functions that are in no file, by the names that the settings call them. Without those that `kept`
            has the text of, the world can do all but score.
        carried: what was read of files, where this machine may not have them.
        kept: the same as `keep` returned it.

    Raises:
        WorldError: a file or a function is not there, or not what it should be; the message is one line.
    """

    name = "functions"
    Config = FunctionsConfig

    def __init__(
        self,
        config: FunctionsConfig,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        carried: Carried | None = None,
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        carried = carried or (Carried.of_json(kept) if kept else Carried())
        self._given = {name: StandIn(name) for name in carried.given} | dict(functions or {})
        self._codes = dict(carried.given)
        self._finder = Finder(self._given, carried.texts)
        self._judge = Judge(config)
        read = carried.terrains
        self._tasks = {name: make_task(name, config, self._finder, read.get(name)) for name in config.terrains}
        self._counts = {"attempts": 0} | dict.fromkeys(failures.ALL, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config, self._given, self.carried())

    @property
    def fitness_unit(self) -> str:
        """What fitness is counted in; empty where the settings do not say."""
        return self.config.units.get("fitness", "")

    @property
    def metric_units(self) -> dict[str, str]:
        """What measures are counted in, by name."""
        return dict(self.config.units)

    def carried(self) -> Carried:
        """Returns what was read of files."""
        codes = {name: code_of(each) for name, each in self._given.items() if not isinstance(each, StandIn)}
        terrains = {name: task.terrain for name, task in self._tasks.items()}
        return Carried(terrains, dict(self._finder.texts), self._codes | codes)

    def luggage(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns what was read of files, for all terrains, and given functions; see `terrains.optional.Travelling`."""
        return {"carried": self.carried(), **({"functions": self._given} if self._given else {})}

    def keep(self) -> dict[str, Any]:
        """Returns what was read of files, for a run's folder; see `terrains.optional.Keeping`."""
        return self.carried().as_json()

    def default_names(self) -> tuple[str, ...]:
        """Returns the names of all terrains, in the order of the settings."""
        return tuple(self._tasks)

    def terrain(self, name: str) -> Terrain:
        """Returns the terrain of that name.

        Raises:
            WorldError: no such terrain; the message names the nearest one.
        """
        return self._task(name).terrain

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """Returns one Score per attempt, in order.

        Raises:
            WorldError: a function failed for an attempt, and the settings say to stop then; or it is not here.
        """
        scores: dict[int, Score] = {}
        for scoring, samples in self._groups(attempts):
            rewards = self._sums(scoring.reward, samples)
            fitness = self._sums(scoring.fitness, samples) if scoring.fitness else rewards
            valid = self._sums(scoring.valid, samples) if scoring.valid else [1.0] * len(samples)
            for sample, *answers in zip(samples, rewards, fitness, valid, strict=True):
                scores[sample.place] = self._score(*answers)
        self._counts["attempts"] += len(attempts)
        return [scores[place] for place in range(len(attempts))]

    def metrics(self, attempts: Sequence[Attempt]) -> dict[str, list[float]]:
        """Returns measures by name, a number an attempt; NaN where its terrain has no such measure, or it failed.

        Raises:
            WorldError: a function failed, and the settings say to stop then; or it is not here.
        """
        found: dict[str, list[float]] = {}
        for scoring, samples in self._groups(attempts):
            for name, values in self._measures(scoring, samples).items():
                row = found.setdefault(name, [float("nan")] * len(attempts))
                for sample, value in zip(samples, values, strict=True):
                    row[sample.place] = value
        return found

    def use_tokenizer(self, tokenizer: Any) -> None:
        """Takes the tokenizer that functions are given."""
        self._judge.tokenizer = tokenizer

    def counters(self) -> dict[str, float]:
        """Returns what was done since the world was made: attempts, calls, and failures by kind."""
        return {**self._counts, **self._judge.counts}

    def close(self) -> None:
        """Ends what the functions hold. Safe to call twice."""
        self._finder.close()

    def _task(self, name: str) -> Task:
        if name not in self._tasks:
            known = ", ".join(self._tasks)
            raise WorldError(f"there is no terrain {name!r}{did_you_mean(name, self._tasks)} (there are: {known})")
        return self._tasks[name]

    def _groups(self, attempts: Sequence[Attempt]) -> Iterator[tuple[Scoring, list[Sample]]]:
        """Samples that can be scored in one call, of one terrain or of several that are scored alike."""
        for function in self._given.values():
            if isinstance(function, StandIn):
                function()
        groups: dict[str, tuple[Scoring, list[Sample]]] = {}
        for place, attempt in enumerate(attempts):
            task = self._task(attempt.terrain)
            _, samples = groups.setdefault(task.group, (task.scoring, []))
            samples.append(Sample.of(place, attempt, task.terrain))
        yield from groups.values()

    def _sums(self, rewards: Rewards, samples: Sequence[Sample]) -> list[Answer]:
        """What several functions give to samples, added up with their weights."""
        every = [self._judge.rewards(self._finder.find(spec), samples) for spec in rewards]
        weights = [spec.weight for spec in rewards]
        return [combined(weights, answers) for answers in zip(*every, strict=True)]

    def _measures(self, scoring: Scoring, samples: Sequence[Sample]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        if scoring.metric:
            asked = self._judge.ask(self._finder.find(scoring.metric), samples, read_measures)
            found |= {} if isinstance(asked, Problem) else asked
        for name, rewards in scoring.measures.items():
            answers = self._sums(rewards, samples)
            found[name] = [total(each) for each in answers]
        return found

    def _score(self, reward: Answer, fitness: Answer, valid: Answer) -> Score:
        if problem := next((each for each in (reward, fitness, valid) if isinstance(each, Problem)), None):
            self._counts[problem.kind] += 1
            return Score(self.config.failure_reward, 0.0, problem.kind, problem.said)
        tokens = tuple(reward.tolist()) if isinstance(reward, np.ndarray) else ()
        if total(valid) > 0:
            return Score(total(reward), total(fitness), token_rewards=tokens)
        self._counts[failures.INVALID] += 1
        return Score(total(reward), 0.0, failures.INVALID, "is not what the task asks for", tokens)
