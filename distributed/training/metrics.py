"""Metrics of a step, from its rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from distributed.rollout.types import Rollouts

FAILURES = "failures/"


def own_fitness(results: Sequence[Rollouts], terrain: int) -> np.ndarray:
    """Returns the fitness of a terrain's programs on that terrain."""
    return np.concatenate([r.fitness[r.terrain == terrain, 0] for r in results])


def fitness_metrics(terrains: Sequence[str], own: Sequence[np.ndarray]) -> dict[str, float]:
    """Returns mean and best fitness by terrain, and the mean of the means.

    Args:
        terrains: names.
        own: of each, the fitness of its programs.
    """
    metrics = {f"fitness/{t}": float(f.mean()) for t, f in zip(terrains, own, strict=True)}
    metrics |= {f"best/{t}": float(f.max()) for t, f in zip(terrains, own, strict=True)}
    return metrics | {"fitness/mean": float(np.mean([f.mean() for f in own]))}


def program_metrics(
    terrains: Sequence[str], results: Sequence[Rollouts], before: Iterable[str] = ()
) -> dict[str, float]:
    """Returns the share of valid programs by terrain, and how often each failure occurred.

    Args:
        terrains: names.
        results: of the step.
        before: names of the last step's metrics. A kind of failure among them that does not occur any more is 0, so
            that its curve falls instead of ending.
    """
    metrics: dict[str, float] = {}
    for k, name in enumerate(terrains):
        rows = [(r, i) for r in results for i in np.flatnonzero(r.terrain == k)]
        metrics[f"valid/{name}"] = float(np.mean([r.failures[i][0] is None for r, i in rows]))
    kinds = [row[0] for r in results for row in r.failures if row[0]]
    known = [key for key in before if key.startswith(FAILURES)]
    counts = {f"{FAILURES}{kind}": float(kinds.count(kind)) for kind in sorted(set(kinds))}
    return metrics | dict.fromkeys(known, 0.0) | counts


def measured_metrics(terrains: Sequence[str], measured: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Returns what a world measured under trlx's ``metrics/NAME``: the mean over the terrains, and each terrain's.

    Args:
        terrains: names.
        measured: means by name, a list over the terrains; None where there is no number.
    """
    metrics: dict[str, float] = {}
    for name, means in measured.items():
        own = {f"metrics/{name}/{t}": mean for t, mean in zip(terrains, means, strict=True) if mean is not None}
        if own:
            metrics |= {f"metrics/{name}": float(np.mean(list(own.values()))), **own}
    return metrics


def rollout_metrics(results: Sequence[Rollouts]) -> dict[str, float]:
    """Returns the workers' seconds, added up over all workers."""
    return {
        "time/rollout_generate": float(sum(r.seconds.get("generate", 0.0) for r in results)),
        "time/rollout_score": float(sum(r.seconds.get("score", 0.0) for r in results)),
    }


def by_terrain(terrains: Sequence[str], stats: Mapping[str, float]) -> dict[str, float]:
    """Returns the learner's statistics, terrain indices replaced by names."""
    renamed = {}
    for key, value in stats.items():
        head, _, tail = key.rpartition("/")
        renamed[f"{head}/{terrains[int(tail)]}" if tail.isdigit() else key] = value
    return renamed


def summed(prefix: str, counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns counts of the same name added up, each under ``prefix/name``."""
    names = dict.fromkeys(name for each in counts for name in each)
    return {f"{prefix}/{name}": float(sum(each.get(name, 0) for each in counts)) for name in names}
