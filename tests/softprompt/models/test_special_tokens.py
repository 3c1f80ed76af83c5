"""Special tokens that were added to a tokenizer alone: the model has no row for them, and nobody may ask for it."""

from __future__ import annotations

import copy

import pytest
import torch

from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import readable_ids
from softprompt.prompts.init import initial_prompts
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.softprompt.conftest import VOCAB


@pytest.fixture
def lm(llama) -> FrozenLM:
    """A model whose tokenizer got a padding and a start token later on."""
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]", "bos_token": "[START]"})
    tokenizer.add_tokens(["walker"])
    assert tokenizer.pad_token_id >= VOCAB and tokenizer.bos_token_id >= VOCAB
    return FrozenLM(llama.model, tokenizer)


def test_only_special_tokens_with_a_row_are_kept_out_of_prompts(lm, llama):
    assert lm.special_ids and set(lm.special_ids) <= set(llama.tokenizer.all_special_ids)
    assert set(lm.tokenizer.all_special_ids) - set(lm.special_ids) == {
        lm.tokenizer.pad_token_id,
        lm.tokenizer.bos_token_id,
    }
    chance = torch.Generator().manual_seed(0)
    assert initial_prompts(lm.embedding, 2, 3, chance, special_ids=lm.special_ids).isfinite().all()


def test_programs_are_padded_with_a_token_that_has_a_row(lm):
    assert lm.pad_id < VOCAB
    drawing = GenerationConfig(max_new_tokens=30, stop_strings=("a", "e", "1", "("))
    assert int(Sampler(lm, drawing).sample(None, [SampleRequest(0, (5, 9), 12, 1)]).ids.max()) < VOCAB


def test_an_end_token_without_a_row_leaves_that_of_the_configuration(lm):
    class Bare:
        eos_token_id = VOCAB + 1
        pad_token_id = None

    assert FrozenLM(lm.model, Bare()).eos_ids == (lm.model.config.eos_token_id,)


def test_an_instruction_loses_its_special_tokens_without_a_row_and_no_other(lm):
    start = lm.tokenizer.bos_token_id
    assert readable_ids(lm.tokenizer, [start, 7, 8], VOCAB) == [7, 8]
    with pytest.raises(ValueError, match="has a token 'walker', and the language model no row"):
        readable_ids(lm.tokenizer, lm.tokenizer("a walker").input_ids, VOCAB)
