"""Decoders: the fast one and transformers' own compute what the full forward computes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numba import njit

from softprompt.kernels import decode as llama_kernels
from softprompt.kernels import elementwise as elementwise_kernels
from softprompt.kernels import tiles
from softprompt.models.frozen import FrozenLM
from softprompt.sampling.decoders import Decoder, TransformersDecoder, make_decoder
from softprompt.sampling.decoders import llama_cpu as llama_cpu_decoder
from softprompt.sampling.decoders import llama_cpu_small as llama_small_decoder
from softprompt.sampling.decoders.llama import LlamaDecoder
from softprompt.sampling.decoders.llama_cpu import LlamaCpuDecoder
from softprompt.sampling.decoders.llama_cpu_small import LlamaSmallDecoder
from softprompt.sampling.decoders.llama_cuda_graph import LlamaGraphDecoder
from tests.accuracy import assert_as_accurate
from tests.softprompt.conftest import GENERAL
from tests.softprompt.exact import doubled, logits_behind

pytestmark = pytest.mark.arithmetic

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


def full(lm: FrozenLM, prompts: list[list[int]], counts: list[int], steps: list[list[int]]) -> list[torch.Tensor]:
    """The same by transformers, each row alone and read at once."""
    rows = []
    for row, prompt in enumerate(prompt for prompt, n in zip(prompts, counts, strict=True) for _ in range(n)):
        ids = torch.tensor([*prompt, *(step[row] for step in steps)])
        with torch.no_grad():
            rows.append(logits_behind(lm, None, ids)[0][len(prompt) - 1 :])
    return list(torch.stack(rows, dim=1))


def assert_decoded(got: list[torch.Tensor], theirs: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
    assert len(got) == len(theirs) == len(exact)
    assert_as_accurate(torch.stack(got), torch.stack(theirs), torch.stack(exact))


@pytest.mark.parametrize("family", FAST)
def test_llama_like_models_take_the_fast_path(make_lm, family, monkeypatch):
    lm = make_lm(family)
    assert isinstance(make_decoder(lm.model), LlamaSmallDecoder)
    monkeypatch.setattr(llama_small_decoder, "SMALL_MODEL_BYTES", 0)
    assert type(make_decoder(lm.model)) is LlamaCpuDecoder
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
    assert_decoded(got, *(full(of, prompts, COUNTS, steps) for of in (lm, doubled(lm))))


@pytest.mark.parametrize("family", FAST)
def test_all_decoders_compute_the_same(make_lm, family):
    lm = make_lm(family)
    generator = torch.Generator().manual_seed(3)
    # Several blocks of cells, before and behind the end of the prompt.
    prompts = [torch.randint(3, 260, (length,), generator=generator).tolist() for length in (19, 33, 16)]
    steps = torch.randint(3, 260, (34, sum(COUNTS)), generator=generator).tolist()
    kinds = LlamaDecoder, LlamaGraphDecoder, LlamaCpuDecoder, LlamaSmallDecoder
    theirs, exact = (full(of, prompts, COUNTS, steps) for of in (lm, doubled(lm)))
    for kind in kinds:
        assert_decoded(decode(lm, kind(lm.model), prompts, COUNTS, steps), theirs, exact)


def test_the_kernels_exp_is_that_of_float32():
    @njit
    def exps(x, out):
        for i in range(len(x)):
            out[i] = elementwise_kernels.exp(x[i])

    x = np.concatenate([np.linspace(-87, 88, 100_001), [-200, -np.inf, 0]]).astype(np.float32)
    got = np.empty_like(x)
    exps(x, got)
    exact, theirs = np.exp(x[:-3].astype(np.float64)), np.exp(x[:-3])
    assert_as_accurate(got[:-3] / exact, theirs / exact, np.ones(len(exact)), ulps=4)
    assert got[-3:].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("n", "k", "m"), [(1, 1, 1), (6, 32, 16), (13, 47, 33), (100, 5, 40)])
def test_products_with_packed_weights_are_those_of_torch_and_no_row_matters_to_another(n, k, m):
    x, matrix, before = torch.randn(n, k), torch.randn(k, m), torch.randn(n, m)
    panels, rows = tiles.packed(matrix.numpy()), tiles.rounded_up(n, tiles.TILE_ROWS)

    def products(inputs, rest):
        padded = np.full((rows, k), rest, np.float32)
        padded[: len(inputs)] = inputs
        out = np.zeros((rows, tiles.rounded_up(m, tiles.WIDTH)), np.float32)
        out[: len(inputs), :m] = before[-len(inputs) :]
        tiles.add_products(0, len(inputs), padded, panels, out)
        return torch.from_numpy(out[: len(inputs), :m])

    exact = before.double() + x.double() @ matrix.double()
    assert_as_accurate(products(x.numpy(), 0), before + x @ matrix, exact)
    assert torch.equal(products(x[-1:].numpy(), 1e6)[0], products(x.numpy(), 0)[-1])


def test_what_an_earlier_batch_left_in_the_memory_changes_nothing(llama):
    steps = torch.randint(3, 260, (5, sum(COUNTS)), generator=torch.Generator().manual_seed(3)).tolist()
    theirs, exact = (full(of, PROMPTS, COUNTS, steps) for of in (llama, doubled(llama)))
    used = LlamaGraphDecoder(llama.model)
    decode(llama, used, [[9] * 70] * 2, [20, 9], [[4] * 29] * 30)
    decode(llama, used, PROMPTS, COUNTS, steps[::-1])
    assert_decoded(decode(llama, used, PROMPTS, COUNTS, steps), theirs, exact)


def test_several_batches_of_rows_follow_one_reading_of_the_prompts(llama, gpt2):
    steps = torch.randint(3, 260, (4, sum(COUNTS)), generator=torch.Generator().manual_seed(3))
    for lm in (llama, gpt2):
        decoder = make_decoder(lm.model)
        theirs, exact = (full(of, PROMPTS, COUNTS, steps.tolist()) for of in (lm, doubled(lm)))
        assert_decoded(decode(lm, decoder, PROMPTS, COUNTS, steps.tolist()), theirs, exact)
        # The decoder has read the prompts, and begins anew behind them, with rows in another order.
        rows = torch.tensor([5, 0, 3])
        with torch.inference_mode():
            decoder.begin(torch.arange(len(PROMPTS)).repeat_interleave(torch.tensor(COUNTS))[rows])
            for number, ids in enumerate(steps, start=1):
                assert_as_accurate(decoder.step(ids[rows]), theirs[number][rows], exact[number][rows])


def test_the_number_of_threads_changes_no_bit_between_the_matrix_products(llama, monkeypatch):
    n = 3 * llama_cpu_decoder.ROWS_A_THREAD
    x, weight = torch.randn(n, 32).numpy(), llama.model.model.norm.weight.numpy()
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        out = torch.zeros(n, 32)
        llama_cpu_decoder.on_rows(llama_kernels.rms_norm, n, x, weight, np.float32(1e-6), out.numpy())
        results.append(out)
    assert torch.equal(*results) and results[0].abs().sum(1).gt(0).all()


def test_the_number_of_threads_changes_no_bit_of_a_small_models_steps(llama, monkeypatch):
    counts = [3 * llama_cpu_decoder.ROWS_A_THREAD + 1] + [0] * (len(PROMPTS) - 2) + [9]
    steps = torch.randint(3, 260, (4, sum(counts)), generator=torch.Generator().manual_seed(3)).tolist()
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(decode(llama, LlamaSmallDecoder(llama.model), PROMPTS, counts, steps))
    assert all(torch.equal(left, right) for left, right in zip(*results, strict=True))


@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "left-padded"])
@pytest.mark.parametrize(
    ("family", "fast"), [("llama-grouped", True), ("llama-grouped", "graph"), ("llama", False), ("opt", False)]
)
def test_rows_that_stay_do_not_notice_rows_that_leave(make_lm, family, fast, padded):
    lm = make_lm(family)
    prompts = PROMPTS if padded else [p[:2] for p in PROMPTS]
    steps = torch.randint(3, 260, (4, sum(COUNTS)), generator=torch.Generator().manual_seed(4))
    make = LlamaGraphDecoder if fast == "graph" else partial(make_decoder, fast=fast)
    theirs, exact = (full(of, prompts, COUNTS, steps.tolist()) for of in (lm, doubled(lm)))
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
            assert_as_accurate(logits, theirs[number + 1][rows], exact[number + 1][rows])


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
            results.append(decoder.step(torch.tensor([4, 5, 6, 7])).softmax(-1))
    exact = full(doubled(lm), [[5, 9, 30], [7, 8, 9]], [2, 2], [[4, 5, 6, 7]])[-1].softmax(-1)
    assert_as_accurate(*results, exact)
