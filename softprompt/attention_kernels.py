"""Causal attention of rows of any length behind beginnings that they share, and its gradient, compiled for CPUs.

The cells of all rows stand one behind the other, without padding. Rows with the same beginning stand together: a
kernel walks through pairs of a beginning and a head of keys and values, takes the beginning's cells once, and then row
after row. What rows tell their beginning is so added up in the order of rows, however many threads there are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from softprompt.reader_kernels import FAST, ONE, exp
from softprompt.tiles import LANES, multiply

ZERO = np.float32(0)
QUERIES = 4
"""Queries of a row that are taken together."""


@njit(inline="always")
def padded(n):
    """The next multiple of what tiles are wide."""
    return (n + LANES - 1) // LANES * LANES


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
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
    s, d, group, width = past.shape[3], past.shape[4], n_heads // n_keys, padded(past.shape[3] + longest)
    keys, values = np.zeros((d, width), np.float32), np.zeros((width, d), np.float32)
    for pair in range(start, stop):
        beginning, g = pair // n_keys, pair % n_keys
        key, value = (n_heads + g) * d, (n_heads + n_keys + g) * d
        for j in range(s):
            keys[:, j] = past[0, beginning, g, j]
            values[j] = past[1, beginning, g, j]
        for r in range(bounds[beginning], bounds[beginning + 1]):
            first, n = starts[r], starts[r + 1] - starts[r]
            line = padded(s + n)
            for j in range(n):
                keys[:, s + j] = qkv[first + j, key : key + d]
                values[s + j] = qkv[first + j, value : value + d]
            for h in range(g * group, (g + 1) * group):
                for i in range(0, n, QUERIES):
                    rows, block = min(QUERIES, n - i), places[r] + (h * n + i) * line
                    seen, query = s + i + rows, (first + i) * qkv.shape[1] + h * d
                    multiply(
                        qkv, query, qkv.shape[1], 1, keys, 0, width, weights, block, line, rows, d, padded(seen), False
                    )
                    for k in range(rows):
                        _softmax(weights[block + k * line : block + (k + 1) * line], s + i + k + 1)
                    mixed = (first + i) * out.shape[1] + h * d
                    multiply(weights, block, line, 1, values, 0, d, out, mixed, out.shape[1], rows, seen, d, False)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)
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
    s, d, group, width = past.shape[3], past.shape[4], n_heads // n_keys, padded(past.shape[3] + longest)
    keys, values = np.zeros((width, d), np.float32), np.zeros((d, width), np.float32)
    d_keys, d_values = np.zeros((width, d), np.float32), np.zeros((width, d), np.float32)
    scores = np.zeros(longest * width, np.float32)
    wide, narrow = qkv.shape[1], gradient.shape[1]
    for pair in range(start, stop):
        beginning, g = pair // n_keys, pair % n_keys
        key, value = (n_heads + g) * d, (n_heads + n_keys + g) * d
        d_keys[:s], d_values[:s] = ZERO, ZERO
        for j in range(s):
            keys[j] = past[0, beginning, g, j]
            values[:, j] = past[1, beginning, g, j]
        for r in range(bounds[beginning], bounds[beginning + 1]):
            first, n = starts[r], starts[r + 1] - starts[r]
            line, needed = padded(s + n), s + n if own else s
            d_keys[s:line], d_values[s:line] = ZERO, ZERO
            for j in range(n):
                keys[s + j] = qkv[first + j, key : key + d]
                values[:, s + j] = qkv[first + j, value : value + d]
            for h in range(g * group, (g + 1) * group):
                block, query, told = places[r] + h * n * line, first * wide + h * d, first * narrow + h * d
                for i in range(0, n, QUERIES):
                    rows, seen = min(QUERIES, n - i), s + min(i + QUERIES, n)
                    multiply(
                        gradient, told + i * narrow, narrow, 1, values, 0, width, scores, i * line, line,
                        rows, d, padded(seen), False,
                    )  # fmt: skip
                    for k in range(i, i + rows):
                        p = weights[block + k * line : block + (k + 1) * line]
                        _softmax_backward(p, scores[k * line : (k + 1) * line], s + k + 1)
                    if own:
                        place = query + i * wide
                        multiply(scores, i * line, line, 1, keys, 0, d, out, place, wide, rows, seen, d, False)
                for j in range(0, needed, QUERIES):
                    # Cell j is seen by the queries since j - s. What is behind the last cell is zero, and stays so.
                    since, place = max(j - s, 0), j * d
                    left, terms = since * line + j, n - since
                    multiply(
                        scores,
                        left,
                        1,
                        line,
                        qkv,
                        query + since * wide,
                        wide,
                        d_keys,
                        place,
                        d,
                        QUERIES,
                        terms,
                        d,
                        True,
                    )
                    multiply(
                        weights, block + left, 1, line, gradient, told + since * narrow, narrow, d_values, place, d,
                        QUERIES, terms, d, True,
                    )  # fmt: skip
            if own:
                for j in range(n):
                    out[first + j, key : key + d] = d_keys[s + j]
                    out[first + j, value : value + d] = d_values[s + j]
        past_out[0, beginning, g], past_out[1, beginning, g] = d_keys[:s], d_values[:s]


@njit(inline="always")
def _softmax(x, n):
    """Replaces the first n numbers of x by their softmax, and the others by zero."""
    largest = x[0]
    for j in range(1, n):
        largest = max(largest, x[j])
    total = ZERO
    for j in range(n):
        power = exp(x[j] - largest)
        x[j] = power
        total += power
    factor = ONE / total
    for j in range(n):
        x[j] *= factor
    x[n:] = ZERO


@njit(inline="always")
def _softmax_backward(p, x, n):
    """Replaces the first n numbers of x, gradients of a softmax p, by those of its argument, the others by zero."""
    along = ZERO
    for j in range(n):
        along += p[j] * x[j]
    for j in range(n):
        x[j] = p[j] * (x[j] - along)
    x[n:] = ZERO
