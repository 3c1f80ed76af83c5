"""Which programs are offered to the elites, from which a terrain's prompt learns by likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from distributed.config import RunConfig
from distributed.rollout.types import Rollouts
from distributed.training.evaluation import scored_on
from distributed.training.instructions import InstructionOrder
from softprompt.rl.elites import EliteBuffer


def learns_from_elites(config: RunConfig) -> bool:
    """Whether a run makes any use of them."""
    method, warm = config.method, config.warm_start
    replays = method.replay_weight > 0 or method.replay_steps > 0
    return replays or warm.steps > 0 or warm.init_from_elite or method.closing_steps > 0


def offer_untuned(elites: EliteBuffer, results: Sequence[Rollouts], order: InstructionOrder) -> None:
    """Offers programs of the bare language model to every terrain that they were scored on.

    Those written behind instructions for evaluation alone are left out: nothing is learnt from them.
    """
    for k in range(len(order.sharing)):
        for r in results:
            rows, column = scored_on(r, k)
            chosen = [
                i for i in rows.tolist() if r.failures[i][column] is None and int(r.instruction[i]) < order.trained[k]
            ]
            _offer(elites, k, r, chosen, r.fitness[:, column])


def offer_step(elites: EliteBuffer, results: Sequence[Rollouts], n_terrains: int) -> int:
    """Offers a step's programs to their own terrains, then those tried elsewhere; returns how many entered there."""
    for r in results:
        valid = np.array([row[0] is None for row in r.failures])
        for k in range(n_terrains):
            _offer(elites, k, r, np.flatnonzero(valid & (r.terrain == k)).tolist(), r.fitness[:, 0])
    entered = 0
    for r in results:
        for row, terrain, fitness in r.trials:
            entered += fitness is not None and elites.add(terrain, _ids(r, row), fitness, int(r.instruction[row]))
    return entered


def _offer(elites: EliteBuffer, terrain: int, rollouts: Rollouts, rows: Iterable[int], fitness: np.ndarray) -> None:
    for i in rows:
        elites.add(terrain, _ids(rollouts, i), float(fitness[i]), int(rollouts.instruction[i]))


def _ids(rollouts: Rollouts, row: int) -> list[int]:
    return rollouts.ids[row][rollouts.mask[row]].tolist()
