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


@pytest.fixture
def trained(tiny_lm: tuple[FrozenLM, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Calls `terraprompt.train` for a small run below a folder of this test."""
    monkeypatch.chdir(tmp_path)

    def train(*arguments: Any, **given: Any) -> Run:
        small = {} if "resume" in given or "config" in given else SMALL
        given.setdefault("model_path", None if "resume" in given else str(tiny_lm[1]))
        return terraprompt.train(*arguments, **{**small, **given})

    return train
