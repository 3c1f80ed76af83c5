"""One world and one sandbox for all tests of this folder: starting a sandbox takes longer than most programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from terrains.sodarace.sandbox import Sandbox, SandboxLimits
from terrains.sodarace.world import SodaraceWorld, WorldConfig


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxLimits(seconds=0.5)) as opened:
        yield opened


@pytest.fixture(scope="session")
def world() -> Iterator[SodaraceWorld]:
    opened = SodaraceWorld(WorldConfig(limits=SandboxLimits(seconds=0.5)))
    yield opened
    opened.close()
