"""Every family of language models: what is sampled is what the model says, and the learner sees the same."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders import TransformersDecoder, UncachedDecoder, make_decoder, way_of_decoding
from softprompt.sampling.decoders.llama_cpu_small import LlamaSmallDecoder
from tests.accuracy import assert_as_accurate
from tests.softprompt.drawing import assert_drawn
from tests.softprompt.exact import doubled, one_by_one
from tests.softprompt.families import ANEW, CACHE, FAMILIES, KERNELS, Family, build, table

pytestmark = pytest.mark.arithmetic

PAGE = Path(__file__).resolve().parents[2] / "docs" / "any_model.md"
QUICK = ("GPT-2", "Mistral 7B of 2023", "Qwen3", "Gemma 2", "gpt-oss", "Mamba")
EACH = [pytest.param(f, id=f.name, marks=[] if f.name in QUICK else pytest.mark.slow) for f in FAMILIES]

REQUESTS = [SampleRequest(0, (5, 9, 30), 3, 1), SampleRequest(1, (7,), 3, 2)]
"""Beginnings of two lengths, one of which stands behind padding; windows, of 4 or 8, are shorter than the texts."""

DRAWING = GenerationConfig(max_new_tokens=12)
REBUILT = """
import pickle, sys, torch
from softprompt.models.frozen import FrozenLM
torch.set_num_threads(1)
found = []
for parts in pickle.load(sys.stdin.buffer):
    lm = FrozenLM.from_weights(**parts)
    with torch.no_grad():
        logits = lm.model(inputs_embeds=lm.embed(torch.arange(3, 20)[None]), use_cache=False).logits
    found.append((lm.hash, lm.eos_ids, logits))
pickle.dump(found, sys.stdout.buffer)
"""


def prompts_for(lm: FrozenLM) -> torch.Tensor:
    scale = lm.embedding.norm(dim=-1).mean() / lm.d_model**0.5
    return torch.randn(2, 8, lm.d_model, generator=torch.Generator().manual_seed(1)) * scale


@pytest.mark.parametrize("family", EACH)
def test_what_is_drawn_is_drawn_as_the_model_says_and_the_learner_sees_the_same(family: Family, tokenizer):
    lm = FrozenLM(build(family), tokenizer)
    prompts = prompts_for(lm)
    samples = Sampler(lm, DRAWING).sample(prompts, REQUESTS)
    assert_drawn(lm, prompts, REQUESTS, samples, DRAWING)

    own = prompts[samples.terrain]
    found = evaluate(lm, prompts, samples.instructions, samples.ids, samples.mask, True, samples.terrain)
    theirs, exact = (one_by_one(of, own, samples.instructions, samples.ids, samples.mask) for of in (lm, doubled(lm)))
    for triple in zip(found, theirs, exact, strict=True):
        assert_as_accurate(*triple)


@pytest.mark.parametrize("family", EACH)
def test_gradients_reach_prompts_alone_and_point_to_what_is_likelier(family: Family, tokenizer):
    lm = FrozenLM(build(family), tokenizer)
    hashed, prompts = lm.hash, prompts_for(lm).requires_grad_()
    ids, mask = torch.arange(3, 15).view(2, 6), torch.ones(2, 6, dtype=torch.bool)
    before, _ = evaluate(lm, prompts, [(5, 9), (7,)], ids, mask)
    before.sum().backward()
    # Where every layer has a window, the first rows are out of reach of most of the text, or of all of it.
    assert prompts.grad is not None and (prompts.grad != 0).any(2).any(1).all()
    assert all(parameter.grad is None for parameter in lm.model.parameters())
    step = prompts.grad * (1e-3 * prompts.detach().norm() / prompts.grad.norm())
    after, _ = evaluate(lm, prompts.detach() + step, [(5, 9), (7,)], ids, mask)
    assert after.sum() > before.sum() and lm.hash == hashed


@pytest.mark.parametrize("family", EACH)
def test_it_is_sampled_in_the_way_that_the_documents_name(family: Family):
    model = build(family)
    ways = {LlamaSmallDecoder: KERNELS, TransformersDecoder: CACHE, UncachedDecoder: ANEW}
    assert way_of_decoding(model) == ways[type(make_decoder(model))] == family.sampled


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_family_is_rebuilt_in_another_process(tokenizer):
    torch.set_num_threads(1)
    models = [FrozenLM(build(family), tokenizer) for family in FAMILIES]
    sent = pickle.dumps([lm.export() for lm in models])
    answer = subprocess.run([sys.executable, "-c", REBUILT], input=sent, capture_output=True, check=True).stdout
    for lm, (hashed, ends, logits) in zip(models, pickle.loads(answer), strict=True):
        with torch.no_grad():
            own = lm.model(inputs_embeds=lm.embed(torch.arange(3, 20)[None]), use_cache=False).logits
        assert (hashed, ends) == (lm.hash, lm.eos_ids) and torch.equal(logits, own), lm.model.config.model_type


def test_a_family_is_as_long_as_its_configuration_says(tokenizer):
    [mpt] = (each for each in FAMILIES if each.kind == "mpt")  # which has a name of its own for it
    assert FrozenLM(build(mpt), tokenizer).max_length == 128


def test_the_page_lists_the_families_that_are_tried():
    assert "\n".join(table()) in PAGE.read_text()
