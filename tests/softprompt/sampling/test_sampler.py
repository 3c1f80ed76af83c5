"""The sampler: what it draws, what it reports, and that neighbours do not matter."""

from __future__ import annotations

import pytest
import torch

from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig, Sampler, SampleRequest, Samples
from softprompt.sampling.stop_strings import StopWatch, TokenTexts
from tests.softprompt.conftest import GENERAL
from tests.softprompt.drawing import assert_drawn

pytestmark = pytest.mark.arithmetic

FAST = [True, False]


def config(**changes) -> GenerationConfig:
    return GenerationConfig(**({"max_new_tokens": 24} | changes))


def ends_at(lm: FrozenLM, *tokens: int) -> FrozenLM:
    """The same model with other end tokens."""
    copy = FrozenLM(lm.model, lm.tokenizer)
    copy.eos_ids = tokens
    return copy


def rows_of(samples: Samples, row: slice) -> list[tuple[list[int], list[float]]]:
    return [
        (i[m].tolist(), p[m].tolist())
        for i, m, p in zip(samples.ids[row], samples.mask[row], samples.logprobs[row], strict=True)
    ]


EQUAL = [SampleRequest(t, (1, 40 + t, 7), 6, 10 + t) for t in range(3)]
UNEQUAL = [
    SampleRequest(0, (1, 40, 7), 6, 10),
    SampleRequest(1, (5,), 7, 11),
    SampleRequest(2, (9, 8, 7, 6, 30, 31), 5, 12),
]


@pytest.mark.parametrize("requests", [EQUAL, UNEQUAL], ids=["equal lengths", "unequal lengths"])
@pytest.mark.parametrize(
    ("family", "fast"),
    [(f, True) for f in ("llama", "llama-grouped", "qwen2")] + [(f, False) for f in ("llama", *GENERAL)],
)
def test_cached_equals_uncached(make_lm, prompts, family, fast, requests):
    lm = make_lm(family)
    prompts = prompts[..., : lm.d_model]
    samples = Sampler(lm, config(), fast).sample(prompts, requests)
    assert_drawn(lm, prompts, requests, samples, config())


@pytest.mark.parametrize(
    ("family", "fast"), [(f, True) for f in ("llama", "qwen2")] + [(f, False) for f in ("llama", *GENERAL)]
)
def test_a_mixed_batch_equals_its_terrains_one_by_one(make_lm, prompts, family, fast):
    lm = make_lm(family)
    prompts = prompts[..., : lm.d_model]
    sampler = Sampler(lm, config(), fast)
    assert_drawn(lm, prompts, UNEQUAL, sampler.sample(prompts, UNEQUAL), config())
    for request in UNEQUAL:
        assert_drawn(lm, prompts, [request], sampler.sample(prompts, [request]), config())


def test_the_order_of_requests_only_orders_the_rows(llama, prompts):
    sampler = Sampler(llama, config())
    for requests in (UNEQUAL, UNEQUAL[::-1]):
        assert_drawn(llama, prompts, requests, sampler.sample(prompts, requests), config())


def test_seeds_are_reproducible_and_matter(llama, prompts):
    sampler = Sampler(llama, config())
    torch.manual_seed(1)
    first = sampler.sample(prompts, EQUAL)
    torch.manual_seed(2)
    again = sampler.sample(prompts, EQUAL)
    assert torch.equal(first.ids, again.ids) and torch.equal(first.logprobs, again.logprobs)
    other = sampler.sample(prompts, [SampleRequest(0, (1, 40, 7), 6, 99)])
    assert rows_of(other, slice(None)) != rows_of(first, slice(0, 6))
    assert len({tuple(ids) for ids, _ in rows_of(first, slice(0, 6))}) == 6


def test_prompts_change_what_is_sampled(llama, prompts):
    sampler = Sampler(llama, config())
    one, two = (sampler.sample(prompts, [SampleRequest(t, (1, 40), 6, 5)]) for t in (0, 1))
    assert rows_of(one, slice(None)) != rows_of(two, slice(None))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_without_a_prompt_it_is_the_bare_language_model(make_lm, family):
    lm = make_lm(family)
    greedy, request = config(do_sample=False, max_new_tokens=8), SampleRequest(0, (1, 40, 7), 1, 0)
    assert_drawn(lm, None, [request], Sampler(lm, greedy).sample(None, [request]), greedy)
    empty = Sampler(lm, config()).sample(torch.zeros(1, 0, lm.d_model), [EQUAL[0]])
    none = Sampler(lm, config()).sample(None, [EQUAL[0]])
    assert torch.equal(empty.ids, none.ids)


class CountingDecoder:
    """Records how many rows each step decodes."""

    def __init__(self, decoder) -> None:
        self.decoder, self.rows = decoder, []

    def __getattr__(self, name):
        return getattr(self.decoder, name)

    def step(self, ids):
        self.rows.append(len(ids))
        return self.decoder.step(ids)


@pytest.mark.parametrize("fast", FAST)
def test_finished_rows_leave_the_batch_and_keep_their_end_token(llama, prompts, fast):
    sampler = Sampler(llama, config(max_new_tokens=60), fast)
    sampler._decoder = counting = CountingDecoder(sampler._decoder)
    samples = sampler.sample(prompts, [SampleRequest(t, (1, 40, 7), 20, t) for t in range(3)])
    lengths = samples.mask.sum(1)
    finished = (samples.ids == llama.eos_id).any(1)
    assert 3 < finished.sum() < 60
    assert (lengths[~finished] == 60).all()
    assert samples.ids[finished, lengths[finished] - 1].tolist() == [llama.eos_id] * int(finished.sum())
    assert counting.rows == [int((lengths - finished.long() > step).sum()) for step in range(59)]
    assert (samples.mask[:, 1:] <= samples.mask[:, :-1]).all()
    assert (samples.ids[~samples.mask] == llama.pad_id).all() and (samples.logprobs[~samples.mask] == 0).all()


def test_decoding_stops_when_all_rows_are_finished(llama, prompts):
    request = [SampleRequest(0, (1,), 1, 3)]
    first = Sampler(llama, config(max_new_tokens=4)).sample(prompts, request).ids[0, 0]
    samples = Sampler(ends_at(llama, int(first)), config(max_new_tokens=4)).sample(prompts, request)
    assert samples.ids.tolist() == [[int(first)]] and samples.mask.all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.7, "top_k": 5, "top_p": 0.9},
        {"min_new_tokens": 24},
        {"do_sample": False, "temperature": 2.0},
    ],
    ids=["neutral", "shaped", "of one length", "greedy"],
)
def test_the_models_own_logprobs_stand_beside_whatever_tokens_were_drawn_from(llama, prompts, settings):
    samples = Sampler(llama, config(**settings)).sample(prompts, EQUAL)
    assert_drawn(llama, prompts, EQUAL, samples, config(**settings))
    assert torch.equal(samples.own_logprobs, samples.logprobs) == (not settings or "do_sample" in settings)


OPTIONS = {
    "plain": {},
    "shaped": {"temperature": 1.7, "top_k": 40, "top_p": 0.8},
    "long": {"min_new_tokens": 20},
    "long and shaped": {"min_new_tokens": 9, "temperature": 0.7, "top_k": 3},
    "of one length": {"min_new_tokens": 24},
    "stopping": {"stop_strings": ("a", "7", "Q", "x", "in")},
    "everything": {
        "min_new_tokens": 5,
        "temperature": 1.3,
        "top_k": 100,
        "top_p": 0.95,
        "stop_strings": ("r", "0", "b", "K", "im"),
    },
    "greedy": {"do_sample": False, "min_new_tokens": 24, "temperature": 3.0},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_option_does_what_transformers_processors_do(make_lm, prompts, family, options):
    # Several end tokens, and a model that draws nearly evenly: programs end often.
    lm, settings = ends_at(make_lm(family), 2, *range(3, 9)), config(**options)
    requests = [SampleRequest(1, (9, 40, 7), 12, 31), SampleRequest(0, (8,), 12, 32)]
    samples = Sampler(lm, settings).sample(prompts, requests)
    assert_drawn(lm, prompts, requests, samples, settings)
    lengths = samples.mask.sum(1)
    if settings.stop_strings:
        texts = [lm.tokenizer.decode(ids) for ids, _ in rows_of(samples, slice(None))]
        assert sum(any(s in text for s in settings.stop_strings) for text in texts) > 3
    else:
        assert lengths.min() >= settings.min_new_tokens
        assert (lengths < 24).any() == (settings.min_new_tokens < 24)


def test_a_stop_string_may_span_tokens_and_begin_in_the_instruction(llama):
    texts = TokenTexts(llama.tokenizer)
    tokens = llama.tokenizer("def f():\n    return 12\n").input_ids
    pieces = [texts[token] for token in tokens]
    assert "".join(pieces) == "def f():\n    return 12\n"
    watch = StopWatch(texts, ["():\n    ret", "no"], [tokens[:1], tokens[:-2]])
    stopped = [watch.has_stopped([0], [token])[0] for token in tokens[1:]]
    assert stopped.index(True) + 1 == next(k for k in range(len(tokens)) if "():\n    ret" in "".join(pieces[: k + 1]))
    assert sum(stopped) == 1
    digit = llama.tokenizer("2").input_ids[-1]
    assert StopWatch(texts, ["22"], [[digit]]).has_stopped([0], [digit]) == [True]
    assert StopWatch(texts, ["2"], [[digit]]).has_stopped([0], tokens[:1]) == ["2" in pieces[0]]


def test_any_of_several_end_tokens_ends_a_program(llama, prompts):
    lm = ends_at(llama, 2, *range(50, 70))
    samples = Sampler(lm, config(max_new_tokens=60)).sample(prompts, EQUAL)
    last = [ids[-1] for ids, _ in rows_of(samples, slice(None)) if len(ids) < 60]
    assert len(set(last)) > 1 and set(last) <= set(lm.eos_ids)
    assert not any(token in lm.eos_ids for ids, _ in rows_of(samples, slice(None)) for token in ids[:-1])


def test_more_rows_than_are_decoded_at_once_are_drawn_as_few(llama, prompts):
    sampler = Sampler(llama, config())
    sampler._decoder.rows_at_once = 5
    assert_drawn(llama, prompts, UNEQUAL, sampler.sample(prompts, UNEQUAL), config())


def test_frozen_weights_are_untouched_and_samples_may_enter_a_loss(llama, prompts):
    before = llama.hash
    trained = prompts.clone().requires_grad_()
    samples = Sampler(llama, config()).sample(trained, EQUAL)
    assert llama.hash == before
    weight = torch.zeros(264, requires_grad=True)
    (weight[samples.ids] * samples.logprobs)[samples.mask].sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("requests", "soft_tokens", "message"),
    [
        ([], 4, "at least one request"),
        ([SampleRequest(0, (1,), 0, 0)], 4, "at least one program"),
        ([SampleRequest(0, (), 1, 0)], None, "nothing to begin with"),
        (
            [SampleRequest(0, (1,) * 120, 1, 0)],
            4,
            "4 soft tokens, an instruction of 120 and 24 new tokens need 148 positions",
        ),
    ],
)
def test_impossible_requests_are_refused_in_words(llama, requests, soft_tokens, message):
    prompts = None if soft_tokens is None else torch.zeros(1, soft_tokens, llama.d_model)
    with pytest.raises(ValueError, match=message):
        Sampler(llama, config()).sample(prompts, requests)
