"""Archives of elites: the best of every kind, counted and drawn from."""

from __future__ import annotations

import random

import numpy as np
import pytest

from terrains.sodarace.map_elites.archive import Archives, NicheConfig

TERRAINS = ("left_wall", "right_wall", "bumpy")
GROUPS = {"walls": ("left_wall", "right_wall"), "bumpy": ("bumpy",)}
SMALL, LARGE = [1.0, 1.0, 5.0], [9.0, 15.0, 50.0]


def filled(*rows):
    """Archives to which (id, fitness on each terrain, descriptors) were offered at once."""
    archives = Archives(GROUPS, TERRAINS, NicheConfig(), min_fitness=5.0)
    ids, fitness, descriptors = zip(*rows, strict=True)
    archives.add(np.array(ids), np.array(fitness, dtype=float), np.array(descriptors))
    return archives


def test_the_objective_is_the_mean_over_the_group():
    archives = filled((0, [10, 30, 6], SMALL))
    assert archives.objectives(np.array([[10.0, 30.0, 6.0]])).tolist() == [[20.0, 6.0]]
    assert archives.best_of(int(archives.niche(np.array([SMALL]))[0])) == {"walls": 20.0, "bumpy": 6.0}


def test_each_archive_keeps_the_best_of_a_niche():
    archives = filled((0, [10, 10, 50], SMALL), (1, [40, 40, 20], SMALL), (2, [6, 6, 6], LARGE))
    assert archives.elites() == {0, 1, 2}
    assert archives.qd_score() == {"walls": 46.0, "bumpy": 56.0}
    cells = np.prod(NicheConfig().cells)
    assert archives.coverage() == pytest.approx({"walls": 2 / cells, "bumpy": 2 / cells})
    archives.add(np.array([3]), np.array([[39.0, 39.0, 60.0]]), np.array([SMALL]))
    assert archives.elites() == {1, 2, 3}


def test_what_is_too_slow_is_no_elite():
    archives = filled((0, [4, 4, 4], SMALL), (1, [9, 2, 0], SMALL))
    assert archives.elites() == {1}
    assert archives.qd_score() == {"walls": 5.5, "bumpy": 0.0}


def test_the_share_is_the_greatest_over_the_groups():
    archives = filled((0, [40, 40, 10], SMALL), (1, [10, 10, 9], SMALL))
    niche = archives.niche(np.array([SMALL, SMALL, LARGE]))
    fitness = np.array([[40.0, 40.0, 10.0], [10.0, 10.0, 9.0], [99.0, 99.0, 99.0]])
    assert archives.shares(fitness, niche) == pytest.approx([1.0, 0.9, 0.0])


def test_sizes_beyond_the_grid_belong_to_its_edge():
    archives = filled((0, [10, 10, 10], [12.0, 20.0, 64.0]))
    assert archives.niche(np.array([[90.0, 90.0, 900.0]])) == archives.niche(np.array([[12.0, 20.0, 64.0]]))
    assert archives.niche(np.array([[0.0, 0.0, 1.0]])) == 0


def test_parents_are_elites_and_more_rivals_draw_better_ones():
    places = [[1.0, float(k), 5.0] for k in range(20)]
    archives = filled(*[(k, [10 + k] * 3, place) for k, place in enumerate(places)])
    drawn = {rivals: [archives.draw(random.Random(s), rivals) for s in range(200)] for rivals in (1, 8)}
    assert set(drawn[1]) == set(range(20))
    assert np.mean(drawn[8]) > np.mean(drawn[1]) + 3


def test_nothing_can_be_drawn_from_empty_archives():
    archives = filled((0, [1, 1, 1], SMALL))
    with pytest.raises(IndexError):
        archives.draw(random.Random(0), 2)
