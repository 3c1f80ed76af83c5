from __future__ import annotations

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from softprompt.logprobs.beginnings import LINEAR_HEADS
from softprompt.logprobs.evaluate import evaluate
from softprompt.logprobs.token_logprobs import token_logprobs
from softprompt.models.frozen import FrozenLM
from softprompt.prompts.table import SoftPromptTable
from softprompt.rl.value_head import ValueHead
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest
from tests.accuracy import assert_as_accurate, assert_both_accurate
from tests.softprompt.exact import doubled, one_by_one

pytestmark = pytest.mark.arithmetic

INSTRUCTION = torch.tensor([5, 9, 11])
LENGTHS = (6, 1, 9, 4, 0, 9)
FAMILIES = ["llama", "llama-grouped", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox", "opt", "gemma2"]


@pytest.fixture
def lm_of(make_lm, tokenizer):
    """Also families that the sampler has no fast decoder for; gemma2 caps its logits and scales its embedding."""
    size = dict(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.25,
        pad_token_id=tokenizer.pad_token_id,
    )

    def make(family: str) -> FrozenLM:
        torch.manual_seed(0)
        match family:
            case "qwen3":
                return FrozenLM(Qwen3ForCausalLM(Qwen3Config(**size, num_key_value_heads=2, head_dim=8)), tokenizer)
            case "gemma2":
                config = Gemma2Config(**size, final_logit_softcapping=2.0, num_key_value_heads=2, head_dim=8)
                return FrozenLM(Gemma2ForCausalLM(config), tokenizer)
        return make_lm(family)

    return make


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, 264, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(3))
    return ids, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def prompts_for(lm: FrozenLM, n_rows: int, n_soft_tokens: int = 4) -> torch.Tensor:
    scale = lm.embedding.norm(dim=-1).mean() / lm.d_model**0.5
    return torch.randn(n_rows, n_soft_tokens, lm.d_model, generator=torch.Generator().manual_seed(4)) * scale


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk_cells", [1, 40, 4096])
def test_batch_equals_rows_one_by_one(lm_of, batch, family, chunk_cells, monkeypatch):
    monkeypatch.setattr("softprompt.logprobs.evaluate.CPU_CHUNK_CELLS", chunk_cells)
    lm, (ids, mask) = lm_of(family), batch
    prompts = prompts_for(lm, len(ids))
    found = evaluate(lm, prompts, INSTRUCTION, ids, mask, want_hidden=True)
    theirs, exact = (one_by_one(of, prompts, [INSTRUCTION] * len(ids), ids, mask) for of in (lm, doubled(lm)))
    for triple in zip(found, theirs, exact, strict=True):
        assert_as_accurate(*triple)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gpt_neox", "opt", "gemma2"])
def test_gradient_of_a_batch_equals_that_of_rows_one_by_one(lm_of, batch, family):
    lm, (ids, mask) = lm_of(family), batch
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(5))
    found = []
    for read, of in ((evaluate, lm), (one_by_one, lm), (one_by_one, doubled(lm))):
        prompts = prompts_for(lm, len(ids)).to(of.embedding.dtype).requires_grad_()
        logprobs, _ = read(of, prompts, [INSTRUCTION.tolist()] * len(ids), ids, mask)
        found += torch.autograd.grad((logprobs * weights).sum(), prompts)
    assert found[0].abs().max() > 1e-2
    assert_as_accurate(*found)


def test_every_linear_head_is_tried():
    assert set(LINEAR_HEADS) <= set(FAMILIES)


def test_each_row_may_have_its_own_instruction(llama, batch):
    ids, mask = batch
    prompts = prompts_for(llama, len(ids))
    instructions = [tuple(range(4, 4 + n)) for n in (3, 0, 1, 5, 2, 4)]
    logprobs, _ = evaluate(llama, prompts, instructions, ids, mask)
    theirs, exact = (one_by_one(of, prompts, instructions, ids, mask)[0] for of in (llama, doubled(llama)))
    assert_as_accurate(logprobs, theirs, exact)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_padding_does_not_matter(make_lm, batch, family):
    lm, (ids, mask) = make_lm(family), batch
    prompts = prompts_for(lm, len(ids))
    logprobs, _ = evaluate(lm, prompts, INSTRUCTION, ids, mask)
    wider = torch.cat([torch.where(mask, ids, 7), torch.full((len(ids), 5), 8)], dim=1)
    wider_mask = torch.cat([mask, torch.zeros(len(ids), 5, dtype=torch.bool)], dim=1)
    again, _ = evaluate(lm, prompts, INSTRUCTION, wider, wider_mask)
    assert torch.equal(again[:, : ids.shape[1]], logprobs)
    assert not again[:, ids.shape[1] :].any()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_kl_to_the_reference_is_zero_when_the_prompt_is_empty(make_lm, batch, family):
    lm, (ids, mask) = make_lm(family), batch
    empty = SoftPromptTable(torch.zeros(2, 1, lm.d_model)).weight[:, :0]
    with torch.no_grad():
        reference, _ = evaluate(lm, None, INSTRUCTION, ids, mask)
    logprobs, _ = evaluate(lm, empty[torch.zeros(len(ids), dtype=torch.int64)], INSTRUCTION, ids, mask)
    assert torch.equal(logprobs, reference)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_gradient_reaches_the_prompt_and_nothing_else(lm_of, batch, family):
    lm, (ids, mask) = lm_of(family), batch
    before = lm.hash
    table = SoftPromptTable(prompts_for(lm, 2))
    head = ValueHead(lm.d_model)
    torch.nn.init.ones_(head.last.weight)
    optimizer = torch.optim.Adam([*table.parameters(), *head.parameters()], lr=0.1)
    initial = table.weight.detach().clone()
    logprobs, hidden = evaluate(lm, table(torch.zeros(len(ids), dtype=torch.int64)), INSTRUCTION, ids, mask, True)
    (logprobs.sum() + head(hidden).sum()).backward()
    assert all(parameter.grad is None for parameter in lm.model.parameters())
    optimizer.step()
    assert (table.weight[0] != initial[0]).all()
    assert torch.equal(table.weight[1], initial[1])
    assert lm.hash == before


def test_evaluated_equals_sampled(llama, prompts):
    config = GenerationConfig(max_new_tokens=12)
    requests = [SampleRequest(terrain, tuple(INSTRUCTION.tolist()), 3, seed=terrain) for terrain in (2, 0)]
    samples = Sampler(llama, config).sample(prompts, requests)
    drawn = prompts[samples.terrain], samples.instructions, samples.ids, samples.mask
    logprobs, _ = evaluate(llama, *drawn)
    assert_both_accurate(logprobs, samples.logprobs, one_by_one(doubled(llama), *drawn)[0])


def test_nothing_real_is_all_zeros(llama):
    ids, mask = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool)
    logprobs, hidden = evaluate(llama, prompts_for(llama, 2), INSTRUCTION, ids, mask, want_hidden=True)
    assert logprobs.shape == (2, 3) and hidden.shape == (2, 3, llama.d_model)
    assert not logprobs.any() and not hidden.any()


def test_wrong_requests_are_told(llama, batch):
    ids, mask = batch
    nothing = INSTRUCTION[:0]
    with pytest.raises(ValueError, match="nothing to begin with"):
        evaluate(llama, None, nothing, ids, mask)
    with pytest.raises(ValueError, match="right-padded"):
        evaluate(llama, None, INSTRUCTION, ids, mask.flip(1))
    with pytest.raises(ValueError, match="need 212 positions; the model has 128"):
        evaluate(llama, prompts_for(llama, len(ids), 200), INSTRUCTION, ids, mask)
    with pytest.raises(ValueError, match="1 instructions for 6 responses"):
        evaluate(llama, None, [(1, 2)], ids, mask)


@pytest.mark.parametrize("with_bias", [True, False])
def test_token_logprobs_in_chunks_equal_log_softmax(with_bias, monkeypatch):
    monkeypatch.setattr("softprompt.logprobs.token_logprobs.CHUNK_CELLS", 3 * 50)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(8, 6, generator=generator), torch.randn(50, 6, generator=generator)
    bias = torch.randn(50, generator=generator) if with_bias else None
    targets, upstream = torch.randint(50, (8,), generator=generator), torch.randn(8, generator=generator)

    def by_torch(hidden, weight, bias, targets):
        logits = torch.nn.functional.linear(hidden, weight, bias)
        return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]

    found = []
    for dtype, function in ((torch.float32, token_logprobs), (torch.float32, by_torch), (torch.float64, by_torch)):
        inputs = hidden.to(dtype, copy=True).requires_grad_()
        logprobs = function(inputs, weight.to(dtype), None if bias is None else bias.to(dtype), targets)
        found.append((logprobs, *torch.autograd.grad(logprobs, inputs, upstream.to(dtype))))
    for triple in zip(*found, strict=True):
        assert_as_accurate(*triple)


def test_untrained_critic_predicts_nothing_and_learns():
    head = ValueHead(4)
    hidden = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(hidden), torch.zeros(3, 2))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    target = hidden.sum(-1)
    first = (head(hidden) - target).square().mean().item()
    for _ in range(50):
        optimizer.zero_grad()
        loss = (head(hidden) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first
