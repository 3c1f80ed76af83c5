"""Length as a reward: long outputs, or short ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from terrains.functions.settings import Settings


class LengthConfig(Settings):
    """Settings of the reward ``length``."""

    per: float = Field(gt=0)
    """The length that counts 1, such as the most tokens that are drawn."""
    goal: Literal["long", "short"] = "long"
    """``long`` gives length / per, ``short`` 1 - length / per."""
    unit: Literal["tokens", "words", "characters"] = "tokens"
    """What is counted. The end token is a token."""
    at_most: float | None = 1.0
    """No output counts as longer than this share of ``per``; null for no such limit."""


class Length:
    """Rewards long outputs, or short ones."""

    Config = LengthConfig

    def __init__(self, config: LengthConfig) -> None:
        self.config = config

    def __call__(self, outputs: Sequence[str], output_ids: Sequence[Sequence[int]], tokenizer: Any) -> list[float]:
        """Returns a reward for each output."""
        lengths = [self._length(*each, tokenizer) for each in zip(outputs, output_ids, strict=True)]
        shares = [length / self.config.per for length in lengths]
        if self.config.at_most is not None:
            shares = [min(share, self.config.at_most) for share in shares]
        return shares if self.config.goal == "long" else [1.0 - share for share in shares]

    def _length(self, output: str, ids: Sequence[int], tokenizer: Any) -> int:
        if self.config.unit == "characters":
            return len(output)
        if self.config.unit == "words":
            return len(output.split())
        if not ids and tokenizer is not None:
            return len(tokenizer(output, add_special_tokens=False)["input_ids"])
        return len(ids)
