"""Decoders: the fast one and transformers' own compute what the full forward computes."""

from __future__ import annotations

import pytest
import torch

from softprompt.decoder import TransformersDecoder, make_decoder
from softprompt.llama_decoder import LlamaDecoder
from softprompt.model import FrozenLM

FAST = ["llama", "llama-grouped", "mistral", "qwen2"]
PROMPTS = [[5, 9, 30], [7, 7, 8, 100, 41], [12, 3]]
COUNTS = [2, 1, 3]


def decode(
    lm: FrozenLM, fast: bool, prompts: list[list[int]], counts: list[int], steps: list[list[int]]
) -> list[torch.Tensor]:
    """Logits after the prompts and after each step."""
    decoder = make_decoder(lm.model, fast)
    lengths = torch.tensor([len(p) for p in prompts])
    padding = lengths.max() - lengths
    embedded = torch.zeros(len(prompts), int(lengths.max()), lm.d_model)
    for row, ids in enumerate(prompts):
        embedded[row, int(padding[row]) :] = lm.embed(torch.tensor(ids))
    with torch.inference_mode():
        logits = [decoder.prefill(embedded, padding, torch.tensor(counts), len(steps) + 1)]
        return logits + [decoder.step(torch.tensor(ids)) for ids in steps]


def full(lm: FrozenLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("family", FAST)
def test_llama_like_models_take_the_fast_path(make_lm, family):
    assert isinstance(make_decoder(make_lm(family).model), LlamaDecoder)


def test_other_models_take_the_general_path(make_lm, gpt2, llama):
    assert isinstance(make_decoder(gpt2.model), TransformersDecoder)
    parts = make_lm("mistral").export()
    parts["config"] = parts["config"] | {"sliding_window": 4}
    assert isinstance(make_decoder(FrozenLM.from_weights(**parts).model), TransformersDecoder)
    copy = FrozenLM.from_weights(**llama.export())
    copy.model.model.layers[0].self_attn.q_proj = torch.nn.Sequential(torch.nn.Linear(32, 32))
    assert isinstance(make_decoder(copy.model), TransformersDecoder)


@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "left-padded"])
@pytest.mark.parametrize(("family", "fast"), [(f, True) for f in FAST] + [("llama", False), ("gpt2", False)])
def test_cached_equals_uncached(make_lm, family, fast, padded):
    lm = make_lm(family)
    prompts = PROMPTS if padded else [p[:2] for p in PROMPTS]
    steps = torch.randint(3, 260, (6, sum(COUNTS)), generator=torch.Generator().manual_seed(3)).tolist()
    got = decode(lm, fast, prompts, COUNTS, steps)
    sequences = [list(p) for p, n in zip(prompts, COUNTS, strict=True) for _ in range(n)]
    for number, logits in enumerate(got):
        want = torch.stack([full(lm, ids) for ids in sequences])
        assert torch.allclose(logits, want, atol=1e-4), number
        if number < len(steps):
            for ids, new in zip(sequences, steps[number], strict=True):
                ids.append(new)


@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "left-padded"])
@pytest.mark.parametrize(("family", "fast"), [("llama-grouped", True), ("llama", False)])
def test_rows_that_stay_do_not_notice_rows_that_leave(make_lm, family, fast, padded):
    lm = make_lm(family)
    prompts = PROMPTS if padded else [p[:2] for p in PROMPTS]
    steps = torch.randint(3, 260, (4, sum(COUNTS)), generator=torch.Generator().manual_seed(4))
    want = decode(lm, fast, prompts, COUNTS, steps.tolist())
    decoder = make_decoder(lm.model, fast)
    width = max(map(len, prompts))
    padding = torch.tensor([width - len(p) for p in prompts])
    embedded = torch.stack([lm.embed(torch.tensor([0] * (width - len(p)) + p)) for p in prompts])
    rows = torch.arange(sum(COUNTS))
    with torch.inference_mode():
        decoder.prefill(embedded, padding, torch.tensor(COUNTS), 5)
        for number, kept in enumerate([[0, 1, 2, 3, 4, 5], [0, 5, 2, 3], [0, 3, 2], [2]]):
            rows = rows[kept]
            decoder.keep(torch.tensor(kept))
            logits = decoder.step(steps[number, rows])
            assert torch.allclose(logits, want[number + 1][rows], atol=1e-4), number


def test_bfloat16_stays_near_transformers(llama, tokenizer):
    copy = FrozenLM.from_weights(**llama.export())
    lm = FrozenLM(copy.model.to(torch.bfloat16), tokenizer)
    embedded = lm.embed(torch.tensor([[5, 9, 30], [7, 8, 9]]))
    results = []
    for fast in (True, False):
        decoder = make_decoder(lm.model, fast)
        with torch.inference_mode():
            decoder.prefill(embedded, torch.zeros(2, dtype=torch.int64), torch.tensor([2, 2]), 2)
            results.append(decoder.step(torch.tensor([4, 5, 6, 7])).log_softmax(-1).exp())
    assert (results[0] - results[1]).abs().sum(-1).max() < 0.1
