from __future__ import annotations

import pytest
import torch

from softprompt import llama_reader, policy
from softprompt.llama_reader import LlamaReader
from softprompt.model import FrozenLM
from softprompt.policy import evaluate
from tests.softprompt.conftest import tiny_model

FAMILIES = ["llama", "llama-grouped", "mistral", "qwen2"]
LENGTHS = (6, 1, 9, 4, 0, 9, 13)
OWNERS = torch.tensor([2, 0, 0, 2, 1, 2, 0])
INSTRUCTION = tuple(range(4, 11))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, 264, (len(LENGTHS), max(LENGTHS) + 2), generator=torch.Generator().manual_seed(3))
    return ids, torch.arange(ids.shape[1]) < torch.tensor(LENGTHS)[:, None]


def prompts_for(lm: FrozenLM, n: int, n_soft_tokens: int = 4) -> torch.Tensor:
    scale = lm.embedding.norm(dim=-1).mean() / lm.d_model**0.5
    return torch.randn(n, n_soft_tokens, lm.d_model, generator=torch.Generator().manual_seed(4)) * scale


def transformers_alone(monkeypatch) -> None:
    monkeypatch.setattr(LlamaReader, "of", lambda model: None)


def never(*arguments, **keywords):
    raise AssertionError("transformers' forward was called")


def found_by(lm, batch, n_prompts, n_soft_tokens, owners, instruction=INSTRUCTION):
    """Log-probabilities, hidden states, and the gradient of the prompts for some weighing of both."""
    prompts = prompts_for(lm, n_prompts, n_soft_tokens).requires_grad_()
    logprobs, hidden = evaluate(lm, prompts, [instruction] * len(batch[0]), *batch, want_hidden=True, prompt_of=owners)
    weights = torch.rand(batch[0].shape, generator=torch.Generator().manual_seed(5))
    loss = (logprobs * weights).sum() + (hidden.sin() * weights[..., None]).sum()
    return logprobs, hidden, torch.autograd.grad(loss, prompts)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk_cells", [30, 512])
@pytest.mark.parametrize(
    "n_prompts, n_soft_tokens, owners",
    [(3, 4, OWNERS), (len(LENGTHS), 4, None), (3, 0, OWNERS)],
    ids=["shared", "one a row", "empty"],
)
def test_it_reads_as_transformers_does(
    make_lm, batch, family, chunk_cells, n_prompts, n_soft_tokens, owners, monkeypatch
):
    monkeypatch.setattr(policy, "CPU_CHUNK_CELLS", chunk_cells)
    lm = make_lm(family)
    with monkeypatch.context() as patched:
        patched.setattr(policy, "_run", never)
        found = found_by(lm, batch, n_prompts, n_soft_tokens, owners)
    transformers_alone(monkeypatch)
    expected = found_by(lm, batch, n_prompts, n_soft_tokens, owners)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_is_that_of_transformers(make_lm, batch, family, monkeypatch):
    lm, instructions = make_lm(family), [INSTRUCTION * (1 + row % 2) for row in range(len(LENGTHS))]
    with torch.no_grad():
        found, _ = evaluate(lm, None, instructions, *batch)
        transformers_alone(monkeypatch)
        expected, _ = evaluate(lm, None, instructions, *batch)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_the_same_call_gives_the_same_bits_and_writes_to_no_weight(make_lm, batch):
    lm = make_lm("llama-grouped")
    before = lm.hash
    first, second = (found_by(lm, batch, 3, 6, OWNERS) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert lm.hash == before


def test_a_second_backward_pass_gives_the_same_gradient(make_lm, batch):
    lm = make_lm("llama")
    prompts = prompts_for(lm, 3).requires_grad_()
    total = evaluate(lm, prompts, [INSTRUCTION] * len(LENGTHS), *batch, prompt_of=OWNERS)[0].sum()
    first = torch.autograd.grad(total, prompts, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(total, prompts)[0], first)


def test_changed_weights_are_read_anew(tokenizer, batch, monkeypatch):
    lm = FrozenLM(tiny_model("llama", tokenizer), tokenizer)
    with torch.no_grad():
        first, _ = evaluate(lm, None, torch.tensor(INSTRUCTION), *batch)
        lm.model.model.layers[0].mlp.gate_proj.weight.mul_(-1)
        found, _ = evaluate(lm, None, torch.tensor(INSTRUCTION), *batch)
        transformers_alone(monkeypatch)
        expected, _ = evaluate(lm, None, torch.tensor(INSTRUCTION), *batch)
    assert not torch.allclose(found, first, atol=1e-2)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_large_models_are_not_copied(tokenizer, monkeypatch):
    model = tiny_model("llama", tokenizer)
    monkeypatch.setattr(llama_reader, "SMALL_MODEL_BYTES", sum(p.nbytes for p in model.parameters()) - 1)
    with torch.no_grad():
        assert LlamaReader.of(model) is None


def test_it_leaves_alone_what_it_cannot_read(make_lm, tokenizer):
    assert all(LlamaReader.of(make_lm(family).model) is None for family in ("gpt2", "gpt_neox", "opt"))
    assert LlamaReader.of(tiny_model("llama", tokenizer).bfloat16()) is None
    trained = tiny_model("llama", tokenizer)
    assert LlamaReader.of(trained) is None
    with torch.no_grad():
        assert LlamaReader.of(trained) is not None
