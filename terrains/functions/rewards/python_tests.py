"""Tests of Python code as a reward: the share of them that pass, each run in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from terrains.functions.settings import Settings
from terrains.sodarace.sandbox import Sandbox, SandboxLimits


class PythonTestsConfig(Settings):
    """Settings of the reward ``python_tests``."""

    field: str = "tests"
    """The field of the data with the tests: statements such as ``assert add(2, 3) == 5``, a list or a line each."""
    of: Literal["outputs", "samples"] = "samples"
    """What the code is: what was written alone, or behind its instruction, such as a function's first line."""
    every: bool = False
    """Whether the reward is 1 where all tests pass and else 0, in place of the share of those that do."""
    limits: SandboxLimits = SandboxLimits()
    """What code may use for a test."""


class PythonTests:
    """Rewards code that passes tests. It runs in the interpreter of the sandbox, which knows a part of Python."""

    Config = PythonTestsConfig

    def __init__(self, config: PythonTestsConfig) -> None:
        self.config = config
        self.needs = (config.field,)
        self._sandbox = Sandbox(config.limits, feed=str)

    def __call__(self, samples: Sequence[str], outputs: Sequence[str], **fields: Any) -> list[float]:
        """Returns a reward for each text; 0 where there are no tests."""
        codes = samples if self.config.of == "samples" else outputs
        return [self._reward(*each) for each in zip(codes, fields[self.config.field], strict=True)]

    def close(self) -> None:
        """Ends the sandbox's subprocess. Safe to call twice."""
        self._sandbox.close()

    def _reward(self, code: str, tests: Sequence[str] | str | None) -> float:
        each = [line for line in tests.splitlines() if line.strip()] if isinstance(tests, str) else list(tests or ())
        passed = [self._sandbox.run(f"{code}\n{test}\n").failure is None for test in each]
        share = sum(passed) / len(passed) if passed else 0.0
        return float(share == 1.0) if self.config.every else share
