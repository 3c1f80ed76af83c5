"""Evolution strategies: ranks, and a direction found from scores alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softprompt.rl.evolution_strategies import centered_ranks, evolution_gradient, perturbations
from tests.accuracy import assert_both_accurate
from tests.softprompt.chance import chance

pytestmark = pytest.mark.arithmetic


def test_ranks_golden_numbers():
    assert centered_ranks(torch.tensor([3.0, 1.0, 9.0])).tolist() == [0.0, -0.5, 0.5]
    assert centered_ranks(torch.tensor([1.0, 5.0, 5.0])).tolist() == [-0.5, 0.25, 0.25]
    assert centered_ranks(torch.tensor([7.0])).tolist() == [0.0]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
def test_ranks_sum_to_zero_keep_the_order_and_see_nothing_else(x):
    scores = torch.tensor(x, dtype=torch.float64)
    ranks = centered_ranks(scores)
    assert float(ranks.sum()) == pytest.approx(0, abs=1e-6) and ranks.abs().max() <= 0.5
    assert torch.equal(ranks, centered_ranks(scores.exp()))
    assert all((ranks[i] < ranks[j]) == (x[i] < x[j]) for i in range(len(x)) for j in range(len(x)))


def test_perturbations_are_as_large_as_asked_for_in_every_terrain():
    rows = torch.stack([torch.ones(20, 64), 5 * torch.ones(20, 64)])
    added = perturbations(rows, 8, 0.1, chance())
    assert added.shape == (8, 2, 20, 64)
    torch.testing.assert_close(added.std(dim=(0, 2, 3)), torch.tensor([0.1, 0.5]), rtol=0.05, atol=0)
    assert torch.equal(added, perturbations(rows, 8, 0.1, chance()))


def test_going_against_the_gradient_climbs_and_leaves_a_terrain_without_signal_alone():
    rows = torch.randn(2, 3, 4, generator=chance(1))
    target = rows[0] + 1.0

    def scores(prompts: torch.Tensor) -> torch.Tensor:
        return torch.stack([-(prompts[:, 0] - target).square().sum(dim=(1, 2)), torch.zeros(len(prompts))], dim=1)

    start = rows.clone()
    for step in range(300):
        added = perturbations(rows, 8, 0.1, chance(step))
        rows = rows - 0.1 * evolution_gradient(added, scores(rows + added), scores(rows - added))
    assert (rows[0] - target).norm() < 0.3 * (start[0] - target).norm()
    assert torch.equal(rows[1], start[1])


def test_the_size_of_the_perturbation_does_not_change_the_direction():
    rows, plus, minus = torch.ones(1, 2, 8), torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [0.0]])
    small, large = (evolution_gradient(perturbations(rows, 2, n, chance()), plus, minus) for n in (0.01, 10.0))
    exact = evolution_gradient(perturbations(rows, 2, 1.0, chance()).double(), plus, minus)
    assert_both_accurate(small, large, exact)
