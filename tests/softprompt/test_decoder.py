"""Decoders: the fast one and transformers' own compute what the full forward computes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from softprompt import llama_cpu_decoder, llama_kernels
from softprompt.decoder import Decoder, TransformersDecoder, make_decoder
from softprompt.llama_cpu_decoder import LlamaCpuDecoder
from softprompt.llama_decoder import LlamaDecoder
from softprompt.llama_graph_decoder import LlamaGraphDecoder
from softprompt.model import FrozenLM
from tests.softprompt.conftest import GENERAL

FAST = ["llama", "llama-grouped", "mistral", "qwen2"]
PROMPTS = [[5, 9, 30], [7, 7, 8, 100, 41], [12, 3]]
COUNTS = [2, 1, 3]


def decode(
    lm: FrozenLM, decoder: Decoder, prompts: list[list[int]], counts: list[int], steps: list[list[int]]
) -> list[torch.Tensor]:
    """Logits after the prompts and after each step."""
    lengths = torch.tensor([len(p) for p in prompts])
    padding = lengths.max() - lengths
    embedded = torch.zeros(len(prompts), int(lengths.max()), lm.d_model)
    for row, ids in enumerate(prompts):
        embedded[row, int(padding[row]) :] = lm.embed(torch.tensor(ids))
    with torch.inference_mode():
        prompt_of = torch.arange(len(prompts)).repeat_interleave(torch.tensor(counts))
        logits = [decoder.prefill(embedded, padding, len(steps) + 1)[prompt_of]]
        decoder.begin(prompt_of)
        return logits + [decoder.step(torch.tensor(ids)) for ids in steps]


def full(lm: FrozenLM, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("family", FAST)
def test_llama_like_models_take_the_fast_path(make_lm, family):
    lm = make_lm(family)
    assert isinstance(make_decoder(lm.model), LlamaCpuDecoder)
    half = FrozenLM.from_weights(**lm.export()).model.to(torch.bfloat16)
    assert type(make_decoder(half)) is LlamaDecoder


def test_other_models_take_the_general_path(make_lm, gpt2, llama):
    assert isinstance(make_decoder(gpt2.model), TransformersDecoder)
    parts = make_lm("mistral").export()
    parts["config"] = parts["config"] | {"sliding_window": 4}
    assert isinstance(make_decoder(FrozenLM.from_weights(**parts).model), TransformersDecoder)
    copy = FrozenLM.from_weights(**llama.export())
    copy.model.model.layers[0].self_attn.q_proj = torch.nn.Sequential(torch.nn.Linear(32, 32))
    assert isinstance(make_decoder(copy.model), TransformersDecoder)


@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "left-padded"])
@pytest.mark.parametrize(("family", "fast"), [(f, True) for f in FAST] + [(f, False) for f in ("llama", *GENERAL)])
def test_cached_equals_uncached(make_lm, family, fast, padded):
    lm = make_lm(family)
    prompts = PROMPTS if padded else [p[:2] for p in PROMPTS]
    steps = torch.randint(3, 260, (6, sum(COUNTS)), generator=torch.Generator().manual_seed(3)).tolist()
    got = decode(lm, make_decoder(lm.model, fast), prompts, COUNTS, steps)
    sequences = [list(p) for p, n in zip(prompts, COUNTS, strict=True) for _ in range(n)]
    for number, logits in enumerate(got):
        want = torch.stack([full(lm, ids) for ids in sequences])
        assert torch.allclose(logits, want, atol=1e-4), number
        if number < len(steps):
            for ids, new in zip(sequences, steps[number], strict=True):
                ids.append(new)


@pytest.mark.parametrize("kind", [LlamaDecoder, LlamaGraphDecoder])
@pytest.mark.parametrize("family", FAST)
def test_the_decoders_for_other_devices_compute_what_the_one_for_a_cpu_does(make_lm, family, kind):
    lm = make_lm(family)
    steps = torch.randint(3, 260, (5, sum(COUNTS)), generator=torch.Generator().manual_seed(3)).tolist()
    results = [decode(lm, decoder, PROMPTS, COUNTS, steps) for decoder in (kind(lm.model), LlamaCpuDecoder(lm.model))]
    for left, right in zip(*results, strict=True):
        assert torch.allclose(left, right, atol=1e-4)


def test_what_an_earlier_batch_left_in_the_memory_changes_nothing(llama):
    steps = torch.randint(3, 260, (5, sum(COUNTS)), generator=torch.Generator().manual_seed(3)).tolist()
    want = decode(llama, LlamaGraphDecoder(llama.model), PROMPTS, COUNTS, steps)
    used = LlamaGraphDecoder(llama.model)
    decode(llama, used, [[9] * 70] * 2, [20, 9], [[4] * 29] * 30)
    decode(llama, used, PROMPTS, COUNTS, steps[::-1])
    for left, right in zip(decode(llama, used, PROMPTS, COUNTS, steps), want, strict=True):
        assert torch.allclose(left, right, atol=1e-5)


def test_several_batches_of_rows_follow_one_reading_of_the_prompts(llama, gpt2):
    steps = torch.randint(3, 260, (4, sum(COUNTS)), generator=torch.Generator().manual_seed(3))
    for decoder, lm in ((make_decoder(llama.model), llama), (make_decoder(gpt2.model), gpt2)):
        want = decode(lm, decoder, PROMPTS, COUNTS, steps.tolist())
        # The decoder has read the prompts, and begins anew behind them, with rows in another order.
        rows = torch.tensor([5, 0, 3])
        with torch.inference_mode():
            decoder.begin(torch.arange(len(PROMPTS)).repeat_interleave(torch.tensor(COUNTS))[rows])
            for number, ids in enumerate(steps):
                assert torch.allclose(decoder.step(ids[rows]), want[number + 1][rows], atol=1e-4)


def test_the_number_of_threads_changes_no_bit_between_the_matrix_products(llama, monkeypatch):
    n = 3 * llama_cpu_decoder.ROWS_A_THREAD
    x, weight = torch.randn(n, 32).numpy(), llama.model.model.norm.weight.numpy()
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        out = torch.zeros(n, 32)
        llama_cpu_decoder._on_threads(llama_kernels.rms_norm, n, x, weight, np.float32(1e-6), out.numpy())
        results.append(out)
    assert torch.equal(*results) and results[0].abs().sum(1).gt(0).all()


@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "left-padded"])
@pytest.mark.parametrize(
    ("family", "fast"), [("llama-grouped", True), ("llama-grouped", "graph"), ("llama", False), ("opt", False)]
)
def test_rows_that_stay_do_not_notice_rows_that_leave(make_lm, family, fast, padded):
    lm = make_lm(family)
    prompts = PROMPTS if padded else [p[:2] for p in PROMPTS]
    steps = torch.randint(3, 260, (4, sum(COUNTS)), generator=torch.Generator().manual_seed(4))
    make = LlamaGraphDecoder if fast == "graph" else partial(make_decoder, fast=fast)
    want = decode(lm, make(lm.model), prompts, COUNTS, steps.tolist())
    decoder = make(lm.model)
    width = max(map(len, prompts))
    padding = torch.tensor([width - len(p) for p in prompts])
    embedded = torch.stack([lm.embed(torch.tensor([0] * (width - len(p)) + p)) for p in prompts])
    rows = torch.arange(sum(COUNTS))
    with torch.inference_mode():
        decoder.prefill(embedded, padding, 5)
        decoder.begin(torch.arange(len(prompts)).repeat_interleave(torch.tensor(COUNTS)))
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
            decoder.prefill(embedded, torch.zeros(2, dtype=torch.int64), 2)
            decoder.begin(torch.tensor([0, 0, 1, 1]))
            results.append(decoder.step(torch.tensor([4, 5, 6, 7])).log_softmax(-1).exp())
    assert (results[0] - results[1]).abs().sum(-1).max() < 0.1
