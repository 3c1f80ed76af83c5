"""What pays for variety, against figures worked out by hand and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softprompt.rl.variety import (
    RepeatController,
    distinctness,
    edit_distances,
    novelty,
    point_distances,
    repeats,
    scaled,
    sharing,
    unique_share,
)

IDENTITY = torch.tensor([7, 7, 8, 7, 7, 9, 9, 9])
GROUP = torch.tensor([0, 0, 0, 1, 0, 1, 1, 1])


def test_repeats_count_within_the_group_alone():
    assert repeats(IDENTITY, GROUP).tolist() == [3, 3, 1, 1, 3, 3, 3, 3]
    assert unique_share(IDENTITY, GROUP) == 4 / 8


def test_nothing_has_no_repeats():
    empty = torch.empty(0, dtype=torch.int64)
    assert repeats(empty, empty).shape == (0,) and unique_share(empty, empty) == 1


def test_programs_that_are_the_same_share_one_reward_at_exponent_one():
    count = repeats(IDENTITY, GROUP)
    share = sharing(count, 1.0)
    for group in (0, 1):
        for name in (7, 8, 9):
            same = (IDENTITY == name) & (GROUP == group)
            if same.any():
                assert share[same].double().sum().item() == pytest.approx(1.0, rel=1e-6)
    assert sharing(count, 0.0).tolist() == [1.0] * 8
    assert sharing(count, 0.5)[0].item() == pytest.approx(3**-0.5, rel=1e-6)


def test_failures_are_not_made_better_by_standing_often():
    rewards = torch.tensor([4.0, -1.0, 0.0])
    assert scaled(rewards, torch.tensor([0.25, 0.25, 0.25])).tolist() == [1.0, -1.0, 0.0]
    dense = torch.tensor([[4.0, -2.0], [1.0, 1.0]])
    assert scaled(dense, torch.tensor([0.5, 1.0])).tolist() == [[2.0, -2.0], [1.0, 1.0]]


def test_the_exponent_rises_while_too_little_is_unique_and_falls_while_too_much_is():
    controller = RepeatController(0.0, target=0.6)
    controller.update(0.54)
    assert controller.value == pytest.approx(0.1)
    controller.update(0.06)
    assert controller.value == pytest.approx(0.3), "the error is clipped"
    controller.update(1.0)
    controller.update(1.0)
    assert controller.value == 0.0, "never below zero"
    for _ in range(100):
        controller.update(0.0)
    assert controller.value == 4.0


def test_without_a_target_the_exponent_stays():
    controller = RepeatController(1.0)
    controller.update(0.0)
    assert controller.value == 1.0


def test_the_exponent_is_continued():
    one, other = RepeatController(1.0, 0.5), RepeatController(0.0, 0.5)
    one.update(0.1)
    other.load_state_dict(one.state_dict())
    assert other.value == one.value


def levenshtein(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[0], table[:, 0] = range(len(b) + 1), range(len(a) + 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (x != y))
    return table[-1, -1]


def test_edit_distances_are_those_of_the_plain_recurrence():
    chance = np.random.default_rng(0)
    lengths = chance.integers(1, 9, 6)
    ids, mask = torch.from_numpy(chance.integers(0, 4, (6, 8))), torch.arange(8) < torch.from_numpy(lengths)[:, None]
    rows = [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)]
    wanted = [[levenshtein(a, b) / max(len(a), len(b)) for b in rows] for a in rows]
    assert edit_distances(ids, mask).tolist() == wanted


def test_token_numbers_beyond_any_alphabet_are_told_apart():
    ids = torch.tensor([[200_000, 1], [200_001, 1], [200_000, 1]])
    found = edit_distances(ids, torch.ones(3, 2, dtype=torch.bool))
    assert found.tolist() == [[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]]


def test_points_are_as_far_as_the_corners_of_a_cube_at_most():
    points = torch.tensor([[0.0, 0, 0], [1, 1, 1], [0, 0, 0.5], [float("nan"), 0, 0]])
    found = point_distances(points, points)
    assert found[0].tolist() == pytest.approx([0, 1, 0.5 / 3**0.5, 0], abs=1e-12)
    assert found.dtype == torch.float64 and (found[3] == 0).all()


def test_distinctness_is_the_mean_distance_to_the_others():
    distances = torch.tensor([[0.0, 0.5, 1.0], [0.5, 0.0, 0.25], [1.0, 0.25, 0.0]], dtype=torch.float64)
    assert distinctness(distances).tolist() == [0.75, 0.375, 0.625]
    assert distinctness(torch.zeros(1, 1)).tolist() == [1.0]


def test_novelty_is_the_mean_distance_to_the_nearest():
    distances = torch.tensor([[0.5, 0.1, 0.3], [1.0, 1.0, 0.0]], dtype=torch.float64)
    assert novelty(distances, 2).tolist() == pytest.approx([0.2, 0.5])
    assert novelty(distances, 10).tolist() == pytest.approx([0.3, 2 / 3])
    assert novelty(torch.empty(2, 0), 3).tolist() == [1.0, 1.0], "all is new where nothing is known"
