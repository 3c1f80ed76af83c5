from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from softprompt.rl.down_sampling import down_sampled, most_spread


def test_the_subset_has_the_largest_variance_of_all_subsets():
    rng = np.random.default_rng(0)
    for size in (2, 3, 5):
        rewards = torch.from_numpy(rng.normal(size=8) ** 3)
        best = max(rewards[list(each)].var(correction=0).item() for each in combinations(range(8), size))
        chosen = most_spread(rewards, size)
        assert len(chosen) == size and sorted(set(chosen.tolist())) == chosen.tolist()
        np.testing.assert_allclose(rewards[chosen].var(correction=0).item(), best, rtol=1e-9)


def test_all_are_chosen_where_no_more_are_there():
    assert most_spread(torch.tensor([3.0, 1.0]), 5).tolist() == [0, 1]


def test_rewards_that_are_equal_are_no_error():
    assert len(most_spread(torch.ones(6), 4)) == 4


def test_every_group_keeps_its_share_and_its_own_extremes():
    rewards = torch.tensor([0.0, 0.5, 1.0, 0.4, 10.0, 10.5, 11.0, 10.4])
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    assert down_sampled(rewards, group, 4).tolist() == [0, 2, 4, 6]
    assert down_sampled(rewards, group, 1).tolist() == [0, 2, 4, 6], "one program alone has nothing to be compared with"
    assert down_sampled(rewards, group, 8).tolist() == list(range(8))
