"""The next token is drawn from the distribution that the settings ask for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from softprompt.sampling import GenerationConfig, draw, shape_logits
from tests.accuracy import assert_as_accurate, assert_rounded
from tests.softprompt.drawing import assert_at

pytestmark = pytest.mark.arithmetic


def config(**changes) -> GenerationConfig:
    return GenerationConfig(**({"max_new_tokens": 24} | changes))


def test_top_k_keeps_the_k_likeliest_and_top_p_the_fewest_that_hold_p():
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    assert shape_logits(logits, config(top_k=2)).isfinite().tolist() == [[False, True, False, True]]
    assert shape_logits(logits, config(top_p=0.69)).isfinite().tolist() == [[False, True, False, True]]
    assert shape_logits(logits, config(top_p=0.71)).isfinite().tolist() == [[False, True, True, True]]
    assert shape_logits(logits, config(top_p=0.01)).isfinite().tolist() == [[False, True, False, False]]
    assert torch.equal(shape_logits(logits, config(top_k=9)), logits)
    assert_rounded(shape_logits(logits, config(temperature=0.5)).softmax(-1), np.array([[1, 16, 4, 9]]) / 30)


def test_draws_follow_the_distribution_and_never_take_what_is_ruled_out():
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.3, 0.0])
    uniforms = torch.cat([torch.linspace(0, 1, 10_001)[:-1], torch.tensor([1 - 2**-24])])
    ids, logprobs = draw(probabilities.log().expand(len(uniforms), -1), uniforms, config())
    shares = torch.bincount(ids, minlength=6) / len(ids)
    assert torch.allclose(shares, probabilities, atol=1e-3) and (shares[probabilities == 0] == 0).all()
    assert_rounded(logprobs, probabilities.double().log()[ids])


@pytest.mark.parametrize("vocab_size", [5, 64, 130, 792])
def test_the_compiled_draw_is_the_inverse_of_torchs_cumulative_distribution(vocab_size):
    generator = torch.Generator().manual_seed(vocab_size)
    logits = 3 * torch.randn(500, vocab_size, generator=generator)
    logits[torch.rand(logits.shape, generator=generator) < 0.3] = -torch.inf
    logits[:, 2] = 50 * torch.rand(500, generator=generator) - 40
    uniforms = torch.rand(500, generator=generator)
    uniforms[:2] = torch.tensor([0, 1 - 2**-24])
    ids, logprobs = draw(logits, uniforms, config())
    assert_at(*(of.softmax(-1).cumsum(-1) for of in (logits, logits.double())), ids[:, None], uniforms.double())
    theirs, exact = (of.log_softmax(-1).gather(1, ids[:, None])[:, 0] for of in (logits, logits.double()))
    assert_as_accurate(logprobs, theirs, exact)
    assert logits.gather(1, ids[:, None]).isfinite().all() and ids[0] == logits[0].isfinite().nonzero()[0]


def test_greedy_takes_the_likeliest_and_reports_the_models_own_logprob():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    ids, logprobs = draw(logits, torch.tensor([0.999]), config(do_sample=False, temperature=9))
    assert ids.tolist() == [1]
    assert_rounded(logprobs, logits.double().log_softmax(-1)[:, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"top_p": 0},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"topk": 3},
        {"min_new_tokens": 25},
        {"stop_strings": ("",)},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        config(**wrong)
