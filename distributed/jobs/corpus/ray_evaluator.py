"""Evaluates programs in Ray tasks. A task that a dying process loses is run again by Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import ray

from terrains.sodarace.map_elites.evaluation import Evaluation, WorldEvaluator
from terrains.sodarace.world import SodaraceWorld, WorldConfig

TASKS_A_PROCESSOR = 2
"""Tasks in flight for each processor, so that none waits for the driver to make the next programs."""


class RayEvaluator:
    """Evaluates chunks of programs side by side on a cluster; Ray must be connected.

    Results do not depend on the number of processors.

    Args:
        config: the world, as every task builds it.
        terrains: names of the terrains.
    """

    def __init__(self, config: WorldConfig, terrains: Sequence[str]) -> None:
        self.processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._task = ray.remote(num_cpus=1, max_retries=3)(evaluate_chunk)
        self._config = config
        self._terrains = tuple(terrains)

    def evaluate(self, chunks: Iterable[Sequence[str]]) -> Iterator[list[Evaluation]]:
        """See `terrains.sodarace.map_elites.evaluation.Evaluator`."""
        pending: deque = deque()
        for chunk in chunks:
            pending.append(self._task.remote(self._config, self._terrains, list(chunk)))
            if len(pending) >= TASKS_A_PROCESSOR * self.processors:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())


def evaluate_chunk(config: WorldConfig, terrains: tuple[str, ...], programs: list[str]) -> list[Evaluation]:
    """The task: evaluates programs in this process, whose world stays for the next task."""
    return _evaluator(config, terrains).evaluate_chunk(programs)


@lru_cache(maxsize=1)
def _evaluator(config: WorldConfig, terrains: tuple[str, ...]) -> WorldEvaluator:
    return WorldEvaluator(SodaraceWorld(config), terrains)
