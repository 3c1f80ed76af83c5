"""A regular expression as a reward."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from terrains.functions.settings import Settings


class RegexConfig(Settings):
    """Settings of the reward ``regex``."""

    pattern: str = Field(min_length=1)
    """A regular expression of Python's ``re``. One that backtracks without end cannot be ended by a deadline."""
    match: Literal["anywhere", "whole", "count"] = "anywhere"
    """``anywhere`` in the text, the ``whole`` text without the spaces around it, or the ``count`` of its matches."""
    ignore_case: bool = False
    """Whether capital letters are as good as small ones."""
    of: Literal["outputs", "samples"] = "outputs"
    """What is read: what was written, or the instruction too."""
    hit: float = 1.0
    """The reward of a match."""
    miss: float = 0.0
    """The reward of a text without one."""

    @field_validator("pattern")
    @classmethod
    def _is_one(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern


class Regex:
    """Rewards texts that match a regular expression."""

    Config = RegexConfig

    def __init__(self, config: RegexConfig) -> None:
        self.config = config
        self._pattern = re.compile(config.pattern, re.IGNORECASE if config.ignore_case else 0)

    def __call__(self, samples: Sequence[str], outputs: Sequence[str]) -> list[float]:
        """Returns a reward for each text."""
        return [self._reward(text) for text in (outputs if self.config.of == "outputs" else samples)]

    def _reward(self, text: str) -> float:
        if self.config.match == "whole":
            count = int(self._pattern.fullmatch(text.strip()) is not None)
        elif self.config.match == "anywhere":
            count = int(self._pattern.search(text) is not None)
        else:
            count = sum(1 for _ in self._pattern.finditer(text))
        return self.config.hit * count if count else self.config.miss
