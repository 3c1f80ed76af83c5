"""Carrying a prompt from one size to another."""

from __future__ import annotations

import pytest
import torch

from softprompt.prompts.init import vocabulary_rows
from softprompt.resize.distillation import Donor, StoredPrograms
from softprompt.resize.surgery import NEWBORN, resize, rows_to_keep
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest

pytestmark = pytest.mark.arithmetic

INSTRUCTION = (5, 9)


def written(lm, prompts, count=4):
    """Programs that a model writes behind prompts, ``count`` for each."""
    requests = [SampleRequest(k, INSTRUCTION, count, k) for k in range(len(prompts))]
    return Sampler(lm, GenerationConfig(max_new_tokens=10)).sample(prompts, requests)


def stored(lm, prompts, count=4):
    samples = written(lm, prompts, count)
    return StoredPrograms(samples.ids, samples.mask, samples.terrain, (INSTRUCTION,) * len(samples.ids))


def test_the_same_size_is_the_identity(prompts):
    same = resize(prompts[0], len(prompts[0]))
    assert torch.equal(same.prompt, prompts[0])
    moments = torch.rand(prompts[0].shape)
    assert torch.equal(same.carry(moments), moments)


def test_growing_keeps_the_old_rows_next_to_the_instruction_and_puts_the_born_ones_in_front(llama, prompts):
    born = vocabulary_rows(llama.embedding, None, 3, torch.Generator().manual_seed(0))
    grown = resize(prompts[0], 7, born)
    assert torch.equal(grown.prompt, torch.cat([born, prompts[0]]))
    assert grown.source.tolist() == [NEWBORN] * 3 + [0, 1, 2, 3]


def test_moments_of_kept_rows_are_carried_and_those_of_born_rows_are_zero(prompts):
    moments = torch.rand(prompts[0].shape)
    grown = resize(prompts[0], 6, torch.rand(2, prompts.shape[2])).carry(moments)
    assert torch.equal(grown[2:], moments) and not grown[:2].any()
    cut = resize(prompts[0], 2, kept=torch.tensor([1, 3])).carry(moments)
    assert torch.equal(cut, moments[[1, 3]])


def test_the_row_that_is_missed_least_is_the_one_given_up(llama, prompts):
    samples = written(llama, prompts[:1], count=40)
    # Every way of giving one row up, measured over whole distributions.
    donor = Donor(llama, prompts[:1], stored(llama, prompts[:1], count=40))
    ways = [[j for j in range(4) if j != i] for i in range(4)]
    distances = [donor.distance(prompts[:1, way]) for way in ways]
    kept = rows_to_keep(llama, prompts[0], 3, [INSTRUCTION] * len(samples.ids), samples.ids, samples.mask)
    assert kept.tolist() == ways[min(range(4), key=distances.__getitem__)]


def test_a_cut_chosen_by_measurement_hurts_less_than_the_average_cut(llama):
    generator = torch.Generator().manual_seed(3)
    chosen, average = [], []
    for _ in range(6):
        prompt = torch.randn(1, 8, llama.d_model, generator=generator) * 0.3
        programs = stored(llama, prompt, count=12)
        donor = Donor(llama, prompt, programs)
        kept = rows_to_keep(llama, prompt[0], 3, programs.instructions, programs.ids, programs.mask)
        drawn = [torch.randperm(8, generator=generator)[:3].sort().values for _ in range(8)]
        average.append(sum(donor.distance(prompt[:, rows]) for rows in drawn) / len(drawn))
        chosen.append(donor.distance(prompt[:, kept]))
    assert sum(chosen) < sum(average)


@pytest.mark.parametrize("n", [0, 5])
def test_a_size_that_cannot_be_had_is_refused(llama, prompts, n):
    with pytest.raises(ValueError, match="row"):
        resize(prompts[0], n)
    samples = written(llama, prompts[:1])
    with pytest.raises(ValueError, match="can stay"):
        rows_to_keep(llama, prompts[0], n, [INSTRUCTION] * len(samples.ids), samples.ids, samples.mask)


def test_shrinking_without_a_choice_is_refused(prompts):
    with pytest.raises(ValueError, match="to keep"):
        resize(prompts[0], 2)
