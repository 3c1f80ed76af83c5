"""The measure that tests of arithmetic use: what it lets pass, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.accuracy import EPSILON, assert_as_accurate, assert_both_accurate, assert_rounded, distance

pytestmark = pytest.mark.arithmetic

EXACT = np.array([[1.0, -8.0], [0.5, -np.inf]])


def off(by: float) -> np.ndarray:
    return EXACT + np.array([[0.0, 0.0], [by, 0.0]])


def test_as_near_as_a_multiple_of_theirs_passes_and_further_is_told_with_all_distances():
    assert_as_accurate(off(3.9e-3), off(-1e-3), EXACT)
    with pytest.raises(AssertionError, match=r"ours is 0.0041 .*0.5041 instead of 0.5 at \(1, 0\); theirs is 0.001 "):
        assert_as_accurate(off(4.1e-3), off(-1e-3), EXACT)
    with pytest.raises(AssertionError, match="allowed are 0.002"):
        assert_as_accurate(off(4e-3), off(1e-3), EXACT, factor=2)


def test_some_spacings_at_the_largest_number_pass_however_near_theirs_is():
    assert_as_accurate(off(7.9 * 8 * EPSILON), EXACT, EXACT)
    for check in (lambda x: assert_as_accurate(x, EXACT, EXACT), lambda x: assert_rounded(x, EXACT)):
        with pytest.raises(AssertionError, match="ours is"):
            check(off(8.1 * 8 * EPSILON))
    assert_rounded(off(30 * 8 * EPSILON), EXACT, ulps=31)


def test_of_two_each_must_be_as_accurate_as_the_other():
    assert_both_accurate(off(1e-3), off(-2e-3), EXACT)
    for pair in ((off(1e-3), off(5e-3)), (off(5e-3), off(1e-3))):
        with pytest.raises(AssertionError, match="ours is 0.005"):
            assert_both_accurate(*pair, EXACT)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_near(wrong):
    with pytest.raises(AssertionError, match="ours is inf"):
        assert_as_accurate(off(wrong), off(1.0), EXACT)
    with pytest.raises(AssertionError, match="ours is inf"):
        assert_rounded(np.where(np.isinf(EXACT), 3.0, EXACT), EXACT)


def test_shapes_differ_loudly_and_tensors_are_numbers_too():
    with pytest.raises(AssertionError, match="shapes"):
        assert_rounded(EXACT[0], EXACT)
    assert_rounded(torch.tensor([1 / 3], requires_grad=True), torch.tensor([1 / 3], dtype=torch.float64), ulps=1)
    assert distance(torch.tensor([2.0]), [1.5]) == 0.5 and distance([], []) == 0
