"""Whether a model can go on from what it has read: some keep no keys and values, and take them without a word."""

from __future__ import annotations

from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from softprompt.models.llama_weights import is_llama_like
from softprompt.models.quantize import is_quantized
from softprompt.sampling.decoders.base import Decoder
from softprompt.sampling.decoders.transformers import TransformersDecoder, UncachedDecoder

LENGTHS = 9, 5
"""Cells of the prompts that are read, the shorter one behind padding as in a batch of the sampler."""

ROUNDING, COARSE = 0.01, 0.2
"""How far logits may be apart, as a share of their deviation: far above what the order of sums does, far below what a
forgotten prompt does, which is about 1. The second is for weights and types of 4 to 11 bits."""

_known: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def can_use_cache(model: PreTrainedModel) -> bool:
    """Returns whether decoding from a cache gives what reading everything again gives; looked at once a model.

    A padded batch of random rows is read, continued in another order and thinned out, as a sampler does, and compared
    with passes over whole sequences. Models that compute what Llama computes need no look: they are not decoded by
    transformers.

    Args:
        model: any causal language model of transformers, in eval mode.

    Raises:
        ValueError: it cannot be read behind rows that are no tokens, or looks ahead; the message is one line.
    """
    if model not in _known:
        _known[model] = is_llama_like(model) or _agrees(model)
    return _known[model]


@torch.no_grad()
def _agrees(model: PreTrainedModel) -> bool:
    try:
        wanted = _decode(model, UncachedDecoder(model))
        share = COARSE if is_quantized(model) or model.dtype.itemsize < 4 else ROUNDING
        if not _close(*_ahead_and_not(model), share):
            raise ValueError(f"a {model.config.model_type} model looks ahead, and is not a causal one as it is set")
    except (RuntimeError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"a {model.config.model_type} model cannot read soft prompts: {first}; take another language model"
        ) from error
    try:
        found = _decode(model, TransformersDecoder(model))
    except Exception:  # whatever a model does with a cache that is not its kind
        return False
    return all(_close(*pair, share) for pair in zip(found, wanted, strict=True))


def _rows(model: PreTrainedModel, n: int) -> Tensor:
    """Rows of random tokens, shape (n, d_model), drawn without touching global chance."""
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    ids = torch.randint(len(embedding.weight), (n,), generator=torch.Generator().manual_seed(0))
    return embedding(ids.to(embedding.weight.device))


def _decode(model: PreTrainedModel, decoder: Decoder) -> list[Tensor]:
    """Logits behind two prompts, then behind rows that go on from them and become fewer."""
    rows = _rows(model, sum(LENGTHS))
    device, tokens = rows.device, torch.arange(6, device=rows.device)
    padding = torch.tensor([max(LENGTHS) - length for length in LENGTHS], device=device)
    prompts = torch.nn.utils.rnn.pad_sequence(list(rows.split(LENGTHS)), True, padding_side="left")
    logits = [decoder.prefill(prompts, padding, 4)]
    decoder.begin(torch.tensor([1, 0, 1], device=device))
    logits.append(decoder.step(tokens[:3]))
    decoder.keep(torch.tensor([2, 1], device=device))
    return [*logits, decoder.step(tokens[3:5]), decoder.step(tokens[4:6])]


def _ahead_and_not(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Logits of the first cells, with and without something behind them."""
    rows = _rows(model, LENGTHS[0])[None]
    whole, part = (model(inputs_embeds=x, use_cache=False).logits[0].float() for x in (rows, rows[:, : LENGTHS[1]]))
    return whole[: LENGTHS[1]], part


def _close(found: Tensor, wanted: Tensor, allowed: float) -> bool:
    """Whether logits (n, vocab_size) are the same but for rounding, row by row; a row of NaN is no evidence."""
    difference = (found.log_softmax(dim=-1) - wanted.log_softmax(dim=-1)).square().mean(dim=-1).sqrt()
    share = difference / wanted.std(dim=-1).clamp(min=torch.finfo(wanted.dtype).tiny)
    known = torch.isfinite(wanted).all(dim=-1)
    return bool((share[known] <= allowed).all())
