"""Which different programs of a run are shown, against programs whose kinds are known."""

from __future__ import annotations

import numpy as np

from distributed.results.best_programs import different_found
from terrains.niches import Niches

GRID = Niches(names=("tall", "wide"), cells=(2, 2), low=(0, 0), high=(1, 1))
LOW, HIGH, NONE = (0.2, 0.1), (0.9, 0.8), (np.nan, np.nan)
FITNESS = [9.0, 8.0, 8.5, 3.0, 7.0, 0.0]
TUNED = {
    "flat": {
        "fitness": np.array([FITNESS]).T,
        "valid": np.array([[True, True, True, True, True, False]]).T,
        "programs": ["best", "twin of best", "second", "tall", "third", "broken"],
        "identity": np.array([1, 1, 2, 3, 4, 5]),
        "descriptors": np.array([LOW, LOW, LOW, HIGH, LOW, NONE]),
    }
}


def shown(most=8, niches=GRID, bar=2.0, tuned=TUNED):
    return [each.program for each in different_found(["flat"], tuned, niches, [bar], most)]


def test_each_outcome_is_shown_once_the_best_first_and_failures_never():
    assert shown() == ["best", "second", "third", "tall"]


def test_a_good_program_of_another_kind_comes_before_a_better_one_of_the_same_kind():
    assert shown(most=2) == ["best", "tall"]
    assert shown(most=2, bar=5.0) == ["best", "second"], "a kind counts above the bar alone"


def test_a_world_without_descriptors_shows_its_best_outcomes():
    assert shown(most=2, niches=None) == ["best", "second"]


def test_texts_are_compared_where_an_older_state_knows_no_outcomes():
    older = {"flat": {name: TUNED["flat"][name] for name in ("fitness", "valid", "programs")}}
    assert shown(tuned=older) == ["best", "second", "twin of best", "third", "tall"]


def test_titles_are_descriptors_in_words():
    found = different_found(["flat"], TUNED, GRID, [2.0])
    assert (found[0].title, found[0].fitness) == ("tall 0.2, wide 0.1", 9.0)
