"""What is logged about prompts."""

from __future__ import annotations

import pytest
import torch

from softprompt.prompts.stats import nearest_tokens, prompt_drift, relative_step
from tests.accuracy import assert_rounded
from tests.softprompt.chance import chance

pytestmark = pytest.mark.arithmetic


@pytest.fixture
def embedding() -> torch.Tensor:
    return torch.randn(50, 8, generator=chance(9)) * 3


def test_drift_is_the_mean_distance_per_row():
    start = torch.zeros(2, 4, 3)
    now = start.clone()
    now[1, 0] = torch.tensor([3.0, 4.0, 0.0])
    assert prompt_drift(now, start).tolist() == [0.0, 1.25]


def test_the_nearest_token_of_a_scaled_row_is_its_own(embedding):
    ids, cosines = nearest_tokens(embedding[torch.tensor([[4, 9]])] * 5, embedding, k=3)
    assert ids.shape == cosines.shape == (1, 2, 3)
    assert ids[..., 0].tolist() == [[4, 9]]
    assert_rounded(cosines[..., 0], torch.ones(1, 2))
    assert (cosines[..., 0] > cosines[..., 1]).all()


def test_a_relative_step_is_the_distance_over_the_length_before():
    before = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])
    now = before.clone()
    now[0, 0, 0] += 2
    assert relative_step(now, before).tolist() == [0.5, 0.0]
