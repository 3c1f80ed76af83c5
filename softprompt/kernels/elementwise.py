"""What kernels do number by number, in float32: exponentials, norms, softmax, and the gate of a feed-forward layer.

Each loop becomes vector instructions, and each function a part of the kernels that call it.
"""

from __future__ import annotations

import numpy as np

from softprompt.kernels.cache import REORDERED_SUMS, inlined

MINUS_INFINITY = np.float32(-np.inf)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

# Cody and Waite's reduction of exp to a polynomial on [-log(2) / 2, log(2) / 2], with the coefficients of Cephes' expf.
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_5, EXP_4, EXP_3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
EXP_2, EXP_1, EXP_0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
EXP_LEAST, EXP_MOST = np.float32(-87), np.float32(88)


# Reordered, the two steps of the reduction would become one, and lose what the second is for.
@inlined(fastmath={"contract"})
def exp(x):
    """The exponential function to float32's rounding, zero below e^-87 and no more than e^88, NaN of NaN."""
    y = min(max(x, EXP_LEAST), EXP_MOST)
    k = np.floor(y * LOG2_E + HALF)
    f = y - k * LN2_HIGH - k * LN2_LOW
    series = ((((EXP_5 * f + EXP_4) * f + EXP_3) * f + EXP_2) * f + EXP_1) * f + EXP_0
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return ZERO if x < EXP_LEAST else (series * f * f + f + ONE) * power


@inlined(fastmath={"contract"})
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return ONE / (ONE + exp(-x))


@inlined(fastmath={"contract"})
def silu(x):
    """x / (1 + e^-x), the gate of a feed-forward layer (Shazeer 2020, arXiv 2002.05202)."""
    return x / (ONE + exp(-x))


# Without a thought for NaN this takes eight at a time.
@inlined(fastmath={"nnan", "nsz"})
def largest(x, n):
    """The largest of the first n numbers of x."""
    top = MINUS_INFINITY
    for i in range(n):
        top = max(top, x[i])
    return top


@inlined(fastmath=REORDERED_SUMS)
def softmax(x, n):
    """Replaces the first n numbers of x by their softmax, where -inf becomes an exact zero, and the others by zero."""
    top, total = largest(x, n), ZERO
    for i in range(n):
        power = exp(x[i] - top)
        x[i] = power
        total += power
    factor = ONE / total
    for i in range(n):
        x[i] *= factor
    x[n:] = ZERO


@inlined(fastmath=REORDERED_SUMS)
def softmax_backward(p, x, n):
    """Replaces the first n numbers of x, gradients of a softmax p, by those of its argument, the others by zero."""
    along = ZERO
    for i in range(n):
        along += p[i] * x[i]
    for i in range(n):
        x[i] = p[i] * (x[i] - along)
    for i in range(n, len(x)):
        x[i] = ZERO


@inlined(fastmath=REORDERED_SUMS)
def normalise(r, x, weight, eps, out):
    """Writes ``x / sqrt(mean(x^2) + eps) * weight`` of row r (Zhang and Sennrich 2019, section 4).

    Args:
        r: the row.
        x: shape (n, d or more).
        weight: shape (d,).
        eps: of type float32, like everything here.
        out: shape (n, d or more).

    Returns:
        ``1 / sqrt(mean(x^2) + eps)``.
    """
    d, total = len(weight), ZERO
    for i in range(d):
        total += x[r, i] * x[r, i]
    factor = ONE / np.sqrt(total / np.float32(d) + eps)
    for i in range(d):
        out[r, i] = x[r, i] * factor * weight[i]
    return factor
