"""The check of drawn programs sees what is wrong with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.softprompt.drawing import assert_at, assert_drawn

pytestmark = pytest.mark.arithmetic

SETTINGS = GenerationConfig(max_new_tokens=12)
REQUESTS = [SampleRequest(0, (1, 40, 7), 3, 10), SampleRequest(1, (5,), 2, 11)]


@pytest.fixture
def drawn(llama, prompts):
    return Sampler(llama, SETTINGS).sample(prompts, REQUESTS)


def changed(tensor: torch.Tensor, by: float) -> torch.Tensor:
    copy = tensor.clone()
    copy[2, 3] += by
    return copy


def test_programs_as_drawn_pass(llama, prompts, drawn):
    assert_drawn(llama, prompts, REQUESTS, drawn, SETTINGS)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda s: {"ids": changed(s.ids, 1)}, "draws token"),
        (lambda s: {"logprobs": changed(s.logprobs, 0.5)}, "ours is 0.5 "),
        (lambda s: {"own_logprobs": changed(s.own_logprobs, 0.5)}, "ours is 0.5 "),
        (lambda s: {"mask": s.mask & (torch.arange(s.mask.shape[1]) < 7)}, None),
        (lambda s: {"terrain": s.terrain.flip(0)}, None),
    ],
    ids=["token", "log-probability", "own log-probability", "length", "terrain"],
)
def test_what_was_changed_is_seen(llama, prompts, drawn, damage, words):
    with pytest.raises(AssertionError, match=words):
        assert_drawn(llama, prompts, REQUESTS, replace(drawn, **damage(drawn)), SETTINGS)


def test_other_chance_other_prompts_and_other_settings_are_seen(llama, prompts, drawn):
    other = [replace(request, seed=99) for request in REQUESTS]
    for wrong in ((prompts, other, SETTINGS), (prompts.flip(0), REQUESTS, SETTINGS), (None, REQUESTS, SETTINGS)):
        with pytest.raises(AssertionError, match="draws token"):
            assert_drawn(llama, wrong[0], wrong[1], drawn, wrong[2])
    for settings in ({"temperature": 0.9}, {"top_k": 9}, {"min_new_tokens": 12}, {"do_sample": False}):
        with pytest.raises(AssertionError):
            assert_drawn(llama, prompts, REQUESTS, drawn, SETTINGS.model_copy(update=settings | {"max_new_tokens": 12}))


def test_a_token_passes_beside_the_edge_as_far_as_rounding_goes():
    exact = torch.tensor([[0.25, 0.5, 1.0]], dtype=torch.float64)
    theirs = exact.float() + torch.tensor([0.0, 1e-5, 0.0])
    for token, uniform in ((0, 0.25 + 3e-5), (1, 0.25 - 3e-5), (1, 0.5 + 3e-5)):
        assert_at(theirs, exact, torch.tensor([[token]]), torch.tensor([uniform], dtype=torch.float64))
    for token, uniform in ((0, 0.25 + 5e-5), (1, 0.25 - 5e-5), (2, 0.5 - 5e-5)):
        with pytest.raises(AssertionError, match=f"draws token {token}"):
            assert_at(theirs, exact, torch.tensor([[token]]), torch.tensor([uniform], dtype=torch.float64))
