"""What functions return, checked: a number a sample, or a number for each of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from terrains.errors import one_line
from terrains.functions import failures
from terrains.functions.function import Sample


@dataclass(frozen=True)
class Problem:
    """Why a sample has no reward.

    Attributes:
        kind: the failure kind, see `terrains.functions.failures`.
        said: what is wrong, in one line, to be read behind the function's name.
    """

    kind: str
    said: str


MOST_NESTED = 8
"""Lists around a number that are seen through."""

Answer = float | np.ndarray | Problem
"""A sample's reward, its rewards for each of its output_ids, shape (n_tokens,) float64, or why it has none."""


class WrongAnswer(Exception):
    """What a function returned cannot be told apart into samples. The message is one line."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def read_rewards(returned: Any, samples: Sequence[Sample]) -> list[Answer]:
    """Returns the rewards of samples, of which each may be a number, a sequence, an array or a tensor.

    Raises:
        WrongAnswer: not one entry a sample.
    """
    return [_reward(value, sample) for value, sample in zip(_entries(returned, len(samples)), samples, strict=True)]


def read_measures(returned: Any, samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Returns what a metric function measured, by name; NaN stands for what it could not measure.

    Raises:
        WrongAnswer: not a number a sample for each name.
    """
    if not isinstance(returned, Mapping):
        raise WrongAnswer(failures.REWARD_ERROR, f"returned {_a(returned)}, and not a list of numbers for each name")
    measures = {}
    for name, values in returned.items():
        try:
            numbers = [_number(value) for value in _entries(values, len(samples))]
        except WrongAnswer as error:
            raise WrongAnswer(error.kind, f"{name!r}: {error}") from None
        if None in numbers:
            value = _plain(_entries(values, len(samples))[numbers.index(None)])
            raise WrongAnswer(failures.REWARD_ERROR, f"{name!r}: returned {_a(value)} and not a number")
        measures[str(name)] = [number for number in numbers if number is not None]
    return measures


def combined(weights: Sequence[float], answers: Sequence[Answer]) -> Answer:
    """Returns the weighted sum of what several functions gave to a sample; one reward counts for the last token.

    Args:
        weights: a weight a function.
        answers: an answer a function; those token by token have the same length.
    """
    problem = next((answer for answer in answers if isinstance(answer, Problem)), None)
    if problem:
        return problem
    given = list(zip(weights, answers, strict=True))
    last = float(sum(weight * answer for weight, answer in given if not isinstance(answer, Problem | np.ndarray)))
    dense = [weight * answer for weight, answer in given if isinstance(answer, np.ndarray)]
    if not dense:
        return last if np.isfinite(last) else Problem(failures.NOT_FINITE, f"the weighted sum of rewards is {last}")
    tokens = np.sum(dense, axis=0)
    tokens[-1] += last
    if not np.isfinite(tokens.sum()):
        return Problem(failures.NOT_FINITE, f"the weighted sum of rewards is {tokens.sum()}")
    return tokens


def total(answer: Answer) -> float:
    """Returns a sample's reward as one number; NaN for none."""
    return float("nan") if isinstance(answer, Problem) else float(np.sum(answer))


def _entries(returned: Any, count: int) -> Sequence[Any]:
    """What a function returned, as a sequence with an entry a sample."""
    plain = _plain(returned)
    if isinstance(plain, set | frozenset):
        raise WrongAnswer(failures.WRONG_LENGTH, f"returned {_a(plain)}, which has no order, and not a list")
    if isinstance(plain, str | bytes | Mapping) or not hasattr(plain, "__len__") or not hasattr(plain, "__getitem__"):
        if not hasattr(plain, "__iter__") or isinstance(plain, str | bytes | Mapping):
            raise WrongAnswer(failures.WRONG_LENGTH, f"returned {_a(plain)}, and not a list with a reward a sample")
        plain = list(islice(plain, count + 1))  # it may have no end
        if len(plain) > count:
            raise WrongAnswer(failures.WRONG_LENGTH, f"returned more than {count} rewards for {count} samples")
    if isinstance(plain, np.ndarray) and not plain.ndim:
        raise WrongAnswer(failures.WRONG_LENGTH, "returned one number, and not a list with a reward a sample")
    if len(plain) != count:
        raise WrongAnswer(failures.WRONG_LENGTH, f"returned {len(plain)} rewards for {count} samples")
    return plain  # type: ignore[no-any-return]


def _reward(value: Any, sample: Sample) -> Answer:
    number = _number(value)
    if number is not None:
        return number if np.isfinite(number) else Problem(failures.NOT_FINITE, f"returned {number}")
    tokens = _numbers(_plain(value))
    if tokens is None:
        return Problem(failures.REWARD_ERROR, f"returned {_a(_plain(value))}, and not a number or a number a token")
    if not np.isfinite(tokens).all():
        place = int(np.flatnonzero(~np.isfinite(tokens))[0])
        return Problem(failures.NOT_FINITE, f"returned {tokens[place]} for token {place + 1}")
    if not sample.output_ids:
        return float(tokens.sum())
    if len(tokens) != len(sample.output_ids):
        said = (
            f"returned {len(tokens)} numbers for {len(sample.output_ids)} tokens; one for each of output_ids is needed"
        )
        return Problem(failures.WRONG_LENGTH, said)
    return tokens


def _number(value: Any) -> float | None:
    """The one number that a value is, or a sequence with nothing else; None for everything else."""
    plain = _plain(value)
    for _ in range(MOST_NESTED):
        if isinstance(plain, list | tuple) and len(plain) == 1:
            plain = _plain(plain[0])
    if isinstance(plain, np.ndarray) and plain.size == 1:
        plain = _plain(plain.reshape(-1)[0])
    if isinstance(plain, bool | int | float | np.number | np.bool_) and not isinstance(
        plain, complex | np.complexfloating
    ):
        try:
            return float(plain)
        except OverflowError:
            return float("inf")
    return None


def _numbers(plain: Any) -> np.ndarray | None:
    """The numbers of a flat sequence, shape (n,) float64; None for everything else."""
    if isinstance(plain, np.ndarray) and plain.ndim == 1 and plain.dtype.kind in "biuf":
        return plain.astype(np.float64)
    if not isinstance(plain, list | tuple):
        return None
    numbers = [None if isinstance(each, list | tuple) else _number(each) for each in plain]
    return None if None in numbers else np.array(numbers, np.float64)


def _plain(value: Any) -> Any:
    """A value, as a numpy array where it is a tensor."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return value


def _a(value: Any) -> str:
    """A value as messages show it."""
    if value is None or isinstance(value, str | bool | int | float):
        return one_line(repr(value), 60)
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"
