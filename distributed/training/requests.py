"""Requests for programs, cut to size, with seeds from the run's seed and the place in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distributed.config import MethodConfig, RunConfig
from distributed.rollout.types import RolloutRequest, split_requests

UNTUNED, WARM, STEP, CHECK, FINAL, CLOSED = range(6)
"""Purposes of requests; part of their seeds, so that no two parts of a run draw the same programs."""

Groups = Sequence[tuple[int, int]]
"""Pairs of a terrain's index and a number of programs."""


def make_requests(config: RunConfig, purpose: int, place: int, groups: Groups, **options: Any) -> list[RolloutRequest]:
    """Returns the requests for some programs; how they are cut depends on the configuration alone.

    Args:
        config: settings of the run.
        purpose: UNTUNED to CLOSED.
        place: number of the step, or whatever else tells requests of one purpose apart.
        groups: what to ask for.
        options: more fields of `RolloutRequest`.
    """
    requests = []
    for k, share in enumerate(split_requests(groups, config.rollouts.request_size)):
        seed = np.random.SeedSequence((config.train.seed, purpose, place, k)).generate_state(1)[0]
        number = (purpose * 1_000_000 + place) * 10_000 + k
        requests.append(RolloutRequest(number, int(seed), share, **options))
    return requests


def equal_groups(n_programs: int, n_terrains: int) -> list[tuple[int, int]]:
    """Returns groups of equal size for all terrains; the first get one more where the number does not divide."""
    sizes = np.full(n_terrains, n_programs // n_terrains)
    sizes[: n_programs % n_terrains] += 1
    return [(k, int(n)) for k, n in enumerate(sizes)]


def step_options(method: MethodConfig) -> dict[str, Any]:
    """Returns the fields that requests of a PPO step have and others do not."""
    replays = method.replay_weight > 0 or method.replay_steps > 0
    return {"explore": True, "try_on": method.replay_transfer if replays else 0}
