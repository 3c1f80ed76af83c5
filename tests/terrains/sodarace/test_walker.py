"""What is a walker and what is not."""

from __future__ import annotations

import time

import numpy as np
import pytest

from terrains.sodarace.walker import InvalidWalker, WalkerLimits, validate_walker

NAN, INFINITE = float("nan"), float("inf")


def data(joints=((0, 0), (3, 0), (0, 4)), muscles=((0, 1, False, 1.0, 0.0), (1, 2, True, 0.0, 1.25))):
    return {"joints": [list(j) for j in joints], "muscles": [list(m) for m in muscles]}


def row(count):
    return data([(0.5 * k, 0) for k in range(count)], [(k, k + 1, False, 1.0, 0.0) for k in range(count - 1)])


def nested(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def rule(value, limits=None):
    with pytest.raises(InvalidWalker) as caught:
        validate_walker(value, limits)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    return caught.value.rule


def test_a_walker_keeps_what_the_program_said():
    walker = validate_walker(data())
    assert walker.joints.tolist() == [[0, 0], [3, 0], [0, 4]] and walker.joints.dtype == np.float64
    assert walker.muscles.tolist() == [[0, 1], [1, 2]] and walker.muscles.dtype == np.int64
    assert walker.rigid.tolist() == [False, True]
    assert walker.amplitude.tolist() == [1.0, 0.0]
    assert walker.phase.tolist() == [0.0, 0.25], "whole turns are nothing"


def test_descriptors_are_extent_and_joints_plus_half_the_muscles_length():
    walker = validate_walker(data())
    assert (walker.width, walker.height) == (3.0, 4.0)
    assert walker.mass == pytest.approx(3 + (3 + 5) / 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "walker",
        [],
        {},
        {"joints": [[0, 0], [1, 0]]},
        {"joints": "ab", "muscles": [[0, 1, False, 0.0, 0.0]]},
        data([(0, 0), (1, 0, 2)]),
        data(muscles=[(0, 1, 0.0, 0.0)]),
        data(muscles=[(0, 1, 1, 0.0, 0.0)]),
        {"joints": [[0, 0], None], "muscles": [[0, 1, False, 0.0, 0.0]]},
    ],
)
def test_other_data_is_not_a_walker(value):
    assert rule(value) == "not_a_walker"


@pytest.mark.parametrize(
    ("value", "broken"),
    [
        (data([(0, 0), (NAN, 0), (0, 4)]), "not_finite"),
        (data([(0, 0), (INFINITE, 0), (0, 4)]), "not_finite"),
        (data(muscles=[(0, 1, False, NAN, 0.0), (1, 2, False, 1.0, 0.0)]), "not_finite"),
        (data(muscles=[(0, 1, False, 1.0, -INFINITE), (1, 2, False, 1.0, 0.0)]), "not_finite"),
        (data([(0, 0), (10**400, 0), (0, 4)]), "out_of_range"),
        (data([(0, 0), (1e300, 0), (0, 4)]), "out_of_range"),
        (data([(0, 0), ("1", 0), (0, 4)]), "not_a_number"),
        (data([(0, 0), (True, 0), (0, 4)]), "not_a_number"),
        (data([(0, 0)]), "too_small"),
        (data(muscles=[]), "too_small"),
        (data([(0, 0), (61, 0), (0, 4)]), "too_large"),
        (data([(0, 0), (1e-4, 0), (0, 4)]), "joints_at_one_place"),
        (data([(0, 0), (3, 0), (3, 0)]), "joints_at_one_place"),
        (data(muscles=[(0, 3, False, 1.0, 0.0)]), "no_such_joint"),
        (data(muscles=[(-1, 0, False, 1.0, 0.0)]), "no_such_joint"),
        (data(muscles=[(0, 1.0, False, 1.0, 0.0)]), "no_such_joint"),
        (data(muscles=[(1, 1, False, 1.0, 0.0)]), "too_small"),
        (data(muscles=[(1, 1, False, INFINITE, 0.0), (0, 1, False, 1.0, 0.0)]), "not_finite"),
        (data(muscles=[(0, 1, False, 1.0, 0.0), (2, 2, False, 1.0, 0.0)]), "disconnected"),
        (data(muscles=[(0, 1, False, 1.0, 0.0)]), "disconnected"),
        (row(10_000), "too_many_joints"),
        (data(muscles=[(0, 1, False, 1.0, 0.0)] * 10_000), "too_many_muscles"),
    ],
)
def test_the_rule_that_is_broken_is_named(value, broken):
    assert rule(value) == broken


def test_limits_are_inclusive():
    limits = WalkerLimits(max_joints=4, max_muscles=3, max_size=1.5)
    assert len(validate_walker(row(4), limits).joints) == 4
    assert rule(row(5), limits) == "too_many_joints"
    assert rule(row(4), WalkerLimits(max_muscles=2)) == "too_many_muscles"
    assert rule(row(4), WalkerLimits(max_size=1.4)) == "too_large"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda deep: deep,
        lambda deep: {"joints": deep, "muscles": deep},
        lambda deep: data([(0, 0), (3, 0), (0, 4)]) | {"joints": [deep, [1, 0]]},
        lambda deep: data([(0, 0), (deep, 0), (0, 4)]),
        lambda deep: data(muscles=[(0, 1, False, deep, 0.0)]),
    ],
)
def test_200_000_levels_of_nesting_are_refused_in_no_time(wrap):
    value = wrap(nested(200_000))
    began = time.perf_counter()
    assert rule(value) in {"not_a_walker", "not_a_number", "too_small"}
    assert time.perf_counter() - began < 1.0
