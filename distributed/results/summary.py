"""The results of a run as numbers: what summary.json holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from distributed.infra.writing import write_text
from terrains.niches import Niches

OPTIONAL_KEYS = (
    "transfer_interval",
    "kl",
    "config",
    "lm_hash",
    "fingerprints",
    "losses",
    "versions",
    "steps",
    "nearest",
    "metrics",
    "units",
    "variety",
    "niches",
    "best_of_cells",
)


class TerrainSummary(BaseModel):
    """One terrain before and after tuning. Every mean counts a failed program as fitness 0.

    Attributes:
        untuned_mean: mean fitness of the LM without a soft prompt.
        untuned_valid: share of its programs that were valid, in [0, 1].
        best_of_n: the best fitness among its ``n`` programs, which the mean under a good prompt exceeds.
        n: how many untuned programs were drawn.
        tuned_mean: mean fitness under the terrain's own prompt.
        tuned_valid: share of those programs that were valid, in [0, 1].
        tuned_interval: 95% bootstrap interval of ``tuned_mean``, over the programs of this one run.
        tuned_unique: distinct programs among those, as a share of all drawn, in [0, 1].
        warm_start_mean: mean fitness after the warm start alone, or None for a run without one.
        untuned_interval: 95% bootstrap interval of ``untuned_mean``; None in summaries of older versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    untuned_mean: float
    untuned_valid: float
    best_of_n: float
    n: int
    tuned_mean: float
    tuned_valid: float
    tuned_interval: tuple[float, float]
    tuned_unique: float
    warm_start_mean: float | None = None
    untuned_interval: tuple[float, float] | None = None

    @property
    def ratio(self) -> float | None:
        """Tuned mean over untuned mean, or None where the untuned LM never scored."""
        return self.tuned_mean / self.untuned_mean if self.untuned_mean > 0 else None


class Summary(BaseModel):
    """The results of a run.

    Attributes:
        seed: the run's seed.
        rollouts: programs that were sampled for training, the warm start's included.
        seconds: wall-clock of the run.
        terrains: one entry a terrain, in the run's order.
        transfer: ``transfer[prompt][terrain]`` is the mean fitness of that prompt's programs on that terrain; there is
            no entry for a terrain whose instructions are others than the prompt's.
        transfer_interval: 95% bootstrap interval of each of those means.
        kl: mean KL per program to the untuned LM, per terrain, in nats.
        config: the run's configuration as plain data.
        lm_hash: digest of the frozen LM's weights.
        fingerprints: of each terrain, a hash of its ground and of the rules by which programs were scored.
        losses: the pool's fault counters: requests lost and sent again, errors, and workers replaced.
        versions: versions of the packages that took part.
        steps: optimisation steps taken, the warm start's not included.
        nearest: the token nearest to each row of each terrain's prompt, as text.
        metrics: what the world measured: ``metrics[name][terrain]`` has the means ``untuned`` and ``tuned``.
        variety: how varied programs are: ``variety[terrain]["untuned" or "tuned"]`` has the share ``unique``, how many
            are ``distinct``, ``unique_mean``, ``entropy`` in nats a program and, of worlds with descriptors, how many
            ``cells`` have a program above half of the untuned best, and ``qd_score``.
        niches: the grid of those cells.
        best_of_cells: of each terrain, the best fitness behind its prompts by the cell's number.
        units: what ``fitness`` and each of these are counted in, empty where nobody says; None for world units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int
    rollouts: int
    seconds: float
    terrains: dict[str, TerrainSummary]
    transfer: dict[str, dict[str, float]]
    transfer_interval: dict[str, dict[str, tuple[float, float]]] | None = None
    kl: dict[str, float] | None = None
    config: dict[str, Any] | None = None
    lm_hash: str | None = None
    fingerprints: dict[str, str] | None = None
    losses: dict[str, int] | None = None
    versions: dict[str, str] | None = None
    steps: int | None = None
    nearest: dict[str, list[str]] | None = None
    metrics: dict[str, dict[str, dict[str, float]]] | None = None
    units: dict[str, str] | None = None
    variety: dict[str, dict[str, dict[str, float]]] | None = None
    niches: Niches | None = None
    best_of_cells: dict[str, dict[int, float]] | None = None

    def unit(self, name: str) -> str:
        """Returns what ``fitness`` or a measure is counted in, empty where nobody says."""
        return (self.units or {}).get(name, "world units" if name == "fitness" and self.units is None else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the optional keys that are None."""
        data = self.model_dump(mode="json")
        return {key: value for key, value in data.items() if value is not None or key not in OPTIONAL_KEYS}

    def to_json(self) -> str:
        """Strict JSON, two spaces of indent and a newline at the end."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Summary:
        """Reads what ``to_json`` wrote.

        Raises:
            ValueError: the text is not a summary; the message names the key.
        """
        return cls.model_validate_json(text)


def bootstrap_interval(
    values: np.ndarray, rng: np.random.Generator, resamples: int = 2000, level: float = 0.95
) -> np.ndarray:
    """Percentile bootstrap interval of the mean (Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13).

    Args:
        values: (m,) or (m, k); rows are resampled together.
        rng: draws the resamples.
        resamples: how many times to resample.
        level: the interval's coverage.

    Returns:
        (2,) or (2, k): low and high ends.

    Raises:
        ValueError: there is nothing to resample.
    """
    m = len(values)
    if m == 0:
        raise ValueError("no values to bootstrap: evaluate at least one program per prompt")
    # A resample is a count per row, so that all columns are done by one product.
    counts = rng.multinomial(m, np.full(m, 1.0 / m), size=resamples)
    means = counts @ np.asarray(values, dtype=np.float64) / m
    tail = 50.0 * (1.0 - level)
    return np.percentile(means, [tail, 100.0 - tail], axis=0)


def summarise(
    seed: int,
    rollouts: int,
    seconds: float,
    terrain_names: Sequence[str],
    untuned_fitness: np.ndarray,
    untuned_valid: np.ndarray,
    warm_fitness: Sequence[np.ndarray] | None,
    tuned_fitness: Mapping[str, np.ndarray],
    tuned_valid: Mapping[str, np.ndarray],
    tuned_programs: Mapping[str, Sequence[str]],
    rng_seed: int = 0,
    bootstrap: int = 2000,
    **extra: Any,
) -> Summary:
    """Turns evaluation arrays into a Summary.

    Args:
        seed: the run's seed.
        rollouts: programs sampled for training.
        seconds: wall-clock of the run.
        terrain_names: T names; each has a prompt of the same name.
        untuned_fitness: (N, T), the same N untuned programs on every terrain.
        untuned_valid: (N, T) bool.
        warm_fitness: per terrain, fitness of programs drawn after the warm start, on that terrain; None without one.
        tuned_fitness: per prompt, (M, T); NaN on terrains that its programs could not be scored on.
        tuned_valid: per prompt, (M, T) bool.
        tuned_programs: per prompt, M program texts.
        rng_seed: seed of the bootstrap.
        bootstrap: number of resamples.
        **extra: optional keys of Summary, such as ``kl`` or ``lm_hash``.

    Raises:
        ValueError: a terrain has no prompt, shapes disagree, or a valid program's fitness is not finite.
    """
    names = list(terrain_names)
    missing = [name for name in names if name not in tuned_fitness]
    if missing:
        raise ValueError(f"no tuned evaluation for {missing}: give tuned_fitness one entry per terrain")
    untuned = _zero_failures("untuned", untuned_fitness, untuned_valid, len(names))
    tuned = {p: _zero_failures(p, tuned_fitness[p], tuned_valid[p], len(names)) for p in tuned_fitness}
    scored = {prompt: ~np.isnan(fitness).any(axis=0) for prompt, fitness in tuned.items()}
    alone = [name for t, name in enumerate(names) if not scored[name][t]]
    if alone:
        raise ValueError(f"no fitness of the prompts of {alone} on their own terrains")
    intervals = {
        prompt: _filled(
            scored[prompt],
            bootstrap_interval(fitness[:, scored[prompt]], np.random.default_rng([rng_seed, i]), bootstrap),
        )
        for i, (prompt, fitness) in enumerate(tuned.items())
    }
    untuned_ends = bootstrap_interval(untuned, np.random.default_rng([rng_seed, len(tuned)]), bootstrap)
    terrains = {}
    for t, name in enumerate(names):
        programs = tuned_programs[name]
        if len(programs) != len(tuned[name]):
            raise ValueError(f"{name}: {len(programs)} programs for {len(tuned[name])} rows of fitness")
        terrains[name] = TerrainSummary(
            untuned_mean=untuned[:, t].mean(),
            untuned_valid=np.mean(untuned_valid, axis=0)[t],
            best_of_n=untuned[:, t].max(),
            n=len(untuned),
            tuned_mean=tuned[name][:, t].mean(),
            tuned_valid=np.mean(tuned_valid[name], axis=0)[t],
            tuned_interval=tuple(intervals[name][:, t]),
            tuned_unique=len(set(programs)) / len(programs),
            warm_start_mean=None if warm_fitness is None else np.mean(warm_fitness[t]),
            untuned_interval=tuple(untuned_ends[:, t]),
        )
    return Summary(
        seed=seed,
        rollouts=rollouts,
        seconds=seconds,
        terrains=terrains,
        transfer={p: _present(names, scored[p], fitness.mean(axis=0)) for p, fitness in tuned.items()},
        transfer_interval={p: _present(names, scored[p], ends.T) for p, ends in intervals.items()},
        **extra,
    )


def _filled(scored: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Interval ends (2, k) of the terrains that were scored, as (2, T) with NaN for the others."""
    whole = np.full((2, len(scored)), np.nan)
    whole[:, scored] = ends
    return whole


def _present(names: Sequence[str], scored: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Values by terrain, without those of terrains that were not scored."""
    return {name: values[t].tolist() for t, name in enumerate(names) if scored[t]}


def write_summary(path: str | Path, summary: Summary) -> Path:
    """Writes summary.json whole or not at all, so that a killed run never leaves half a file."""
    write_text(path, summary.to_json())
    return Path(path)


def _zero_failures(who: str, fitness: np.ndarray, valid: np.ndarray, n_terrains: int) -> np.ndarray:
    """Checks one evaluation's shape and returns its fitness with 0 for every failure, float64 (m, T)."""
    fitness, valid = np.asarray(fitness, dtype=np.float64), np.asarray(valid, dtype=bool)
    if fitness.shape != valid.shape or fitness.ndim != 2 or fitness.shape[1] != n_terrains or not len(fitness):
        shapes = f"fitness {fitness.shape}, valid {valid.shape}"
        raise ValueError(f"{who}: expected two arrays of shape (programs, {n_terrains}), got {shapes}")
    fitness = np.where(valid, fitness, 0.0)
    unscored = np.isnan(fitness).all(axis=0) if who != "untuned" else np.zeros(n_terrains, dtype=bool)
    if not np.isfinite(fitness[:, ~unscored]).all():
        raise ValueError(f"{who}: a valid program has a fitness that is not finite")
    return fitness
