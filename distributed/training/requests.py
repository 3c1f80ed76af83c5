"""Requests for programs, cut to size, with seeds from the run's seed and the place in the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np

from distributed.config import MethodConfig, RunConfig
from distributed.rollout.types import RolloutRequest, split_requests

UNTUNED, WARM, STEP, CHECK, FINAL, CLOSED, TEACHERS = range(7)
"""Purposes of requests; part of their seeds, so that no two parts of a run draw the same programs."""

T = TypeVar("T")

Groups = Sequence[tuple[int, int]]
"""Pairs of a terrain's index and a number of programs."""


def make_requests(
    config: RunConfig,
    purpose: int,
    place: int,
    groups: Groups,
    chosen: Sequence[Sequence[int]] | None = None,
    **options: Any,
) -> list[RolloutRequest]:
    """Returns the requests for some programs; how they are cut depends on the configuration alone.

    Args:
        config: settings of the run.
        purpose: UNTUNED to TEACHERS.
        place: number of the step, or whatever else tells requests of one purpose apart.
        groups: what to ask for, each terrain at most once.
        chosen: of each group, which of its terrain's instructions each program is written behind; None for the first.
        options: more fields of `RolloutRequest`.
    """
    per_terrain = config.method.prompts_per_terrain if options.get("use_prompt", True) else 1
    behind = [[0] * n for _, n in groups] if chosen is None else chosen
    left = {t: zip(own, slots(n, per_terrain, place), strict=True) for (t, n), own in zip(groups, behind, strict=True)}
    requests = []
    for k, share in enumerate(split_requests(groups, config.rollouts.request_size)):
        seed = np.random.SeedSequence((config.train.seed, purpose, place, k)).generate_state(1)[0]
        number = (purpose * 1_000_000 + place) * 10_000 + k
        parts = [(t, n, *alike) for t, total in share for alike, n in runs(left[t], total)]
        asked = tuple((t, n) for t, n, *_ in parts)
        which, slot = tuple(which for _, _, which, _ in parts), tuple(slot for *_, slot in parts)
        requests.append(RolloutRequest(number, int(seed), asked, which, slots=slot, **options))
    return requests


def slots(n: int, per_terrain: int, place: int) -> list[int]:
    """Returns which of a terrain's prompts each of n programs is written behind: all evenly, side by side.

    Where the number does not divide, other prompts get one more in the next place.
    """
    return [(i * per_terrain // n + place) % per_terrain for i in range(n)]


def runs(chosen: Iterator[T], total: int) -> list[tuple[T, int]]:
    """Returns the next ``total`` of what was chosen as pairs: one, and how often it comes one after the other."""
    return [(which, len(list(alike))) for which, alike in groupby(islice(chosen, total))]


def equal_groups(n_programs: int, n_terrains: int) -> list[tuple[int, int]]:
    """Returns groups of equal size for all terrains; the first get one more where the number does not divide."""
    sizes = np.full(n_terrains, n_programs // n_terrains)
    sizes[: n_programs % n_terrains] += 1
    return [(k, int(n)) for k, n in enumerate(sizes)]


def step_options(method: MethodConfig) -> dict[str, Any]:
    """Returns the fields that requests of a PPO step have and others do not."""
    replays = method.replay_weight > 0 or method.replay_steps > 0
    return {"explore": True, "try_on": method.replay_transfer if replays else 0}
