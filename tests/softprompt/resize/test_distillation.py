"""Prompts that learn to say what other prompts said."""

from __future__ import annotations

import pytest
import torch

from softprompt.resize.distillation import Donor, StoredPrograms, distill
from tests.accuracy import assert_as_accurate
from tests.softprompt.exact import doubled, logits_behind
from tests.softprompt.resize.test_surgery import INSTRUCTION, stored

pytestmark = pytest.mark.arithmetic

STEPS = 25


def distilled(lm, prompts, start, steps=STEPS, **options):
    donor = Donor(lm, prompts, stored(lm, prompts))
    return distill(donor, start, steps, torch.Generator().manual_seed(0), **options)


def test_distillation_lowers_the_divergence_on_programs_it_has_not_seen(llama, prompts):
    result = distilled(llama, prompts, prompts[:, :2], lr=0.1)
    assert result.kl_after < 0.7 * result.kl_before
    fresh = Donor(llama, prompts, stored(llama, prompts, count=9))
    assert fresh.distance(result.prompts) < fresh.distance(prompts[:, :2])


def test_the_divergence_to_itself_is_zero_and_there_is_nothing_to_learn(llama, prompts):
    result = distilled(llama, prompts, prompts)
    assert result.kl_after == result.kl_before == 0


def test_prompts_never_get_worse(llama, prompts):
    result = distilled(llama, prompts, prompts[:, 1:], steps=3, lr=1e3)
    assert result.kl_after == result.kl_before
    assert torch.equal(result.prompts, prompts[:, 1:])


def test_without_steps_it_only_measures(llama, prompts):
    result = distilled(llama, prompts, prompts[:, 1:], steps=0)
    assert torch.equal(result.prompts, prompts[:, 1:]) and result.kl_after == result.kl_before > 0


def test_the_measure_is_the_divergence_of_whole_distributions(llama, prompts):
    programs = stored(llama, prompts[:1], count=1)
    length = int(programs.mask.sum())
    ids = torch.cat([torch.tensor(INSTRUCTION), programs.ids[0, :length]])

    def by_transformers(lm):
        behind = [logits_behind(lm, prompt, ids)[0].log_softmax(-1) for prompt in (prompts[0], prompts[0, :2])]
        theirs, ours = (logprobs[-length - 1 : -1] for logprobs in behind)
        return (theirs.exp() * (theirs - ours)).sum(-1).mean()

    measured = Donor(llama, prompts[:1], programs).distance(prompts[:1, :2])
    with torch.no_grad():
        theirs, exact = by_transformers(llama), by_transformers(doubled(llama))
    # The roundings are those of log-probabilities, which are ten times as large as their differences.
    assert_as_accurate(measured, theirs, exact, ulps=80)


def test_a_model_with_logits_of_its_own_kind_is_measured_on_the_stored_tokens(llama, prompts, monkeypatch):
    monkeypatch.setattr("softprompt.resize.distillation.LINEAR_HEADS", ())
    result = distilled(llama, prompts, prompts[:, :2], lr=0.1)
    assert result.kl_after < 0.7 * result.kl_before


def test_the_language_model_stays_as_it_is(llama, prompts):
    before = llama.hash
    distilled(llama, prompts, prompts[:, :2], steps=3)
    assert llama.hash == before


def test_nothing_to_compare_on_is_refused(llama, prompts):
    nothing = torch.zeros(0, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="no stored programs"):
        Donor(llama, prompts, StoredPrograms(nothing, nothing.bool(), nothing[:, 0], ()))
