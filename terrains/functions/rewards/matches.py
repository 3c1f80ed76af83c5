"""Right answers as a reward: the same text, or the same number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from terrains.errors import WorldError
from terrains.functions.settings import Settings

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d*|\.\d+)?(?:(?<=[\d.])[eE][-+]?\d+)?")


class ExactMatchConfig(Settings):
    """Settings of the reward ``exact_match``."""

    field: str = "answer"
    """The field of the data with the right answer, or a list of right ones."""
    ignore_case: bool = False
    """Whether capital letters are as good as small ones."""
    part: Literal["whole", "first_line", "last_line"] = "whole"
    """Which part of the output is the answer; spaces around it do not count."""


class ExactMatch:
    """Gives 1 for outputs that are the right answer, and 0 for others."""

    Config = ExactMatchConfig

    def __init__(self, config: ExactMatchConfig) -> None:
        self.config = config
        self.needs = (config.field,)

    def __call__(self, outputs: Sequence[str], **fields: Any) -> list[float]:
        """Returns a reward for each output."""
        return [float(self._right(*each)) for each in zip(outputs, fields[self.config.field], strict=True)]

    def _right(self, output: str, answer: object) -> bool:
        lines = output.strip().splitlines() or [""]
        part = {"whole": output, "first_line": lines[0], "last_line": lines[-1]}[self.config.part]
        answers = answer if isinstance(answer, list | tuple) else [answer]
        return self._plain(part) in {self._plain(str(each)) for each in answers if each is not None}

    def _plain(self, text: str) -> str:
        return text.strip().casefold() if self.config.ignore_case else text.strip()


class NumericMatchConfig(Settings):
    """Settings of the reward ``numeric_match``."""

    field: str = "answer"
    """The field of the data with the right number; of a text its last number, as in ``#### 42``."""
    which: Literal["last", "first"] = "last"
    """Which number of the output is the answer."""
    absolute: float = Field(1e-6, ge=0)
    """How far a number may be from the right one."""
    relative: float = Field(0.0, ge=0)
    """The same, as a share of the right one; the larger of the two holds."""
    no_number: float = 0.0
    """The reward of outputs without any number; a wrong one gets ``wrong``."""
    wrong: float = 0.0
    """The reward of a wrong number; the right one gets 1."""


class NumericMatch:
    """Gives 1 for outputs whose number is the right one."""

    Config = NumericMatchConfig

    def __init__(self, config: NumericMatchConfig) -> None:
        self.config = config
        self.needs = (config.field,)

    def __call__(self, outputs: Sequence[str], **fields: Any) -> list[float]:
        """Returns a reward for each output.

        Raises:
            WorldError: an answer of the data has no number.
        """
        return [self._reward(*each) for each in zip(outputs, fields[self.config.field], strict=True)]

    def _reward(self, output: str, answer: object) -> float:
        known = numbers(str(answer))
        if not known:
            raise WorldError(f"the field {self.config.field!r} has no number: {str(answer)[:60]!r}")
        written = numbers(output)
        if not written:
            return self.config.no_number
        found = written[-1] if self.config.which == "last" else written[0]
        close = math.isclose(found, known[-1], rel_tol=0.0, abs_tol=self.config.absolute)
        near = abs(found - known[-1]) <= self.config.relative * abs(known[-1])
        return 1.0 if close or near else self.config.wrong


def numbers(text: str) -> list[float]:
    """Returns the numbers in a text, such as ``-3``, ``1,250.5`` and ``2e3``; a dash behind a word is no minus."""
    found = []
    for match in _NUMBER.finditer(text):
        written = match[0]
        if not any(c.isdigit() for c in written):
            continue
        before = text[match.start() - 1 : match.start()]
        if written[0] in "+-" and (before.isalnum() or before == ")"):
            written = written[1:]
        value = float(written.replace(",", ""))
        if math.isfinite(value):
            found.append(value)
    return found
