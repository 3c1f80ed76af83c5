"""Two walkers are one where they differ in no more than place, order and what has no effect."""

from __future__ import annotations

import numpy as np
import pytest

from terrains.base import Attempt
from terrains.sodarace.canonical import NICHES, descriptors, identity
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.walker import validate_walker
from terrains.sodarace.world import SodaraceWorld

JOINTS = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [2.5, 3.5]]
MUSCLES = [[0, 1, False, 1.0, 0.1], [1, 2, True, 0.0, 0.0], [2, 3, False, 0.5, 0.75], [3, 0, False, -1.0, 0.0]]


def named(joints, muscles):
    return identity(validate_walker({"joints": joints, "muscles": muscles}))


def test_place_order_direction_and_whole_turns_do_not_count():
    chance = np.random.default_rng(0)
    for _ in range(20):
        order = chance.permutation(4)
        place = np.argsort(order)
        joints = [[JOINTS[k][0] + 7.25, JOINTS[k][1] - 0.1] for k in order]
        muscles = [[int(place[b]), int(place[a]), rigid, size, phase + 2] for a, b, rigid, size, phase in MUSCLES]
        assert named(joints, [muscles[k] for k in chance.permutation(4)]) == named(JOINTS, MUSCLES)


def test_a_rods_amplitude_and_phase_do_not_count():
    other = [list(m) for m in MUSCLES]
    other[1][3:] = [2.0, 0.5]
    assert named(JOINTS, other) == named(JOINTS, MUSCLES)


@pytest.mark.parametrize(("row", "column", "value"), [(0, 2, True), (0, 3, 1.1), (0, 4, 0.2), (2, 1, 1), (3, 4, 0.5)])
def test_whatever_moves_it_otherwise_counts(row, column, value):
    other = [list(m) for m in MUSCLES]
    other[row][column] = value
    assert named(JOINTS, other) != named(JOINTS, MUSCLES)


def test_another_shape_is_another_walker():
    joints = [list(j) for j in JOINTS]
    joints[3][0] += 0.1
    assert named(joints, MUSCLES) != named(JOINTS, MUSCLES)
    mirrored = [[-x, y] for x, y in JOINTS]
    assert named(mirrored, MUSCLES) != named(JOINTS, MUSCLES)


def test_scores_tell_descriptors_and_identity_of_every_walker_and_of_nothing_else():
    square, other = SEEDS["square"], SEEDS["square"] + "# the same walker, another text\n"
    with SodaraceWorld() as world:
        walker = world.walker(square)
        mine, same, broken = world.score([Attempt("flat", p) for p in (square, other, "import math\n")])
        again = world.score([Attempt("flat", square)])[0]
    assert mine.descriptors == descriptors(walker) == same.descriptors == again.descriptors
    assert len(mine.descriptors) == len(NICHES.names)
    assert mine.identity == same.identity == identity(walker)
    assert (broken.descriptors, broken.identity) == ((), "")
