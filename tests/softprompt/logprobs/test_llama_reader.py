from __future__ import annotations

import pytest
import torch

from softprompt.logprobs import beginnings, llama_reader
from softprompt.logprobs.evaluate import evaluate
from softprompt.logprobs.llama_reader import LlamaReader
from softprompt.models.frozen import FrozenLM
from tests.accuracy import assert_as_accurate
from tests.softprompt.conftest import tiny_model
from tests.softprompt.exact import doubled, one_by_one

pytestmark = pytest.mark.arithmetic

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


def together(lm, prompts, batch, owners):
    return evaluate(lm, prompts, [INSTRUCTION] * len(batch[0]), *batch, want_hidden=True, prompt_of=owners)


def alone(lm, prompts, batch, owners):
    """The same by transformers, row by row."""
    return one_by_one(lm, prompts if owners is None else prompts[owners], [INSTRUCTION] * len(batch[0]), *batch)


def found_by(read, lm, batch, prompts, owners):
    """Log-probabilities, hidden states, and the gradient of the prompts for some weighing of both."""
    prompts = prompts.to(lm.embedding.dtype, copy=True).requires_grad_()
    logprobs, hidden = read(lm, prompts, batch, owners)
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
    monkeypatch.setattr("softprompt.logprobs.evaluate.CPU_CHUNK_CELLS", chunk_cells)
    lm = make_lm(family)
    asked = batch, prompts_for(lm, n_prompts, n_soft_tokens), owners
    with monkeypatch.context() as patched:
        patched.setattr(beginnings, "_run", never)
        found = found_by(together, lm, *asked)
    transformers_alone(monkeypatch)
    packed = found_by(together, lm, *asked)
    theirs, exact = (found_by(alone, of, *asked) for of in (lm, doubled(lm)))
    for ours, general, plain, truth in zip(found, packed, theirs, exact, strict=True):
        assert_as_accurate(ours, plain, truth)
        assert_as_accurate(general, plain, truth)


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_is_that_of_transformers(make_lm, batch, family):
    lm, instructions = make_lm(family), [INSTRUCTION * (1 + row % 2) for row in range(len(LENGTHS))]
    with torch.no_grad():
        found, _ = evaluate(lm, None, instructions, *batch)
        theirs, exact = (one_by_one(of, None, instructions, *batch)[0] for of in (lm, doubled(lm)))
    assert_as_accurate(found, theirs, exact)


def test_the_same_call_gives_the_same_bits_and_writes_to_no_weight(make_lm, batch):
    lm = make_lm("llama-grouped")
    before = lm.hash
    first, second = (found_by(together, lm, batch, prompts_for(lm, 3, 6), OWNERS) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert lm.hash == before


def test_a_second_backward_pass_gives_the_same_gradient(make_lm, batch):
    lm = make_lm("llama")
    prompts = prompts_for(lm, 3).requires_grad_()
    total = evaluate(lm, prompts, [INSTRUCTION] * len(LENGTHS), *batch, prompt_of=OWNERS)[0].sum()
    first = torch.autograd.grad(total, prompts, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(total, prompts)[0], first)


def test_changed_weights_are_read_anew(tokenizer, batch):
    lm = FrozenLM(tiny_model("llama", tokenizer), tokenizer)
    with torch.no_grad():
        first, _ = evaluate(lm, None, torch.tensor(INSTRUCTION), *batch)
        lm.model.model.layers[0].mlp.gate_proj.weight.mul_(-1)
        found, _ = evaluate(lm, None, torch.tensor(INSTRUCTION), *batch)
        theirs, exact = (one_by_one(of, None, [INSTRUCTION] * len(batch[0]), *batch)[0] for of in (lm, doubled(lm)))
    assert not torch.allclose(found, first, atol=1e-2)
    assert_as_accurate(found, theirs, exact)


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
