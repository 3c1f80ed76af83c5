"""A worker that leaks memory is started anew, or said to leak, and one that is large from the start is not."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from distributed.rollout.local_pool import LocalPool
from distributed.rollout.memory import Growth, Memory
from distributed.rollout.ray_pool import RayPool
from tests.distributed.rollout.test_ray_pool import SHARED, STATE, assert_answers, requests
from tests.distributed.tiny_workers import DrawingWorker


class LeakyWorker(DrawingWorker):
    """Keeps 200 MB at every request, and warns of it."""

    kept: list[np.ndarray] = []

    def generate(self, request, state):
        self.kept.append(np.ones(25_000_000))
        logging.getLogger("terraprompt").warning("it is %d now", len(self.kept))
        return super().generate(request, state)


@pytest.mark.parametrize(
    ("most", "workers", "held", "leaks"),
    [
        (1.0, 1, (0.5, 0.9, 1.1), True),
        (1.0, 1, (2.0, 2.5, 2.9), False),  # it is as large as that by itself
        (1.0, 1, (2.0, 3.1), True),
        (None, 2, (1.0, 3.9), False),
        (None, 2, (1.0, 4.1), True),  # of 10 GB four fifths are for both
    ],
)
def test_what_a_leak_is(most: float | None, workers: int, held: tuple[float, ...], leaks: bool) -> None:
    growth = Growth(most, workers)
    said = [growth.leak(Memory(int(each * 1e9), 10_000_000_000)) for each in held]
    assert not any(said[:-1]) and bool(said[-1]) == leaks
    if leaks:
        assert f"from {held[0]:g} to {held[-1]:g} GB" in said[-1]


def test_a_worker_that_leaks_is_started_anew_and_loses_nothing(
    local_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(8)
    pool = RayPool(LeakyWorker, {}, SHARED, n_workers=1, cpus_per_worker=0.5, max_attempts=1, max_memory_gb=0.5)
    with pool, caplog.at_level(logging.WARNING, "terraprompt"):
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.replacements >= 1 and pool.errors == 0
    said = [line for line in caplog.messages if "leaks memory" in line]
    assert len(said) == pool.replacements and "rollouts.max_worker_memory_gb is 0.5" in said[0]
    assert [line for line in caplog.messages if line.startswith("it is ")] == ["it is 1 now"]


def test_without_ray_a_leak_is_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.rollout.memory.GROWN", 1.01)  # what the tests before held counts too
    monkeypatch.setattr(LeakyWorker, "kept", [])
    with LocalPool(LeakyWorker, {}, SHARED, max_memory_gb=0.001) as pool:
        assert_answers(pool.run(requests(4), STATE), requests(4))
    [said] = [line for line in caplog.messages if "leaks memory" in line]
    assert said.startswith("this process leaks memory, perhaps its world's (from ") and "ray.enabled" in said
