"""What a language model computes, in float64 and by transformers alone: the reference of the tests of arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from softprompt.models.frozen import FrozenLM


class Float64(TorchFunctionMode):
    """Gives float64 to whoever asks for float32: transformers takes norms and angles in float32 of any model."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is torch.Tensor.float:
            return arguments[0].double()
        wide = {name: _wide(value) for name, value in (keywords or {}).items()}
        return function(*map(_wide, arguments), **wide)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def doubled(lm: FrozenLM) -> FrozenLM:
    """The same model with its weights in float64; it computes in float64 under :class:`Float64`."""
    copied = FrozenLM(copy.deepcopy(lm.model).double(), lm.tokenizer)
    copied.eos_ids = lm.eos_ids
    copied.model.set_experts_implementation("eager")  # the usual one has no float64
    return copied


def logits_behind(lm: FrozenLM, prompt: Tensor | None, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (cells, vocab_size) and last hidden states (cells, d_model) of one sequence alone, all read at once.

    Args:
        lm: a model of float32, or one that is :func:`doubled`.
        prompt: rows before the tokens, shape (n, d_model), or None.
        ids: shape (l,).
    """
    exact = lm.embedding.dtype == torch.float64
    parts = [lm.embed(ids)] if prompt is None else [prompt.to(lm.embedding.dtype), lm.embed(ids)]
    if not exact:
        output = lm.model(inputs_embeds=torch.cat(parts)[None], use_cache=False, output_hidden_states=True)
    else:
        with Float64():
            output = lm.model(inputs_embeds=torch.cat(parts)[None], use_cache=False, output_hidden_states=True)
    return output.logits[0], output.hidden_states[-1][0]


def one_by_one(
    lm: FrozenLM, prompts: Tensor | None, instructions: Sequence[Any], ids: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What :func:`softprompt.logprobs.evaluate.evaluate` returns: each row alone, without padding or cache."""
    dtype = lm.embedding.dtype
    logprobs, hidden = torch.zeros(ids.shape, dtype=dtype), torch.zeros(*ids.shape, lm.d_model, dtype=dtype)
    for row in range(len(ids)):
        n = int(mask[row].sum())
        tokens = torch.cat([torch.as_tensor(instructions[row], dtype=torch.int64), ids[row, :n]])
        logits, states = logits_behind(lm, None if prompts is None else prompts[row], tokens)
        cells = slice(len(logits) - n - 1, len(logits) - 1)
        logprobs[row, :n] = logits.log_softmax(-1)[cells].gather(1, ids[row, :n, None])[:, 0]
        hidden[row, :n] = states[cells]
    return logprobs, hidden
