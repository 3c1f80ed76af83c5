"""Causal attention of rows of any length behind beginnings that they share, and its gradient, compiled for CPUs.

The cells of all rows stand one behind the other, without padding. Rows with the same beginning stand together: a
kernel walks through pairs of a beginning and a head of keys and values, takes the beginning's cells once, and then row
after row. What rows tell their beginning is so added up in the order of rows, however many threads there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softprompt.kernels.cache import inlined, kernel
from softprompt.kernels.elementwise import ZERO, softmax, softmax_backward
from softprompt.kernels.tiles import LANES, multiply

QUERIES = 4
"""Queries of a row that are taken together."""


def padded(n: Any) -> Any:
    """The next multiple of what tiles are wide."""
    return (n + LANES - 1) // LANES * LANES


_padded = inlined(fastmath=set())(padded)


@kernel
def attend(start, stop, qkv, past, starts, bounds, sizes, places, weights, out):
    """Writes the means of the values under the attention's weights, and keeps the weights.

    Args:
        start: first pair of a beginning and a head of keys: pair k is head k % n_keys behind beginning k // n_keys.
        stop: pair behind the last one.
        qkv: scaled and rotated queries, rotated keys, and values, shape (cells, (n_heads + 2 n_keys) d).
        past: keys and values of the beginnings, shape (2, beginnings, n_keys, s, d).
        starts: first cell of each row, and the number of cells, shape (rows + 1,).
        bounds: first row of each beginning, and the number of rows, shape (beginnings + 1,).
        sizes: n_heads, n_keys, and the cells of the longest row.
        places: where the weights of each row begin, shape (rows,).
        weights: written here, shape (n_heads, n, padded(s + n)) for each row of n cells; zero for what is not seen.
        out: shape (cells, n_heads d).
    """
    n_heads, n_keys, longest = sizes
    s, d, group, width = past.shape[3], past.shape[4], n_heads // n_keys, _padded(past.shape[3] + longest)
    keys, values = np.zeros((d, width), np.float32), np.zeros((width, d), np.float32)
    for pair in range(start, stop):
        beginning, g = pair // n_keys, pair % n_keys
        key, value = (n_heads + g) * d, (n_heads + n_keys + g) * d
        for j in range(s):
            _fill(past[0, beginning, g, j], 0, keys[:, j])
            _fill(past[1, beginning, g, j], 0, values[j])
        for r in range(bounds[beginning], bounds[beginning + 1]):
            first, n = starts[r], starts[r + 1] - starts[r]
            line = _padded(s + n)
            for j in range(n):
                _fill(qkv[first + j], key, keys[:, s + j])
                _fill(qkv[first + j], value, values[s + j])
            for h in range(g * group, (g + 1) * group):
                for i in range(0, n, QUERIES):
                    rows, block = min(QUERIES, n - i), places[r] + (h * n + i) * line
                    seen, query = s + i + rows, (first + i) * qkv.shape[1] + h * d
                    multiply(
                        qkv, query, qkv.shape[1], 1, keys, 0, width, weights, block, line, rows, d, _padded(seen), False
                    )
                    for k in range(rows):
                        softmax(weights[block + k * line : block + (k + 1) * line], s + i + k + 1)
                    mixed = (first + i) * out.shape[1] + h * d
                    multiply(weights, block, line, 1, values, 0, d, out, mixed, out.shape[1], rows, seen, d, False)


@kernel
def attend_backward(start, stop, qkv, past, starts, bounds, sizes, places, weights, gradient, own, out, past_out):
    """Writes the gradients of queries, keys and values, and of the beginnings' keys and values.

    With weights p, values v and the gradient g of the output, dp = g v, ds = p (dp - sum(p dp)), dq = ds k,
    dk = ds^T q and dv = p^T g (Dao et al. 2022, arXiv 2205.14135, appendix B.2).

    Args:
        start: as in :func:`attend`.
        stop: as in :func:`attend`.
        qkv: as in :func:`attend`.
        past: as in :func:`attend`.
        starts: as in :func:`attend`.
        bounds: as in :func:`attend`.
        sizes: as in :func:`attend`.
        places: as in :func:`attend`.
        weights: what :func:`attend` kept.
        gradient: of what it returned, shape (cells, n_heads d).
        own: whether the rows' own cells need a gradient, or the beginnings alone.
        out: the gradient of qkv, written only where ``own``.
        past_out: the gradient of past.
    """
    n_heads, n_keys, longest = sizes
    s, d, group, width = past.shape[3], past.shape[4], n_heads // n_keys, _padded(past.shape[3] + longest)
    keys, values = np.zeros((width, d), np.float32), np.zeros((d, width), np.float32)
    d_keys, d_values = np.zeros((width, d), np.float32), np.zeros((width, d), np.float32)
    scores = np.zeros(longest * width, np.float32)
    wide, narrow = qkv.shape[1], gradient.shape[1]
    for pair in range(start, stop):
        beginning, g = pair // n_keys, pair % n_keys
        key, value = (n_heads + g) * d, (n_heads + n_keys + g) * d
        _clear(d_keys, d_values, 0, s)
        for j in range(s):
            _fill(past[0, beginning, g, j], 0, keys[j])
            _fill(past[1, beginning, g, j], 0, values[:, j])
        for r in range(bounds[beginning], bounds[beginning + 1]):
            first, n = starts[r], starts[r + 1] - starts[r]
            line, needed = _padded(s + n), s + n if own else s
            _clear(d_keys, d_values, s, line)
            for j in range(n):
                _fill(qkv[first + j], key, keys[s + j])
                _fill(qkv[first + j], value, values[:, s + j])
            for h in range(g * group, (g + 1) * group):
                block, query, told = places[r] + h * n * line, first * wide + h * d, first * narrow + h * d
                for i in range(0, n, QUERIES):
                    rows, seen = min(QUERIES, n - i), s + min(i + QUERIES, n)
                    multiply(
                        gradient, told + i * narrow, narrow, 1, values, 0, width, scores, i * line, line,
                        rows, d, _padded(seen), False,
                    )  # fmt: skip
                    for k in range(i, i + rows):
                        p = weights[block + k * line : block + (k + 1) * line]
                        softmax_backward(p, scores[k * line : (k + 1) * line], s + k + 1)
                    if own:
                        place = query + i * wide
                        multiply(scores, i * line, line, 1, keys, 0, d, out, place, wide, rows, seen, d, False)
                for j in range(0, needed, QUERIES):
                    # Cell j is seen by the queries since j - s. What is behind the last cell is zero, and stays so.
                    since, place = max(j - s, 0), j * d
                    left, terms = since * line + j, n - since
                    multiply(
                        scores, left, 1, line, qkv, query + since * wide, wide, d_keys, place, d,
                        QUERIES, terms, d, True,
                    )  # fmt: skip
                    multiply(
                        weights, block + left, 1, line, gradient, told + since * narrow, narrow, d_values, place, d,
                        QUERIES, terms, d, True,
                    )  # fmt: skip
            if own:
                for j in range(n):
                    _fill(d_keys[s + j], 0, out[first + j, key : key + d])
                    _fill(d_values[s + j], 0, out[first + j, value : value + d])
        for j in range(s):
            _fill(d_keys[j], 0, past_out[0, beginning, g, j])
            _fill(d_values[j], 0, past_out[1, beginning, g, j])


# One array a loop, which so becomes vector instructions wherever the array is contiguous.
@inlined(fastmath=set())
def _fill(numbers, first, out):
    """Copies numbers from the first one on, as many as there is room for."""
    for i in range(len(out)):
        out[i] = numbers[first + i]


@inlined(fastmath=set())
def _clear(one, other, start, stop):
    """Fills rows start to stop of two arrays with zeros."""
    for r in range(start, stop):
        for i in range(one.shape[1]):
            one[r, i] = ZERO
        for i in range(other.shape[1]):
            other[r, i] = ZERO
