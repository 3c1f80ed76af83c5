"""A grid of niches: every program with descriptors has one cell, as pyribs has it."""

from __future__ import annotations

import numpy as np
import pytest
from ribs.archives import GridArchive

from terrains.niches import Niches

GRID = Niches(names=("tall", "wide"), cells=(3, 5), low=(0, -1), high=(6, 9))


def test_cells_are_those_of_pyribs():
    chance = np.random.default_rng(3)
    descriptors = chance.uniform((-2, -4), (8, 12), size=(500, 2))
    archive = GridArchive(solution_dim=1, dims=GRID.cells, ranges=list(zip(GRID.low, GRID.high, strict=True)))
    assert GRID.cell(descriptors).tolist() == archive.index_of(descriptors).tolist()


def test_what_lies_outside_belongs_to_the_outermost_cells_and_what_is_unknown_to_none():
    cells = GRID.cell(np.array([[-100.0, -100.0], [100.0, 100.0], [np.nan, 3.0], [6.0, 9.0]]))
    assert cells.tolist() == [0, GRID.size - 1, -1, GRID.size - 1]


def test_places_give_back_the_cell_along_each_descriptor():
    every = np.arange(GRID.size)
    places = GRID.places(every)
    assert places.shape == (15, 2) and (places[:, 0] * 5 + places[:, 1] == every).all()


def test_the_middle_of_a_cell_lies_in_it():
    cells = np.arange(GRID.size)
    shares = GRID.centres(cells)
    assert shares[:2].tolist() == [[1 / 6, 0.1], [1 / 6, 0.3]]
    low, high = np.array(GRID.low), np.array(GRID.high)
    assert GRID.cell(low + shares * (high - low)).tolist() == cells.tolist()


def test_no_programs_have_no_cells():
    assert GRID.cell(np.empty((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": (3,)}, "a number for each"),
        ({"names": ()}, "a number for each"),
        ({"cells": (3, 0)}, "1 cell or more"),
        ({"low": (6, 0)}, "a lower end below"),
        ({"high": (float("nan"), 9)}, "a lower end below"),
    ],
)
def test_what_is_no_grid_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Niches(**{**GRID.model_dump(), **change})
