"""Initial values of prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softprompt.prompts.init import initial_prompts, random_rows, text_rows, vocabulary_rows
from softprompt.prompts.table import SoftPromptTable
from tests.accuracy import assert_rounded
from tests.softprompt.chance import chance

pytestmark = pytest.mark.arithmetic


@pytest.fixture
def embedding() -> torch.Tensor:
    return torch.randn(50, 8, generator=chance(9)) * 3


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
