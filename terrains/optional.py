"""What a world may offer besides scores. Each protocol stands alone, and nothing outside a world needs any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from terrains.base import Attempt


@runtime_checkable
class Counting(Protocol):
    """A world that also counts what it does; its counts become metrics of a run."""

    def counters(self) -> Mapping[str, float]:
        """Returns what it did since it was made, by name. Every number only ever grows."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """A world whose scores need the language model's tokenizer; each rollout worker hands it over once."""

    def use_tokenizer(self, tokenizer: Any) -> None:
        """Takes the tokenizer, as transformers has it, before the first attempt is scored."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """A world that measures more of what is evaluated than its score; the means become metrics of a run."""

    def metrics(self, attempts: Sequence[Attempt]) -> Mapping[str, Sequence[float]]:
        """Returns measures by name, each with a number per attempt, in order."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A world that tells programs apart by numbers, such as a walker's height, width and mass."""

    descriptors: tuple[str, ...]
    """Names of the numbers."""

    def describe(self, program: str) -> tuple[float, ...] | None:
        """Returns a program's numbers, in the order of their names; None for a program that has none."""
        ...
