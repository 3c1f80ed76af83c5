"""Evaluation: what fresh programs of a policy, or of the bare language model, are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distributed.config import RunConfig
from distributed.observability.console import Display
from distributed.rollout.pool import Pool
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from distributed.training.metrics import own_fitness
from distributed.training.requests import FINAL, UNTUNED, make_requests

BARE = PromptState(0, None)
"""What a worker needs to act as the bare language model."""


def sample_untuned(config: RunConfig, pool: Pool, display: Display) -> list[Rollouts]:
    """Draws programs of the bare language model, and scores each on every terrain."""
    groups = [(0, config.warm_start.samples)]
    requests = make_requests(config, UNTUNED, 0, groups, use_prompt=False, score_on="all")
    return run(requests, BARE, pool, display, "untuned")


def untuned_of(results: Sequence[Rollouts]) -> dict[str, Any]:
    """Returns what a loop keeps of `sample_untuned`.

    Returns:
        ``fitness`` and ``valid``, each (n, n_terrains), ``best`` programs by terrain, and ``unique``, the number of
        distinct programs.
    """
    fitness = np.concatenate([r.fitness for r in results])
    valid = np.array([[f is None for f in row] for r in results for row in r.failures])
    programs = [p for r in results for p in r.programs]
    best = [programs[int(i)] for i in np.where(valid, fitness, -np.inf).argmax(axis=0)]
    return {"fitness": fitness, "valid": valid, "best": best, "unique": len(set(programs))}


def fresh_fitness(
    config: RunConfig,
    n_terrains: int,
    pool: Pool,
    display: Display,
    state: PromptState,
    purpose: int,
    place: int,
    phase: str | None,
) -> list[np.ndarray]:
    """Returns the fitness of fresh programs under each prompt, on its own terrain.

    Args:
        config: settings of the run; half as many programs as at the end are drawn.
        n_terrains: how many prompts there are.
        pool: what writes and scores programs.
        display: shows the progress, unless ``phase`` is None.
        state: the prompts.
        purpose: as for `make_requests`.
        place: as for `make_requests`.
        phase: what it is called on the display.
    """
    n = max(2, config.evaluation.samples_per_terrain // 2)
    requests = make_requests(config, purpose, place, [(k, n) for k in range(n_terrains)])
    results = run(requests, state, pool, display, phase)
    return [own_fitness(results, k) for k in range(n_terrains)]


def evaluate_prompts(
    config: RunConfig, terrains: Sequence[str], pool: Pool, display: Display, state: PromptState
) -> dict[str, dict[str, Any]]:
    """Samples every final prompt anew and scores its programs on every terrain: the transfer matrix.

    Returns:
        By terrain, ``fitness`` and ``valid``, each (m, n_terrains), and ``programs`` of its prompt.
    """
    groups = [(k, config.evaluation.samples_per_terrain) for k in range(len(terrains))]
    results = run(make_requests(config, FINAL, 0, groups, score_on="all"), state, pool, display, "evaluation")
    tuned = {}
    for k, name in enumerate(terrains):
        chosen = [(r, i) for r in results for i in np.flatnonzero(r.terrain == k)]
        tuned[name] = {
            "fitness": np.array([r.fitness[i] for r, i in chosen]),
            "valid": np.array([[f is None for f in r.failures[i]] for r, i in chosen]),
            "programs": [r.programs[i] for r, i in chosen],
        }
    return tuned


def run(
    requests: list[RolloutRequest], state: PromptState, pool: Pool, display: Display, phase: str | None
) -> list[Rollouts]:
    """Lets a pool answer requests; the display shows the progress, unless ``phase`` is None."""
    if phase:
        display.phase(phase, sum(r.size for r in requests))
    on_result = (lambda r: display.advance(r.size)) if phase else None
    return pool.run(requests, state, on_result)
