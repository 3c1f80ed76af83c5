"""A cell keeps the best that was offered, as pyribs has it; the rest is a matter of order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ribs.archives import GridArchive

from softprompt.rl.archive import CellArchive, CellElite, spread


def elite(fitness, cell=0, ids=(1, 2), **more):
    return CellElite(tuple(ids), fitness, cell=cell, **more)


def test_elites_and_qd_score_are_those_of_pyribs():
    chance = np.random.default_rng(1)
    grid = GridArchive(solution_dim=1, dims=(4, 3), ranges=[(0, 1), (0, 1)])
    mine = CellArchive(2)
    points, fitness = chance.random((300, 2)), chance.random(300)
    for number, (point, value) in enumerate(zip(points, fitness, strict=True)):
        cell = int(grid.index_of_single(point))
        status = grid.add_single([number], value, point)["status"]
        entered = mine.add(1, elite(float(value), cell, ids=(number,)))
        assert entered == bool(status)
    data = grid.data(["index", "solution", "objective"])
    found = {cell: (each.ids[0], each.fitness) for cell, each in mine.cells(1).items()}
    assert found == {
        int(i): (int(s[0]), float(o))
        for i, s, o in zip(data["index"], data["solution"], data["objective"], strict=True)
    }
    assert mine.qd_score(1) == pytest.approx(float(grid.stats.qd_score)) and mine.qd_score(0) == 0


def test_of_equally_good_ones_the_first_stays():
    archive = CellArchive(1)
    assert archive.add(0, elite(2.0, ids=(5,))) and not archive.add(0, elite(2.0, ids=(6,)))
    assert archive.cells(0)[0].ids == (5,)


@pytest.mark.parametrize("bad", [elite(1.0, ids=()), elite(1.0, cell=-1), elite(float("nan")), elite(float("inf"))])
def test_what_cannot_be_learnt_is_turned_away(bad):
    archive = CellArchive(1)
    assert not archive.add(0, bad) and len(archive) == 0


def test_the_bar_rises_with_the_best():
    archive = CellArchive(1)
    for cell, fitness in enumerate((10.0, 4.0, 6.0)):
        archive.add(0, elite(fitness, cell))
    assert [each.fitness for each in archive.elites(0)] == [10, 6, 4]
    assert [each.fitness for each in archive.elites(0, 0.5)] == [10, 6]
    archive.add(0, elite(20.0, 7))
    assert [each.fitness for each in archive.elites(0, 0.5)] == [20, 10]
    assert CellArchive(1).elites(0, 0.5) == []


def test_its_state_is_plain_and_continues():
    archive = CellArchive(2)
    archive.add(1, elite(3.0, 4, descriptors=(0.5, 2.0), origin=3))
    other = CellArchive(2)
    other.load_state_dict(json.loads(json.dumps(archive.state_dict())))
    assert dict(other.cells(1)) == dict(archive.cells(1)) and len(other) == 1
    with pytest.raises(ValueError, match="2 terrains do not fit an archive of 1"):
        CellArchive(1).load_state_dict(archive.state_dict())


def test_spread_takes_the_best_and_then_the_farthest():
    elites = [elite(10 - k, k) for k in range(5)]
    points = [(0.0, 0.0), (0.1, 0.0), (1.0, 0.0), (0.5, 0.0), (1.0, 0.0)]
    assert [each.cell for each in spread(elites, points, 3)] == [0, 2, 3]
    assert [each.cell for each in spread(elites, points, 9)] == [0, 2, 3, 1, 4]
    assert spread([], [], 3) == []
