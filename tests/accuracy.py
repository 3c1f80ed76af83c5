"""How far results in float32 may be from exact ones.

Two computations in float32 differ by their roundings, which are others on every processor. So neither is compared with
the other: both are compared with the same computation in float64, and ours must be about as near to it as theirs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

EPSILON = float(np.finfo(np.float32).eps)


def assert_as_accurate(ours: Any, theirs: Any, exact: Any, factor: float = 4.0, ulps: float = 8.0) -> None:
    """Asserts that ours is at most ``factor`` times as far from exact as theirs is, or some roundings.

    Distances are the greatest over all numbers. What is infinite must be so in all three.

    Args:
        ours: tensor or array, of the shape of the others.
        theirs: the same computed by somebody else, in float32.
        exact: the same in float64.
        factor: how much further than theirs ours may be.
        ulps: how far it may be however near theirs is, in spacings of float32 at the largest of the exact numbers.
    """
    _assert_within(ours, exact, max(factor * distance(theirs, exact), ulps * _spacing(exact)), theirs)


def assert_both_accurate(one: Any, other: Any, exact: Any, factor: float = 4.0, ulps: float = 8.0) -> None:
    """Asserts of two computations in float32 that each is as accurate as the other; see :func:`assert_as_accurate`."""
    assert_as_accurate(one, other, exact, factor, ulps)
    assert_as_accurate(other, one, exact, factor, ulps)


def assert_rounded(ours: Any, exact: Any, ulps: float = 8.0) -> None:
    """Asserts that ours is exact but for some roundings: what hand or a formula in float64 gives of few operations."""
    _assert_within(ours, exact, ulps * _spacing(exact))


def distance(found: Any, exact: Any) -> float:
    """The greatest distance of a number from the exact one; infinite where they differ in what is not finite."""
    return float(_distances(found, exact).max(initial=0.0))


def _assert_within(ours: Any, exact: Any, limit: float, theirs: Any = None) -> None:
    distances = _distances(ours, exact)
    worst = float(distances.max(initial=0.0))
    if not worst <= limit:
        where = tuple(int(k) for k in np.unravel_index(int(distances.argmax()), distances.shape))
        values = [f"{_array(x)[where]:.9g}" for x in (ours, exact)]
        other = "" if theirs is None else f"theirs is {distance(theirs, exact):.3g} away, "
        raise AssertionError(
            f"ours is {worst:.3g} from what is exact: {values[0]} instead of {values[1]} at {where}; {other}"
            f"allowed are {limit:.3g}, and float32 has a spacing of {_spacing(exact):.3g} at the largest number"
        )


def _distances(found: Any, exact: Any) -> np.ndarray:
    one, other = _array(found), _array(exact)
    assert one.shape == other.shape, f"shapes {one.shape} and {other.shape}"
    with np.errstate(invalid="ignore"):
        distances = np.where(one == other, 0.0, np.abs(one - other))
    return np.where(np.isnan(distances), np.inf, distances)


def _spacing(exact: Any) -> float:
    numbers = _array(exact)
    return EPSILON * float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))


def _array(numbers: Any) -> np.ndarray:
    if isinstance(numbers, torch.Tensor):
        numbers = numbers.detach().cpu().double().numpy()
    return np.asarray(numbers, dtype=np.float64)
