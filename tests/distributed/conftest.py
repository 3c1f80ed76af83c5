"""One local Ray for all tests of this folder: starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import ray

from distributed.cluster import connect_ray


@dataclass(frozen=True)
class LocalRay:
    """A ray section for tests."""

    address: str | None = "local"
    num_cpus: int | None = 2
    include_dashboard: bool = False


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Connects to a local Ray of two CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        connect_ray(LocalRay())
    yield
    ray.shutdown()
