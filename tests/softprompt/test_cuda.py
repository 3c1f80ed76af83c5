"""On a GPU everything computes what it computes on a CPU. Without one these tests are skipped, and reported so."""

from __future__ import annotations

import pytest
import torch

from softprompt.logprobs.evaluate import evaluate
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.init import initial_prompts
from softprompt.prompts.table import SoftPromptTable
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from softprompt.sampling.decoders import make_decoder
from softprompt.sampling.decoders.llama import LlamaDecoder
from softprompt.sampling.decoders.llama_cuda_graph import CELLS, WORTH_CAPTURING, LlamaGraphDecoder
from tests.accuracy import assert_as_accurate
from tests.softprompt.exact import Float64, doubled, one_by_one

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

FAMILIES = ["llama", "llama-grouped", "mistral", "qwen2"]
FACTOR = 16.0
"""How much further from exact numbers than transformers on a CPU a GPU may be: its exponentials are rougher."""
REQUESTS = [SampleRequest(0, (5, 9, 30), 5, 1), SampleRequest(1, (7, 8), 3, 2), SampleRequest(2, (12,), 20, 3)]


@pytest.fixture(autouse=True)
def exact_products():
    """Products of float32 are not to be rounded to tf32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def on_gpu(lm: FrozenLM, dtype: torch.dtype = torch.float32) -> FrozenLM:
    copy = FrozenLM.from_weights(**lm.export())
    return FrozenLM(copy.model.to("cuda", dtype), lm.tokenizer)


def logits_of(decoder: LlamaDecoder, lm: FrozenLM, steps: torch.Tensor, leave: bool) -> list[torch.Tensor]:
    """Logits after each step of twelve rows behind two prompts, the shorter one left-padded; some rows leave."""
    embedded = lm.embed(torch.tensor([[0, 5, 9], [4, 7, 7]], device=lm.device))
    padding = torch.tensor([1, 0], device=lm.device)
    with torch.inference_mode():
        decoder.prefill(embedded, padding, len(steps) + 1)
        decoder.begin(torch.arange(2, device=lm.device).repeat_interleave(6))
        rows, found = torch.arange(12, device=lm.device), []
        for number, ids in enumerate(steps.to(lm.device)):
            if leave and number in (5, CELLS):
                kept = torch.tensor([0, len(rows) - 1, *range(2, len(rows) - 2)], device=lm.device)
                decoder.keep(kept)
                rows = rows[kept]
            found.append(decoder.step(ids[rows]).cpu())
    return found


def by_transformers(lm: FrozenLM, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all steps one below the other, in float32 and in float64, by transformers on a CPU."""
    theirs = logits_of(make_decoder(lm.model, fast=False), lm, steps, leave=True)
    wide = doubled(lm)
    with Float64():
        exact = logits_of(make_decoder(wide.model, fast=False), wide, steps, leave=True)
    return torch.cat(theirs), torch.cat(exact)


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_compute_what_single_kernels_and_a_cpu_compute(make_lm, family):
    lm = make_lm(family)
    steps = torch.randint(3, 260, (CELLS + 30, 12), generator=torch.Generator().manual_seed(3))
    gpu = on_gpu(lm)
    graphs = make_decoder(gpu.model)
    assert isinstance(graphs, LlamaGraphDecoder)
    theirs, exact = by_transformers(lm, steps)
    found = [LlamaDecoder(gpu.model), graphs, graphs, graphs]  # the first time without most of the graphs
    for decoder in found:
        logits = torch.cat(logits_of(decoder, gpu, steps, leave=True))
        assert_as_accurate(logits, theirs, exact, FACTOR)
    assert graphs._graphs and CELLS + 30 > WORTH_CAPTURING


def test_graphs_of_a_memory_that_grew_are_forgotten(llama):
    sampler = Sampler(on_gpu(llama), GenerationConfig(max_new_tokens=24))
    prompts = initial_prompts(llama.embedding, 3, 4, torch.Generator().manual_seed(1)).cuda()
    few, many = [SampleRequest(0, (5, 9), 4, 1)], [SampleRequest(1, (5, 9), 40, 2)]
    for _ in range(3):
        before = sampler.sample(prompts, few)
    assert sampler._decoder._graphs
    for _ in range(3):
        sampler.sample(prompts, many)
    after = sampler.sample(prompts, few)
    assert torch.equal(after.ids[:, 0], before.ids[:, 0])
    assert torch.allclose(after.logprobs[:, 0], before.logprobs[:, 0], atol=1e-3)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "gpt_neox", "opt"])
def test_a_gpu_draws_what_a_cpu_draws(make_lm, family):
    lm = make_lm(family)
    prompts = initial_prompts(lm.embedding, 3, 4, torch.Generator().manual_seed(1))
    config = GenerationConfig(max_new_tokens=24, temperature=1.3, top_k=40)
    want = Sampler(lm, config).sample(prompts, REQUESTS)
    sampler = Sampler(on_gpu(lm), config)
    for _ in range(3):
        got = sampler.sample(prompts.cuda(), REQUESTS)
        same = (got.ids[:, 0].cpu() == want.ids[:, 0]).float().mean()
        assert same >= 0.9, "first tokens differ by more than rounding can make them"
        width = min(got.ids.shape[1], want.ids.shape[1])
        equal = (got.ids[:, :width].cpu() == want.ids[:, :width]).cummin(dim=1).values & want.mask[:, :width]
        assert torch.allclose(got.logprobs[:, :width].cpu()[equal], want.logprobs[:, :width][equal], atol=1e-2)
        assert equal.float().sum() > 0.7 * want.mask.float().sum()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_gpu_and_a_cpu_learn_the_same(make_lm, family):
    lm = make_lm(family)
    start = initial_prompts(lm.embedding, 2, 10, torch.Generator().manual_seed(1))
    ids = torch.randint(3, 260, (6, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 7, 9, 2])[:, None]
    owners = torch.tensor([0, 1, 0, 1, 0, 1])
    found = []
    for one in (lm, on_gpu(lm)):
        table = SoftPromptTable(start.to(one.device))
        where = (ids.to(one.device), mask.to(one.device), True, owners.to(one.device))
        logprobs, hidden = evaluate(one, table.prompts(), [(5, 9)] * 6, *where)
        found.append((logprobs, hidden, *torch.autograd.grad(logprobs.sum(), table.weight)))
    for one in (lm, doubled(lm)):
        rows = start.to(one.embedding.dtype).requires_grad_()
        logprobs, hidden = one_by_one(one, rows[owners], [(5, 9)] * 6, ids, mask)
        found.append((logprobs, hidden, *torch.autograd.grad(logprobs.sum(), rows)))
    for cpu, gpu, theirs, exact in zip(*found, strict=True):
        assert_as_accurate(cpu, theirs, exact)
        assert_as_accurate(gpu, theirs, exact, FACTOR)


def test_bfloat16_samples_and_learns_near_float32(llama):
    lm, half = on_gpu(llama), on_gpu(llama, torch.bfloat16)
    prompts = initial_prompts(lm.embedding, 3, 4, torch.Generator().manual_seed(1)).cuda()
    samples = Sampler(half, GenerationConfig(max_new_tokens=8)).sample(prompts, REQUESTS)
    assert torch.isfinite(samples.logprobs).all()
    instructions = samples.instructions
    both = [
        evaluate(one, prompts, instructions, samples.ids, samples.mask, False, samples.terrain)[0] for one in (lm, half)
    ]
    assert (both[0] - both[1]).abs().mean() < 0.2
    assert (samples.own_logprobs - both[1]).abs().mean() < 0.2
