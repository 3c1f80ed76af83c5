"""Drawing tokens from a model's own distribution, compiled for CPUs: two walks through a row that is in the caches."""

from __future__ import annotations

import numpy as np

from softprompt.kernels.cache import REORDERED_SUMS, inlined, kernel
from softprompt.kernels.elementwise import exp, largest

BLOCK = 64
"""Tokens whose probabilities are summed at once; the drawn one is then looked for in one block."""


@kernel
def draw_rows(logits, uniforms, chosen, logprobs):
    """Inverts each row's cumulative distribution at its uniform number; see :func:`softprompt.sampling.draw.draw`.

    Args:
        logits: shape (n, vocab_size), of type float32.
        uniforms: numbers in [0, 1), shape (n,).
        chosen: ids, written, shape (n,).
        logprobs: log-probabilities of the chosen, written, shape (n,).
    """
    n, vocab_size = logits.shape
    likelihoods, sums = np.empty(vocab_size, np.float32), np.empty((vocab_size + BLOCK - 1) // BLOCK)
    for r in range(n):
        for i in range(vocab_size):
            likelihoods[i] = logits[r, i]
        top = largest(likelihoods, vocab_size)
        for i in range(vocab_size):
            likelihoods[i] = exp(likelihoods[i] - top)
        total = _sum_blocks(likelihoods, sums)
        chosen[r] = _invert(likelihoods, sums, uniforms[r] * total)
        logprobs[r] = logits[r, chosen[r]] - top - np.log(total)


@inlined(fastmath=REORDERED_SUMS)
def _sum_blocks(likelihoods, sums):
    """Writes the sum of each block, and returns the sum of all."""
    total = 0.0
    for b in range(len(sums)):
        block = np.float32(0)
        for i in range(b * BLOCK, min(len(likelihoods), (b + 1) * BLOCK)):
            block += likelihoods[i]
        sums[b] = block
        total += sums[b]
    return total


@inlined(fastmath=set())
def _invert(likelihoods, sums, threshold):
    """The first token whose cumulative sum is above the threshold, or the last possible one if rounding leaves none."""
    below, b = 0.0, 0
    while b < len(sums) - 1 and below + sums[b] <= threshold:
        below += sums[b]
        b += 1
    last = 0
    for i in range(b * BLOCK, len(likelihoods)):
        if likelihoods[i] > 0:
            last = i
            below += likelihoods[i]
            if below > threshold:
                break
    return last
