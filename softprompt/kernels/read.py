"""What a Llama-like model computes between its matrix products when it reads, and its gradients, compiled for CPUs.

Each kernel does in one walk through memory what would be several operations, and keeps nothing for the backward pass
but one factor a row. Rows do not see one another, so slices of them may run on threads of their own.
"""

from __future__ import annotations

import numpy as np

from softprompt.kernels.cache import kernel
from softprompt.kernels.elementwise import ONE, ZERO, normalise, sigmoid, silu


@kernel
def rms_norm(start, stop, x, weight, eps, out, factors):
    """Writes ``x / sqrt(mean(x^2) + eps) * weight`` of rows start to stop (Zhang and Sennrich 2019, section 4).

    Args:
        start: first row.
        stop: row behind the last one.
        x: shape (n, d).
        weight: shape (d,).
        eps: of type float32, like everything here.
        out: shape (n, d).
        factors: 1 / sqrt(mean(x^2) + eps) is written here, shape (n,).
    """
    for r in range(start, stop):
        factors[r] = normalise(r, x, weight, eps, out)


@kernel
def rms_norm_backward(start, stop, x, weight, factors, gradient, total):
    """Adds the gradient of x to a total: with y = x f w, that is f (w g - x f^2 mean(w g x)).

    Args:
        start: first row.
        stop: row behind the last one.
        x: what was normalised, shape (n, d).
        weight: shape (d,).
        factors: what :func:`rms_norm` wrote, shape (n,).
        gradient: g, the gradient of what it returned, shape (n, d).
        total: shape (n, d).
    """
    d = x.shape[1]
    for r in range(start, stop):
        along = ZERO
        for i in range(d):
            along += gradient[r, i] * weight[i] * x[r, i]
        factor = factors[r]
        along *= factor * factor / np.float32(d)
        for i in range(d):
            total[r, i] += factor * (gradient[r, i] * weight[i] - along * x[r, i])


@kernel
def rotate(start, stop, qkv, cos, sin, positions, n_heads, n_keys, scale):
    """Rotates queries and keys in place (Su et al. 2021, arXiv 2104.09864, section 3.4.2), and scales the queries.

    With the sines negated it is the transpose of that, which is what gradients need.

    Args:
        start: first cell.
        stop: cell behind the last one.
        qkv: queries, keys and values of each cell, shape (n, (n_heads + 2 n_keys) d).
        cos: cosines of all positions, shape (positions, d / 2).
        sin: sines, likewise.
        positions: of the cells, shape (n,).
        n_heads: number of heads of queries.
        n_keys: number of heads of keys.
        scale: queries are multiplied by it.
    """
    half = cos.shape[1]
    for r in range(start, stop):
        position = positions[r]
        for h in range(n_heads + n_keys):
            first, second = h * 2 * half, h * 2 * half + half
            factor = scale if h < n_heads else ONE
            for i in range(half):
                a, b = qkv[r, first + i] * factor, qkv[r, second + i] * factor
                qkv[r, first + i] = a * cos[position, i] - b * sin[position, i]
                qkv[r, second + i] = b * cos[position, i] + a * sin[position, i]


@kernel
def swiglu(start, stop, gate_up, out):
    """Writes silu(gate) up (Shazeer 2020, arXiv 2002.05202).

    Args:
        start: first row.
        stop: row behind the last one.
        gate_up: gates, then what they let through, shape (n, 2 d).
        out: shape (n, d).
    """
    d = out.shape[1]
    for r in range(start, stop):
        for i in range(d):
            out[r, i] = silu(gate_up[r, i]) * gate_up[r, d + i]


@kernel
def swiglu_backward(start, stop, gate_up, gradient, out):
    """Writes the gradients of gates and of what they let through.

    Args:
        start: first row.
        stop: row behind the last one.
        gate_up: what :func:`swiglu` was given, shape (n, 2 d).
        gradient: of what it returned, shape (n, d).
        out: shape (n, 2 d).
    """
    # Three loops, because one that wrote to two places would not be vectorised.
    d = gradient.shape[1]
    for r in range(start, stop):
        for i in range(d):
            out[r, d + i] = sigmoid(gate_up[r, i])
        for i in range(d):
            gate, share = gate_up[r, i], out[r, d + i]
            out[r, i] = gradient[r, i] * gate_up[r, d + i] * share * (ONE + gate * (ONE - share))
        for i in range(d):
            out[r, d + i] *= gradient[r, i] * gate_up[r, i]
