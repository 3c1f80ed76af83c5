"""Evaluation: what fresh programs of a policy, or of the bare language model, are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from distributed.config import RunConfig
from distributed.observability.console import Display
from distributed.rollout.pool import Pool
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from distributed.training.instructions import InstructionOrder
from distributed.training.requests import CHECK, FINAL, TEACHERS, UNTUNED, make_requests

BARE = PromptState(0, None)
"""What a worker needs to act as the bare language model."""


def sample_untuned(config: RunConfig, order: InstructionOrder, pool: Pool, display: Display) -> list[Rollouts]:
    """Draws programs of the bare language model as evaluations do; terrains with the same instructions share them."""
    requests = []
    for place, terrains in enumerate(order.together()):
        firsts = [k for k in terrains if order.sharing[k] == k]
        requests += _asked(config, UNTUNED, place, firsts, config.warm_start.samples, order, use_prompt=False)
    return run(requests, BARE, pool, display, "untuned")


def sample_teachers(config: RunConfig, order: InstructionOrder, pool: Pool, display: Display) -> list[Rollouts]:
    """Draws programs of the bare language model to learn from, where nothing is learnt from those of `sample_untuned`.

    So it is on terrains that have instructions for evaluation alone.
    """
    n, requests = config.warm_start.samples, []
    for place, terrains in enumerate(order.together()):
        firsts = [k for k in terrains if order.sharing[k] == k and order.has_evaluation(k)]
        if firsts:
            chosen = [order.training(k, n) for k in firsts]
            options: dict[str, Any] = {"use_prompt": False, "score_on": WHERE[place]}
            requests += make_requests(config, TEACHERS, place, [(k, n) for k in firsts], chosen, **options)
    return run(requests, BARE, pool, display, "examples") if requests else []


def untuned_of(results: Sequence[Rollouts], n_terrains: int) -> dict[str, Any]:
    """Returns what a loop keeps of `sample_untuned`.

    Returns:
        ``fitness`` and ``valid``, each (n, n_terrains), ``best`` programs by terrain, ``unique``, the number of
        distinct programs, and ``metrics``, means by name and terrain.
    """
    fitness, valid, best = [], [], []
    for k in range(n_terrains):
        found = [(r, i, column) for r in results for rows, column in [scored_on(r, k)] for i in rows.tolist()]
        fitness.append([r.fitness[i, column] for r, i, column in found])
        valid.append([r.failures[i][column] is None for r, i, column in found])
        r, i, _ = found[int(np.argmax(fitness[-1]))]
        best.append(r.programs[i])
    unique = len({program for r in results for program in r.programs})
    return {
        "fitness": np.array(fitness).T.copy(),
        "valid": np.array(valid).T.copy(),
        "best": best,
        "unique": unique,
        "metrics": measured(results, n_terrains),
    }


def scored_on(rollouts: Rollouts, terrain: int) -> tuple[np.ndarray, int]:
    """Returns the rows of the programs that were scored on a terrain, and the column of their scores there."""
    if rollouts.fitness.shape[1] == 1:
        return np.flatnonzero(rollouts.terrain == terrain), 0
    return np.flatnonzero(~np.isnan(rollouts.fitness[:, terrain])), terrain


def measured(results: Sequence[Rollouts], n_terrains: int) -> dict[str, list[float | None]]:
    """Returns the means of the world's metrics, by name a list over the terrains; None where there is no number."""
    names = dict.fromkeys(name for r in results for name in r.metrics)
    return {name: [_mean(results, name, k) for k in range(n_terrains)] for name in names}


def _mean(results: Sequence[Rollouts], name: str, terrain: int) -> float | None:
    own = [
        table[r.terrain == terrain, 0] if table.shape[1] == 1 else table[:, terrain]
        for r in results
        if (table := r.metrics.get(name)) is not None
    ]
    values = np.concatenate(own)
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def fresh_programs(
    config: RunConfig,
    order: InstructionOrder,
    pool: Pool,
    display: Display,
    state: PromptState,
    purpose: int,
    place: int,
    phase: str | None,
) -> list[Rollouts]:
    """Returns fresh programs under each prompt, scored on its own terrain.

    Those of a CHECK are written behind the instructions for evaluation, and measured; those after steps of likelihood
    behind the instructions for training, as they are compared with the programs of PPO steps.

    Args:
        config: settings of the run; half as many programs as at the end are drawn.
        order: which instructions they are written behind.
        pool: what writes and scores programs.
        display: shows the progress, unless ``phase`` is None.
        state: the prompts.
        purpose: as for `make_requests`.
        place: as for `make_requests`.
        phase: what it is called on the display.
    """
    n = max(2, config.evaluation.samples_per_terrain // 2)
    terrains = range(len(order.sharing))
    checks = purpose == CHECK
    chosen = [order.evaluation(k, n) if checks else order.training(k, n) for k in terrains]
    options: dict[str, Any] = {"measure_on": "own"} if checks else {}
    requests = make_requests(config, purpose, place, [(k, n) for k in terrains], chosen, **options)
    return run(requests, state, pool, display, phase)


def evaluate_prompts(
    config: RunConfig,
    terrains: Sequence[str],
    order: InstructionOrder,
    pool: Pool,
    display: Display,
    state: PromptState,
) -> tuple[dict[str, dict[str, Any]], list[Rollouts]]:
    """Samples every final prompt anew and scores its programs on every terrain that has the same instructions.

    Returns:
        What a loop keeps of the answers, and the answers themselves. It keeps by terrain ``fitness`` and ``valid``,
        each (m, n_terrains), ``programs`` of its prompt, their ``identity`` (m,) and ``descriptors``
        (m, n_descriptors), and ``metrics``, means by name. The fitness on terrains with other instructions is NaN.
    """
    requests = []
    for place, own in enumerate(order.together()):
        requests += _asked(config, FINAL, place, own, config.evaluation.samples_per_terrain, order)
    results = run(requests, state, pool, display, "evaluation")
    means = measured(results, len(terrains))
    tuned = {}
    for k, name in enumerate(terrains):
        chosen = [(r, i) for r in results for i in np.flatnonzero(r.terrain == k)]
        fitness = np.full((len(chosen), len(terrains)), np.nan)
        valid = np.ones(fitness.shape, dtype=bool)
        for row, (r, i) in enumerate(chosen):
            columns = slice(None) if r.fitness.shape[1] == len(terrains) else slice(k, k + 1)
            fitness[row, columns] = r.fitness[i]
            valid[row, columns] = [failure is None for failure in r.failures[i]]
        tuned[name] = {
            "fitness": fitness,
            "valid": valid,
            "programs": [r.programs[i] for r, i in chosen],
            "identity": np.array([r.identity[i] for r, i in chosen], dtype=np.int64),
            "descriptors": np.stack([r.descriptors[i] for r, i in chosen]),
            "metrics": {metric: each[k] for metric, each in means.items()},
        }
    return tuned, results


WHERE: tuple[Literal["all", "own"], ...] = ("all", "own")
"""What programs are scored on, by the parts of `InstructionOrder.together`."""


def _asked(
    config: RunConfig,
    purpose: int,
    place: int,
    terrains: Sequence[int],
    n: int,
    order: InstructionOrder,
    **options: Any,
) -> list[RolloutRequest]:
    """Requests of an evaluation for n programs a terrain, of one part of `InstructionOrder.together`."""
    if not terrains:
        return []
    chosen = [order.evaluation(k, n) for k in terrains]
    measure_on = WHERE[place] if purpose == UNTUNED else "own"
    asked = {"score_on": WHERE[place], "measure_on": measure_on, **options}
    return make_requests(config, purpose, place, [(k, n) for k in terrains], chosen, **asked)


def run(
    requests: list[RolloutRequest], state: PromptState, pool: Pool, display: Display, phase: str | None
) -> list[Rollouts]:
    """Lets a pool answer requests; the display shows the progress, unless ``phase`` is None."""
    if phase:
        display.phase(phase, sum(r.size for r in requests))
    on_result = (lambda r: display.advance(r.size)) if phase else None
    return pool.run(requests, state, on_result)
