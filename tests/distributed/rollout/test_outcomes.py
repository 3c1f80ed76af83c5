"""Descriptors and identities travel with rollouts, in order, and a world that has none says none."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.rollout.outcomes import descriptors_of, identities
from terrains.base import Score
from terrains.errors import WorldError
from terrains.niches import Niches

GRID = Niches(names=("tall", "wide"), cells=(3, 5), low=(0, 0), high=(6, 9))
GOOD, SAME, OTHER, PLAIN = (
    Score(1, 1, descriptors=(1.0, 2.0), identity="a"),
    Score(0, 0, "did_not_move", descriptors=(1.0, 2.0), identity="a"),
    Score(1, 1, descriptors=(3.0, 4.0), identity="b"),
    Score(1, 1),
)


def test_programs_are_the_same_by_their_outcome_and_else_by_their_text():
    programs = ["x", "y", "z", "x", "x", "a"]
    rows = [[GOOD], [SAME], [OTHER], [PLAIN], [PLAIN], [PLAIN]]
    found = identities(programs, rows)
    assert found.dtype == np.int64 and found.shape == (6,)
    assert found[0] == found[1] and found[3] == found[4] and len(set(found.tolist())) == 4


def test_without_scores_texts_are_compared():
    found = identities(["x", "y", "x", "\ud800"])
    assert found[0] == found[2] and len(set(found.tolist())) == 3


def test_identities_are_the_same_in_every_process():
    assert identities(["x"]).tolist() == [int.from_bytes(bytes.fromhex("75388dbc337ef3c8"), "little", signed=True)]


def test_descriptors_are_those_of_the_first_terrain_that_tells_them():
    found = descriptors_of([[None, OTHER], [PLAIN, PLAIN], [GOOD, OTHER]], GRID, "w")
    np.testing.assert_array_equal(found, [[3, 4], [np.nan, np.nan], [1, 2]])


def test_a_descriptor_that_is_not_finite_is_none():
    found = descriptors_of([[Score(1, 1, descriptors=(1.0, float("inf")))]], GRID, "w")
    assert np.isnan(found).all()


def test_a_world_without_niches_has_no_descriptors():
    assert descriptors_of([[GOOD], [PLAIN]], None, "w").shape == (2, 0)


def test_another_number_of_descriptors_than_named_is_one_line():
    with pytest.raises(WorldError, match=r"^w: the Score of attempt 1 has 1 descriptors, and not tall, wide$"):
        descriptors_of([[GOOD], [Score(1, 1, descriptors=(1.0,))]], GRID, "w")
