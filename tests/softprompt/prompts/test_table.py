"""Soft prompts: how they are born and watched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softprompt.prompts.init import initial_prompts, random_rows, text_rows, vocabulary_rows
from softprompt.prompts.stats import nearest_tokens, prompt_drift
from softprompt.prompts.table import SoftPromptTable
from tests.accuracy import assert_rounded

pytestmark = pytest.mark.arithmetic


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def embedding() -> torch.Tensor:
    return torch.randn(50, 8, generator=chance(9)) * 3


def test_a_table_gives_each_terrain_its_own_rows_and_only_those_get_gradients():
    table = SoftPromptTable(torch.randn(3, 4, 8))
    chosen = table(torch.tensor([2, 0, 2]))
    assert torch.equal(chosen[0], table.prompts()[2]) and chosen.shape == (3, 4, 8)
    chosen.sum().backward()
    norms = table.weight.grad.flatten(1).norm(dim=1)
    assert_rounded(norms, [32**0.5, 0, 2 * 32**0.5])


def test_gradients_are_the_same_bit_for_bit_on_several_threads():
    table, index = SoftPromptTable(torch.randn(3, 20, 64, generator=chance())), torch.arange(96) % 3
    weights = torch.randn(96, 20, 64, generator=chance(1))
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        loss = [(table(index) * weights).sum() for _ in range(100)]
        gradients = {torch.autograd.grad(each, table.weight)[0].numpy().tobytes() for each in loss}
    finally:
        torch.set_num_threads(before)
    assert len(gradients) == 1


def test_a_table_is_a_copy_of_its_initial_value():
    initial = torch.zeros(1, 2, 8)
    table = SoftPromptTable(initial)
    initial += 1
    assert table.prompts().abs().sum() == 0


def test_no_soft_tokens_is_refused_in_words(embedding):
    with pytest.raises(ValueError, match="n_soft_tokens is 0"):
        SoftPromptTable(torch.zeros(3, 0, 8))
    with pytest.raises(ValueError, match="n_soft_tokens is 0"):
        initial_prompts(embedding, 3, 0, chance())


@pytest.mark.parametrize("initialize_from_vocab", [True, False])
def test_equal_seeds_give_equal_prompts_and_terrains_differ(embedding, initialize_from_vocab):
    first, again, other = (initial_prompts(embedding, 2, 5, chance(s), initialize_from_vocab) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_vocabulary_rows_are_rows_of_frequent_tokens(embedding):
    counts = np.zeros(50, np.int64)
    counts[[3, 7, 11]] = 100
    counts[20:] = 1  # together less than a tenth, and mostly outside the 95%
    counts[0] = 10_000
    rows = vocabulary_rows(embedding, counts, 3, chance(), special_ids=[0])
    allowed = embedding[[3, 7, 11, *range(20, 50)]]
    assert all((allowed == row).all(1).any() for row in rows)
    assert len(rows.unique(dim=0)) == 3
    counts[20:] = 0
    assert torch.equal(
        vocabulary_rows(embedding, counts, 3, chance(), special_ids=[0]).sort(0).values,
        embedding[[3, 7, 11]].sort(0).values,
    )


def test_rare_tokens_are_left_out(embedding):
    counts = np.ones(50, np.int64)
    counts[:4] = 1000
    rows = vocabulary_rows(embedding, counts, 40, chance())
    assert all((embedding[:4] == row).all(1).any() for row in rows)


def test_more_rows_than_tokens_repeat_them(embedding):
    rows = vocabulary_rows(embedding, None, 120, chance(), special_ids=[0, 1])
    assert rows.shape == (120, 8)
    assert len(rows.unique(dim=0)) == 48


def test_an_empty_vocabulary_is_refused(embedding):
    with pytest.raises(ValueError, match="no token has a count"):
        vocabulary_rows(embedding, np.zeros(50, np.int64), 3, chance())


def test_random_rows_have_the_vocabularys_mean_norm(embedding):
    norms = random_rows(embedding, 100, chance()).double().norm(dim=-1)
    assert_rounded(norms, embedding.double().norm(dim=-1).mean().expand(100))


def test_text_rows_repeat_or_cut_the_text(embedding):
    assert torch.equal(text_rows(embedding, [4, 5, 6], 5), embedding[[4, 5, 6, 4, 5]])
    assert torch.equal(text_rows(embedding, [4, 5, 6], 2), embedding[[4, 5]])
    with pytest.raises(ValueError, match="empty text"):
        text_rows(embedding, [], 2)


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
