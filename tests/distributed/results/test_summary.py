"""Invariants of distributed.results.summary."""

import json

import numpy as np
import pytest

from distributed.results.summary import Summary, bootstrap_interval, summarise, write_summary

NAMES = ["left_wall", "tunnel"]
TERRAIN_KEYS = {
    "untuned_mean",
    "untuned_valid",
    "best_of_n",
    "n",
    "tuned_mean",
    "tuned_valid",
    "tuned_interval",
    "tuned_unique",
    "warm_start_mean",
    "untuned_interval",
}


def small_run(**changes):
    untuned_valid = np.array([[True, True], [False, True], [True, False], [True, True]])
    arguments = dict(
        seed=3,
        rollouts=96,
        seconds=12.5,
        terrain_names=NAMES,
        untuned_fitness=np.array([[10.0, 1.0], [99.0, 3.0], [20.0, np.nan], [30.0, 4.0]]),
        untuned_valid=untuned_valid,
        warm_fitness=[np.array([8.0, 0.0]), np.array([6.0])],
        tuned_fitness={
            "left_wall": np.array([[40.0, 2.0], [60.0, 7.0]]),
            "tunnel": np.array([[5.0, 30.0], [5.0, 10.0]]),
        },
        tuned_valid={"left_wall": np.array([[True, True], [True, False]]), "tunnel": np.ones((2, 2), dtype=bool)},
        tuned_programs={"left_wall": ["a", "b"], "tunnel": ["a", "a"]},
    )
    return summarise(**(arguments | changes))


def test_failures_count_as_fitness_zero_and_are_never_dropped():
    summary = small_run()
    left, tunnel = summary.terrains["left_wall"], summary.terrains["tunnel"]
    assert (left.untuned_mean, left.untuned_valid, left.best_of_n, left.n) == (15.0, 0.75, 30.0, 4)
    assert (tunnel.untuned_mean, tunnel.untuned_valid, tunnel.best_of_n) == (2.0, 0.75, 4.0)
    assert summary.transfer["left_wall"]["tunnel"] == 1.0


def test_tuned_numbers_are_those_of_the_terrains_own_prompt():
    summary = small_run()
    assert summary.terrains["left_wall"].tuned_mean == summary.transfer["left_wall"]["left_wall"] == 50.0
    assert summary.terrains["tunnel"].tuned_mean == summary.transfer["tunnel"]["tunnel"] == 20.0
    assert summary.terrains["left_wall"].tuned_unique == 1.0
    assert summary.terrains["tunnel"].tuned_unique == 0.5
    assert summary.terrains["left_wall"].warm_start_mean == 4.0


def test_json_holds_the_agreed_keys_and_reads_back_equal(tmp_path):
    summary = small_run(kl={"left_wall": 1.5, "tunnel": 2.0})
    data = json.loads(write_summary(tmp_path / "summary.json", summary).read_text())
    assert set(data) == {"seed", "rollouts", "seconds", "terrains", "transfer", "transfer_interval", "kl"}
    assert all(set(row) == TERRAIN_KEYS for row in data["terrains"].values())
    assert (
        data["terrains"]["left_wall"]["tuned_interval"][0] <= 50.0 <= data["terrains"]["left_wall"]["tuned_interval"][1]
    )
    assert Summary.from_json(summary.to_json()) == summary
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_a_run_without_a_warm_start_says_null_rather_than_dropping_the_key():
    data = json.loads(small_run(warm_fitness=None).to_json())
    assert data["terrains"]["tunnel"]["warm_start_mean"] is None


def test_same_seed_same_intervals_whatever_the_scale():
    assert small_run() == small_run()
    values = np.random.default_rng(0).gamma(2.0, 10.0, size=50)
    first = bootstrap_interval(values, np.random.default_rng(1))
    assert np.allclose(3 * first, bootstrap_interval(3 * values, np.random.default_rng(1)))


def test_bootstrap_interval_covers_the_true_mean_about_95_percent_of_the_time():
    rng = np.random.default_rng(0)
    samples = rng.normal(7.0, 2.0, size=(100, 400))
    low, high = bootstrap_interval(samples, rng, resamples=500)
    assert low.shape == (400,)
    assert 0.90 <= np.mean((low <= 7.0) & (high >= 7.0)) <= 0.98


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuned_fitness": {"left_wall": np.ones((2, 2))}}, "no tuned evaluation for .'tunnel'"),
        ({"untuned_fitness": np.ones((4, 3))}, "untuned: expected two arrays of shape"),
        ({"untuned_valid": np.ones((4, 2), dtype=bool)}, "untuned: a valid program has a fitness that is not finite"),
        ({"tuned_programs": {"left_wall": ["a"], "tunnel": ["a", "a"]}}, "left_wall: 1 programs for 2 rows"),
    ],
)
def test_wrong_input_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        small_run(**changes)


def test_a_terrain_where_the_untuned_lm_never_scores_has_no_ratio():
    summary = small_run(untuned_fitness=np.zeros((4, 2)))
    assert summary.terrains["left_wall"].ratio is None


def test_every_mean_of_the_transfer_table_has_its_interval_and_the_untuned_ones_too():
    summary = small_run()
    for prompt, means in summary.transfer.items():
        for terrain, mean in means.items():
            low, high = summary.transfer_interval[prompt][terrain]
            assert low <= mean <= high
    untuned = np.array([[10.0, 1.0], [0.0, 3.0], [20.0, 0.0], [30.0, 4.0]])
    ends = bootstrap_interval(untuned, np.random.default_rng([0, len(NAMES)]))
    for k, name in enumerate(NAMES):
        assert summary.terrains[name].untuned_interval == pytest.approx(tuple(ends[:, k]))
    old = json.loads(summary.to_json())
    for row in old["terrains"].values():
        del row["untuned_interval"]
    assert Summary.from_json(json.dumps(old)).terrains["tunnel"].untuned_interval is None
