"""Log-probabilities of given tokens, without ever holding the logits of a whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_CELLS = 2**20


def token_logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Returns log softmax(hidden weight^T + bias) at the targets, (n,) float32; differentiable in ``hidden``.

    Args:
        hidden: last hidden states, shape (n, d_model).
        weight: the head's weight, shape (vocab_size, d_model), frozen.
        bias: the head's bias, shape (vocab_size,), or None.
        targets: token ids, shape (n,).
    """
    return _TokenLogprobs.apply(hidden, weight, bias, targets)


class _TokenLogprobs(torch.autograd.Function):
    """Works out an output's gradient, w[target] - E[w], while its logits are there: it depends on one row alone.

    What is kept for the backward pass is (n, d_model) numbers instead of (n, vocab_size).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        rows = max(1, CHUNK_CELLS // len(weight))
        logprobs = hidden.new_empty(len(hidden), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), rows):
            chunk = slice(start, start + rows)
            target = targets[chunk]
            logits = torch.nn.functional.linear(hidden[chunk], weight, bias).float()
            total = logits.logsumexp(dim=-1, keepdim=True)
            logprobs[chunk] = (logits.gather(1, target[:, None]) - total)[:, 0]
            if gradient is not None:
                probabilities = logits.sub_(total).exp_().to(weight.dtype)
                gradient[chunk] = torch.addmm(weight[target], probabilities, weight, alpha=-1)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return logprobs

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return output_gradients[0][:, None].to(gradient.dtype) * gradient, None, None, None
