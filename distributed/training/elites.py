"""Which programs are offered to the elites, from which a terrain's prompt learns by likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distributed.config import RunConfig
from distributed.learner.learner import Learner
from distributed.rollout.types import Rollouts
from distributed.training.evaluation import scored_on
from distributed.training.instructions import InstructionOrder
from softprompt.rl.archive import CellElite


def learns_from_elites(config: RunConfig) -> bool:
    """Whether a run makes any use of them."""
    method, warm = config.method, config.warm_start
    replays = method.replay_weight > 0 or method.replay_steps > 0
    return replays or warm.steps > 0 or warm.init_from_elite or method.closing_steps > 0


def offer_untuned(learner: Learner, results: Sequence[Rollouts], order: InstructionOrder) -> None:
    """Offers programs of the bare language model to every terrain that they were scored on.

    Those written behind instructions for evaluation alone are left out: nothing is learnt from them.
    """
    cells = [_cells(learner, r) for r in results]
    for k in range(len(order.sharing)):
        for r, own in zip(results, cells, strict=True):
            rows, column = scored_on(r, k)
            chosen = [
                i for i in rows.tolist() if r.failures[i][column] is None and int(r.instruction[i]) < order.trained[k]
            ]
            _offer(learner, k, r, chosen, r.fitness[:, column], own)


def offer_step(learner: Learner, results: Sequence[Rollouts], n_terrains: int) -> int:
    """Offers a step's programs to their own terrains, then those tried elsewhere; returns how many entered there."""
    cells = [_cells(learner, r) for r in results]
    for r, own in zip(results, cells, strict=True):
        valid = np.array([row[0] is None for row in r.failures])
        for k in range(n_terrains):
            _offer(learner, k, r, np.flatnonzero(valid & (r.terrain == k)).tolist(), r.fitness[:, 0], own)
    entered = 0
    for r, own in zip(results, cells, strict=True):
        for row, terrain, fitness in r.trials:
            entered += fitness is not None and _add(learner, terrain, r, row, fitness, int(own[row]))
    return entered


def _offer(
    learner: Learner, terrain: int, rollouts: Rollouts, rows: Sequence[int], fitness: np.ndarray, cells: np.ndarray
) -> None:
    for i in rows:
        _add(learner, terrain, rollouts, i, float(fitness[i]), int(cells[i]))


def _add(learner: Learner, terrain: int, rollouts: Rollouts, row: int, fitness: float, cell: int) -> bool:
    """Offers one program to a terrain; returns whether it is among its best programs now."""
    ids, instruction = tuple(_ids(rollouts, row)), int(rollouts.instruction[row])
    told, origin = tuple(rollouts.descriptors[row].tolist()), int(rollouts.prompt[row])
    learner.teachers.archive.add(terrain, CellElite(ids, fitness, instruction, cell, told, origin))
    return learner.teachers.elites.add(terrain, ids, fitness, instruction)


def _cells(learner: Learner, rollouts: Rollouts) -> np.ndarray:
    """The cell of each program, shape (b,); -1 for those without one."""
    if learner.niches is None:
        return np.full(len(rollouts.programs), -1)
    return learner.niches.cell(rollouts.descriptors)


def _ids(rollouts: Rollouts, row: int) -> list[int]:
    return rollouts.ids[row][rollouts.mask[row]].tolist()
