"""Messages that would break a worker or the learner cannot be made."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.rollout.types import PromptState, RolloutRequest, Rollouts, split_requests


def some_rollouts(**changes: object) -> Rollouts:
    """Rollouts of two programs, with some fields replaced."""
    fields = {
        "request_id": 4,
        "version": 1,
        "ids": np.zeros((2, 3), dtype=np.int64),
        "mask": np.ones((2, 3), dtype=bool),
        "logprobs": np.zeros((2, 3), dtype=np.float32),
        "terrain": np.zeros(2, dtype=np.int64),
        "programs": ["a", "b"],
        "rewards": np.zeros((2, 1)),
        "fitness": np.zeros((2, 1)),
        "failures": [[None], ["did not move"]],
    }
    return Rollouts(**(fields | changes))  # type: ignore[arg-type]


def test_request_counts_its_programs() -> None:
    assert RolloutRequest(0, 1, ((0, 3), (5, 4))).size == 7
    assert some_rollouts().size == 2


@pytest.mark.parametrize("groups", [(), ((0, 0),), ((-1, 2),)])
def test_request_for_nothing_is_refused(groups: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="request 3"):
        RolloutRequest(3, 1, groups)


def test_request_scored_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="'own' or 'all'"):
        RolloutRequest(3, 1, ((0, 1),), score_on="mine")  # type: ignore[arg-type]


def test_what_is_scored_everywhere_is_not_tried_again() -> None:
    with pytest.raises(ValueError, match="tried"):
        RolloutRequest(0, 1, ((0, 1),), score_on="all", try_on=1)


def test_prompts_of_another_shape_are_refused() -> None:
    assert PromptState(0, None).prompts is None
    with pytest.raises(ValueError, match="n_prompts, n_soft_tokens, d"):
        PromptState(0, np.zeros((20, 8), dtype=np.float32))


@pytest.mark.parametrize(
    "changes",
    [
        {"programs": ["a"]},
        {"mask": np.ones((2, 4), dtype=bool)},
        {"terrain": np.zeros(3, dtype=np.int64)},
        {"rewards": np.zeros((2, 2))},
        {"rewards": np.zeros((3, 1)), "fitness": np.zeros((3, 1))},
        {"failures": [[None]]},
        {"failures": [[None], []]},
    ],
)
def test_rollouts_with_a_missing_row_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="request 4"):
        some_rollouts(**changes)


@pytest.mark.parametrize("terrains", [1, 3, 7, 32, 200])
@pytest.mark.parametrize("each", [1, 2, 8, 13, 64])
@pytest.mark.parametrize("size", [1, 16, 100])
def test_work_is_cut_into_parts_of_one_size_none_of_them_empty_and_nothing_lost(
    terrains: int, each: int, size: int
) -> None:
    groups = [(t, each + (t == 0)) for t in range(terrains)]
    parts = split_requests(groups, size)
    sizes = [sum(n for _, n in part) for part in parts]
    assert min(sizes) > 0 and max(sizes) <= size + terrains
    assert [(t, sum(n for part in parts for own, n in part if own == t)) for t, _ in groups] == groups
    for part in parts:
        RolloutRequest(0, 0, part)


def test_a_part_has_few_terrains_only_where_it_cannot_have_all() -> None:
    assert split_requests([(0, 14), (1, 13), (2, 13)], 16) == [
        ((0, 4), (1, 4), (2, 4)),
        ((0, 5), (1, 4), (2, 4)),
        ((0, 5), (1, 5), (2, 5)),
    ]
    assert split_requests([(0, 2), (1, 2), (2, 2), (3, 2)], 3) == [((0, 2), (1, 1)), ((1, 1), (2, 2)), ((3, 2),)]
