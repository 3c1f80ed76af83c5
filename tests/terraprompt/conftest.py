"""Runs from Python on a tiny random language model, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import terraprompt
from softprompt.models.frozen import FrozenLM
from terraprompt import Run
from tests.distributed.conftest import empty_store, local_ray, store, tiny_lm

__all__ = ["empty_store", "local_ray", "store", "tiny_lm"]

SMALL: dict[str, Any] = {
    "method.estimator": "gae",
    "method.n_soft_tokens": 2,
    "method.num_rollouts": 8,
    "method.gen_kwargs.max_new_tokens": 6,
    "warm_start.samples": 8,
    "train.total_steps": 2,
    "train.tracker": None,
    "evaluation.samples_per_terrain": 4,
    "evaluation.bootstrap": 100,
}
"""Settings of a run that takes a second."""

Trained = Callable[..., Run]


@pytest.fixture(autouse=True)
def not_connected(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are in this process, whatever other tests have connected it to before, unless one asks for Ray."""
    if "local_ray" not in request.fixturenames:
        disconnect(monkeypatch)


def disconnect(patch: pytest.MonkeyPatch) -> None:
    """Makes it look as if Ray had never been connected to."""
    patch.setattr("ray.is_initialized", lambda: False)
    patch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def trained(tiny_lm: tuple[FrozenLM, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Calls `terraprompt.train` for a small run below a folder of this test."""
    monkeypatch.chdir(tmp_path)

    def train(reward_fn: Any = None, **given: Any) -> Run:
        if "resume" not in given:
            given = {**SMALL, "model_path": str(tiny_lm[1]), **given}
        return terraprompt.train(reward_fn=reward_fn, **given)

    return train
