"""The language model that comes along is sampled by compiled kernels, which nothing depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import softprompt
from softprompt.models.frozen import FrozenLM
from softprompt.models.prompt_text import instruction_ids
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders import TransformersDecoder, way_of_decoding
from tests.softprompt.drawing import assert_drawn

TINY = Path(softprompt.__file__).parent / "lm" / "tiny"


@pytest.mark.arithmetic
def test_transformers_alone_draws_the_programs_that_the_kernels_draw():
    lm = FrozenLM.load(TINY)
    assert way_of_decoding(lm.model) == "compiled kernels"
    prompts = lm.embedding[torch.randint(3, 200, (2, 6), generator=torch.Generator().manual_seed(5))]
    before = instruction_ids(lm, "import math\n")
    requests = [SampleRequest(0, before, 6, 3), SampleRequest(1, before[:1], 6, 4)]
    settings, drawn = GenerationConfig(max_new_tokens=40), []
    for fast in (True, False):
        sampler = Sampler(lm, settings, fast)
        assert isinstance(sampler._decoder, TransformersDecoder) != fast
        samples = sampler.sample(prompts, requests)
        assert_drawn(lm, prompts, requests, samples, settings)
        drawn.append([tuple(ids[mask].tolist()) for ids, mask in zip(samples.ids, samples.mask, strict=True)])
    # Each of 480 numbers could fall on an edge between tokens where roundings decide, with a chance of about 1e-6.
    assert sum(one == other for one, other in zip(*drawn, strict=True)) >= 11
