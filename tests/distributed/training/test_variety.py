"""Figures of variety, against programs whose variety is known."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.rollout.types import Rollouts
from distributed.training.variety import bars, variety_metrics, variety_of
from terrains.niches import Niches

GRID = Niches(names=("tall", "wide"), cells=(2, 2), low=(0, 0), high=(1, 1))
POINTS = np.array([[0.0, 0.0], [0.1, 0.1], [1.0, 1.0], [np.nan, np.nan], [0.0, 0.0]])
FITNESS = np.array([4.0, 6.0, 3.0, 0.0, 9.0])


def drawn(fitness=FITNESS[:, None], terrain=(0, 0, 0, 0, 1)):
    n = len(POINTS)
    failures = [[None if value > 0 else "broken" for value in row] for row in fitness]
    logprobs = -np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    mask = np.ones((n, 2), dtype=bool)
    mask[1, 1] = False
    return [
        Rollouts(0, 0, np.ones((n, 2), dtype=np.int64), mask, logprobs, np.array(terrain), ["p", "q", "q", "x", "p"],
                 fitness, fitness, failures, descriptors=POINTS, identity=np.array([1, 1, 2, 3, 1]))
    ]  # fmt: skip


def test_figures_are_those_counted_by_hand():
    found = variety_of(drawn(), 0, GRID, bar=5.0)
    assert found["unique"] == 3 / 4 and found["distinct"] == 3
    assert found["unique_mean"] == pytest.approx((4 + 6 + 0) / 3), "of each text the first"
    assert found["entropy"] == pytest.approx(((0 + 1) + 2 + (4 + 5) + (6 + 7)) / 4)
    assert found["best_of_cells"] == {0: 6.0, 3: 3.0}
    assert found["cells"] == 1 and found["qd_score"] == 9.0


def test_a_world_without_descriptors_has_no_cells():
    found = variety_of(drawn(), 0, None, bar=5.0)
    assert set(found) == {"unique", "distinct", "unique_mean", "entropy"}


def test_programs_scored_on_all_count_where_they_were_written_for_or_everywhere():
    both = np.stack([FITNESS, 2 * FITNESS], axis=1)
    assert variety_of(drawn(both), 1, GRID, 0.0)["best_of_cells"] == {0: 18.0}
    everywhere = variety_of(drawn(both), 1, GRID, 0.0, prompted=False)
    assert everywhere["best_of_cells"] == {0: 18.0, 3: 6.0} and everywhere["unique"] == 3 / 5


def test_metrics_have_means_and_only_what_every_terrain_has():
    found = [variety_of(drawn(), k, GRID, 0.0) for k in range(2)]
    metrics = variety_metrics(["one", "two"], found)
    assert metrics["distinct/one"] == 3 and metrics["distinct/two"] == 1 and metrics["distinct/mean"] == 2
    assert (metrics["unique/one"], metrics["unique/two"]) == (3 / 4, 1.0)
    assert metrics["qd_score/two"] == 9.0 and not any("best_of" in name for name in metrics)
    assert not any(name.startswith("cells") for name in variety_metrics(["one"], [variety_of(drawn(), 0, None, 0.0)]))


def test_the_bar_is_half_the_untuned_best():
    assert bars({"fitness": np.array([[1.0, 8.0], [3.0, 2.0]])}) == [1.5, 4.0]
