"""Language models of 4 and 8 bits: sampled, learnt behind, and loaded again where they cannot be sent."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import replace

import pytest
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.models import quantize
from softprompt.models.chat import Chat
from softprompt.models.frozen import FrozenLM
from softprompt.models.unfrozen import top_layers
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders import way_of_decoding
from tests.softprompt.families import FAMILIES, build
from tests.softprompt.talking import talking_lm

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
# On some CPUs bitsandbytes wants whole blocks of 64 codes in each row.
WIDE = {"hidden_size": 64, "intermediate_size": 128, "ffn_dim": 128, "word_embed_proj_dim": 64, "head_dim": 16}
UNEQUAL = [SampleRequest(0, (5, 9, 30), 3, 1), SampleRequest(1, (7,), 3, 2)]


@pytest.fixture(params=["llama", "gemma2", "opt"])
def saved(request, tokenizer, tmp_path):
    family = next(each for each in FAMILIES if each.kind == request.param)
    build(replace(family, settings=family.settings | WIDE)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_without_bitsandbytes_one_line_says_what_to_install(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "is_bitsandbytes_available", lambda: False)
    llama.model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="weights of 4bit need bitsandbytes: pip install bitsandbytes") as error:
        FrozenLM.load(tmp_path, quantization="4bit")
    assert "\n" not in str(error.value)


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_it_is_sampled_and_learnt_behind_near_to_the_whole_model(saved, bits):
    whole, lm = FrozenLM.load(saved), FrozenLM.load(saved, quantization=bits)
    assert quantize.is_quantized(lm.model) and way_of_decoding(lm.model) == "transformers, from a cache"
    hashed, scale = lm.hash, float(lm.embedding.norm(dim=-1).mean()) / lm.d_model**0.5
    prompts = (torch.randn(2, 8, lm.d_model, generator=torch.Generator().manual_seed(1)) * scale).requires_grad_()
    samples = Sampler(lm, GenerationConfig(max_new_tokens=10)).sample(prompts, UNEQUAL)
    drawn = prompts[samples.terrain], samples.instructions, samples.ids, samples.mask
    own, theirs = (evaluate(each, *drawn)[0][samples.mask] for each in (lm, whole))
    # Where no gradient is asked for, bitsandbytes computes in half the bits; a forgotten prompt changes about 3.
    assert (own - samples.own_logprobs[samples.mask]).abs().mean() < 0.3
    assert torch.corrcoef(torch.stack([own, theirs]))[0, 1] > 0.5 and not torch.equal(own, theirs)
    own.sum().backward()
    assert prompts.grad is not None and prompts.grad.any() and lm.hash == hashed != whole.hash


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_another_process_loads_it_from_where_it_lies(saved, bits, monkeypatch):
    monkeypatch.chdir(saved.parent)
    lm = FrozenLM.load(saved.name, quantization=bits)
    parts = pickle.loads(pickle.dumps(lm.export()))
    monkeypatch.chdir("/")
    assert FrozenLM.rebuild(parts).hash == lm.hash


@needs_bitsandbytes
def test_it_is_talked_to_there_too_and_its_layers_are_not_trained(tokenizer, tmp_path):
    lm = talking_lm(tokenizer, None)
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    talking = FrozenLM.load(tmp_path, chat=Chat("import math"), quantization="4bit")
    assert FrozenLM.rebuild(talking.export()).chat == Chat("import math")
    with pytest.raises(ValueError, match="codes of few bits, which cannot be trained"):
        top_layers(talking.model, 1)


def test_whole_models_are_rebuilt_from_their_arrays(llama):
    assert "weights" in llama.export() and FrozenLM.rebuild(llama.export()).hash == llama.hash
