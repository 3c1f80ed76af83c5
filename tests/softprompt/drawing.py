"""Whether programs were drawn as they ought to be: by transformers alone, in float64, but for roundings.

A token is drawn where a uniform number falls in the cumulative distribution. Two computations in float32 put the edges
between tokens in places that differ by their roundings, so that a number near an edge draws another token here than
there, and all that follows is another program. So programs are not compared with one another: each token of each is
looked for in the distribution behind the tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    StoppingCriteriaList,
    StopStringCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from softprompt.models.frozen import FrozenLM
from softprompt.sampling import GenerationConfig, SampleRequest, Samples
from tests.accuracy import EPSILON, assert_as_accurate, distance
from tests.softprompt.exact import doubled, logits_behind


def assert_drawn(
    lm: FrozenLM,
    prompts: Tensor | None,
    requests: Sequence[SampleRequest],
    samples: Samples,
    settings: GenerationConfig,
    reported: bool = True,
) -> None:
    """Asserts that these are the programs which these requests draw, with their log-probabilities, and end where due.

    A token may be another one than exact numbers draw only if its uniform number lies as near to the edge between both
    as transformers in float32 may err (:func:`tests.accuracy.assert_as_accurate`). Where the likeliest tokens are cut
    so near to an edge that one of them is in or out by rounding, nothing is said of the token; that must be rare.

    Args:
        lm: the language model.
        prompts: what was sampled behind.
        requests: what was asked.
        samples: what came of it.
        settings: how tokens are drawn.
        reported: whether the samples say how likely their tokens were.
    """
    seeds = [request for request in requests for _ in range(request.count)]
    assert samples.terrain.tolist() == [request.terrain for request in seeds]
    assert samples.instructions == [request.instruction for request in seeds]
    lengths = samples.mask.sum(1).tolist()
    theirs, exact = ([_logits(of, prompts, samples, row) for row in range(len(seeds))] for of in (lm, doubled(lm)))
    for row, length in enumerate(lengths):
        _assert_ends(lm, samples, row, length, settings)

    shaped, whole = _shaped(lm, samples, theirs, settings), _shaped(lm, samples, exact, settings)
    ids = samples.ids[samples.mask][:, None]
    slack = _slack(torch.cat(theirs), torch.cat(exact)) / settings.temperature
    clear = ~_is_cut_at_an_edge(whole.before_cuts, settings, slack)
    assert clear.float().mean() > 0.98 - 2 / len(clear), "most tokens stand at an edge"
    _assert_chosen(shaped.logits[clear], whole.logits[clear], ids[clear], _uniforms(requests, settings, lengths)[clear],
                   settings.do_sample)  # fmt: skip
    if not reported:
        return
    drawn, own = samples.logprobs[samples.mask], samples.own_logprobs[samples.mask]
    assert_as_accurate(drawn[clear], *(_at(of.logits[clear], ids[clear]) for of in (shaped, whole)))
    assert_as_accurate(own, *(_at(torch.cat(of), ids) for of in (theirs, exact)))
    assert not samples.logprobs[~samples.mask].any() and not samples.own_logprobs[~samples.mask].any()


def assert_at(cumulative: Tensor, exact: Tensor, ids: Tensor, uniforms: Tensor) -> None:
    """Asserts that tokens are those at uniform numbers in the exact cumulative distribution, but for roundings.

    Args:
        cumulative: somebody's in float32, shape (n, vocab_size).
        exact: the same in float64.
        ids: shape (n, 1).
        uniforms: shape (n,).
    """
    slack = _slack(cumulative, exact)
    above = exact.gather(1, ids)[:, 0]
    below = torch.where(ids[:, 0] > 0, exact.gather(1, (ids - 1).clamp(min=0))[:, 0], 0)
    wrong = ((uniforms < below - slack) | (uniforms > above + slack) | (above <= below)).nonzero()[:, 0].tolist()
    assert not wrong, [
        f"{uniforms[k]:.9f} draws token {int(ids[k])}, which is that of {below[k]:.9f} to {above[k]:.9f}; "
        f"{slack:.3g} of rounding are allowed"
        for k in wrong
    ]


class _Shaped:
    """Logits of all tokens one after the other, (cells, vocab_size), before the likeliest were cut and after."""

    def __init__(self, before_cuts: Tensor, logits: Tensor) -> None:
        self.before_cuts, self.logits = before_cuts, logits


def _logits(lm: FrozenLM, prompts: Tensor | None, samples: Samples, row: int) -> Tensor:
    """Logits that a row's tokens were drawn from, (length, vocab_size)."""
    ids = samples.ids[row][samples.mask[row]]
    prompt = None if prompts is None else prompts[samples.terrain[row]].detach()
    with torch.no_grad():
        tokens = torch.cat([torch.tensor(samples.instructions[row], dtype=torch.int64), ids])
        return logits_behind(lm, prompt, tokens)[0][-len(ids) - 1 : -1]


def _shaped(lm: FrozenLM, samples: Samples, logits: list[Tensor], settings: GenerationConfig) -> _Shaped:
    """What transformers' processors make of each token's logits."""
    both: tuple[list[Tensor], list[Tensor]] = ([], [])
    cuts = LogitsProcessorList()
    if settings.do_sample:
        cuts.append(TopKLogitsWarper(settings.top_k or lm.vocab_size))
        cuts.append(TopPLogitsWarper(settings.top_p))
    for row, of_row in enumerate(logits):
        start = len(samples.instructions[row])
        first = LogitsProcessorList([
            MinNewTokensLengthLogitsProcessor(start, settings.min_new_tokens, torch.tensor(lm.eos_ids))
        ])  # fmt: skip
        if settings.do_sample:
            first.append(TemperatureLogitsWarper(settings.temperature))
        for step in range(len(of_row)):
            so_far = torch.zeros(1, start + step, dtype=torch.int64)  # its length alone matters
            scores = first(so_far, of_row[step][None])
            both[0].append(scores)
            both[1].append(cuts(so_far, scores))
    return _Shaped(torch.cat(both[0]), torch.cat(both[1]))


def _is_cut_at_an_edge(logits: Tensor, settings: GenerationConfig, slack: float) -> Tensor:
    """Whether one of the likeliest tokens is in or out by so little, shape (cells,)."""
    edge = torch.zeros(len(logits), dtype=torch.bool)
    if not settings.do_sample:
        return edge
    ordered = logits.sort(dim=-1, descending=True).values
    k = settings.top_k
    if 0 < k < logits.shape[1]:
        edge |= ordered[:, k - 1] - ordered[:, k] < slack
        ordered[:, k:] = -torch.inf
    if settings.top_p < 1:
        probabilities = ordered.softmax(-1)
        likelier = probabilities.cumsum(-1) - probabilities
        edge |= ((likelier - settings.top_p).abs() < slack).any(1)
    return edge


def _assert_chosen(theirs: Tensor, exact: Tensor, ids: Tensor, uniforms: Tensor, do_sample: bool) -> None:
    if do_sample:
        assert_at(*(logits.softmax(-1).cumsum(-1) for logits in (theirs, exact)), ids, uniforms)
    else:
        lost = exact.max(dim=-1).values - exact.gather(1, ids)[:, 0]
        assert lost.max() <= 2 * _slack(theirs, exact), "a token that is not the likeliest"


def _assert_ends(lm: FrozenLM, samples: Samples, row: int, length: int, settings: GenerationConfig) -> None:
    """A program ends with its first end token or the first of the stop strings, or when it is as long as it may be."""
    ids, start = samples.ids[row, :length].tolist(), list(samples.instructions[row])
    assert samples.mask[row, :length].all() and (samples.ids[row, length:] == lm.pad_id).all()
    stopping = StoppingCriteriaList()
    if settings.stop_strings:
        stopping.append(StopStringCriteria(lm.tokenizer, list(settings.stop_strings)))

    def ended(n: int) -> bool:
        if ids[n - 1] in lm.eos_ids:
            return True
        return bool(settings.stop_strings) and bool(stopping(torch.tensor([start + ids[:n]]), None).all())

    assert not any(ended(n) for n in range(1, length))
    assert ended(length) or length == settings.max_new_tokens


def _uniforms(requests: Sequence[SampleRequest], settings: GenerationConfig, lengths: list[int]) -> Tensor:
    """The uniform number of each token, row after row."""
    chance = [
        torch.rand(r.count, settings.max_new_tokens, generator=torch.Generator().manual_seed(r.seed)) for r in requests
    ]
    return torch.cat([row[:length] for row, length in zip(torch.cat(chance), lengths, strict=True)]).double()


def _at(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(1, ids)[:, 0]


def _slack(theirs: Tensor, exact: Tensor) -> float:
    finite = exact.isfinite() & theirs.isfinite()
    scale = float(exact[finite].abs().max())
    return max(4 * distance(theirs[finite], exact[finite]), 8 * EPSILON * scale)
