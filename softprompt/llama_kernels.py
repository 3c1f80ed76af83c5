"""What one decoding step computes between its matrix products, compiled for CPUs.

For one new token a row, attention reads every key and value once and does little with them, so that its speed is that
of the memory: each kernel walks through the cache once, in the order in which it lies, and a prompt's keys and values
lie there once for all rows behind it. Rows do not see one another, so slices of them may run on threads of their own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

REORDERED_SUMS = {"reassoc", "contract", "nsz"}
MINUS_INFINITY = np.float32(-np.inf)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def rms_norm(start, stop, x, weight, eps, out):
    """Writes ``x / sqrt(mean(x^2) + eps) * weight`` of rows start to stop (Zhang and Sennrich 2019, section 4).

    Args:
        start: first row.
        stop: row behind the last one.
        x: shape (n, d).
        weight: shape (d,).
        eps: of type float32, like everything here.
        out: shape (n, d).
    """
    d = x.shape[1]
    for r in range(start, stop):
        total = np.float32(0)
        for i in range(d):
            total += x[r, i] * x[r, i]
        factor = np.float32(1) / np.sqrt(total / np.float32(d) + eps)
        for i in range(d):
            out[r, i] = x[r, i] * factor * weight[i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def append_and_score(
    start, stop, qkv, cos, sin, prompt_keys, keys, values, prompt_of, padding, n_new, n_heads, scale, scores
):
    """Rotates the new queries and keys, stores keys and values, and scores all cells that each row sees.

    Args:
        start: first row.
        stop: row behind the last one.
        qkv: projections of the new token, queries, keys, values, shape (n, (n_heads + 2 n_kv) d); queries are rotated
            in place.
        cos: cosines of all positions, shape (positions, d).
        sin: sines, negative in the first half of d, shape (positions, d).
        prompt_keys: shape (prompts, n_kv, s, d).
        keys: of the tokens since, the new one stored here, shape (n, n_kv, cells, d).
        values: like keys.
        prompt_of: prompt of each row, shape (n,).
        padding: cells of padding before each prompt, shape (prompts,).
        n_new: tokens since the prompt, the new one included.
        n_heads: number of query heads; each n_heads / n_kv of them share a head of keys and values.
        scale: scores are multiplied by it.
        scores: shape (n, n_heads, s + n_new); -inf for padding.
    """
    n_kv, s, d = prompt_keys.shape[1], prompt_keys.shape[2], prompt_keys.shape[3]
    for r in range(start, stop):
        prompt = prompt_of[r]
        position = s - padding[prompt] + n_new - 1
        for g in range(n_kv):
            key, value = (n_heads + g) * d, (n_heads + n_kv + g) * d
            _rotate(qkv[r, key : key + d], cos[position], sin[position], keys[r, g, n_new - 1])
            values[r, g, n_new - 1] = qkv[r, value : value + d]
        for h in range(n_heads):
            g, query = h // (n_heads // n_kv), qkv[r, h * d : (h + 1) * d]
            _rotate(query, cos[position], sin[position], query)
            _score(query, prompt_keys[prompt, g], s, scale, scores[r, h])
            scores[r, h, : padding[prompt]] = MINUS_INFINITY
            _score(query, keys[r, g], n_new, scale, scores[r, h, s:])


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def mix(start, stop, weights, prompt_values, values, prompt_of, n_new, out):
    """Writes the mean of the values under the attention's weights.

    Args:
        start: first row.
        stop: row behind the last one.
        weights: softmax of the scores, shape (n, n_heads, s + n_new).
        prompt_values: shape (prompts, n_kv, s, d).
        values: shape (n, n_kv, cells, d).
        prompt_of: prompt of each row, shape (n,).
        n_new: tokens since the prompt.
        out: shape (n, n_heads d).
    """
    n_heads, n_kv, s, d = weights.shape[1], prompt_values.shape[1], prompt_values.shape[2], prompt_values.shape[3]
    group = n_heads // n_kv
    for r in range(start, stop):
        for h in range(n_heads):
            mixed = out[r, h * d : (h + 1) * d]
            mixed[:] = 0
            _add_cells(weights[r, h, :s], prompt_values[prompt_of[r], h // group], s, mixed)
            _add_cells(weights[r, h, s:], values[r, h // group], n_new, mixed)


@njit(inline="always")
def _rotate(x, cos, sin, out):
    """Rotates pairs (i, i + d / 2) of x, shape (d,) (Su et al. 2021, arXiv 2104.09864, section 3.4.2)."""
    half = len(x) // 2
    for i in range(half):
        first, second = x[i], x[i + half]
        out[i] = first * cos[i] + second * sin[i]
        out[i + half] = second * cos[i + half] + first * sin[i + half]


@njit(inline="always")
def _score(query, keys, n, scale, out):
    """Writes the scaled products of a query (d,) with n keys (n, d) to out (n,)."""
    for c in range(n):
        total = np.float32(0)
        for i in range(len(query)):
            total += query[i] * keys[c, i]
        out[c] = total * scale


@njit(inline="always")
def _add_cells(weights, values, n, out):
    """Adds the weighted sum of n cells, values (n, d) and weights (n,), to out; four at a time stay in registers."""
    d, whole = len(out), n - n % 4
    for c in range(0, whole, 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        for i in range(d):
            out[i] += w0 * values[c, i] + w1 * values[c + 1, i] + w2 * values[c + 2, i] + w3 * values[c + 3, i]
    for c in range(whole, n):
        for i in range(d):
            out[i] += weights[c] * values[c, i]
