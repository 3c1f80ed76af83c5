from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from softprompt.kernels import attention, read
from softprompt.kernels import elementwise as elementwise_kernels
from softprompt.kernels.threads import on_threads
from softprompt.kernels.tiles import LANES, multiply
from tests.accuracy import assert_as_accurate, assert_rounded

pytestmark = pytest.mark.arithmetic

EPS = np.float32(1e-6)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


PRECISIONS = torch.float32, torch.float64
"""What torch computes in is as accurate as a kernel must be; and what is exact."""


def tensor(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(array).to(dtype, copy=True).requires_grad_()


def assert_all_as_accurate(ours, theirs, exact) -> None:
    for triple in zip(ours, theirs, exact, strict=True):
        assert_as_accurate(*triple)


@njit
def exponentials(x):
    return np.array([elementwise_kernels.exp(number) for number in x])


def test_exponential_is_that_of_numpy_up_to_rounding():
    x = np.concatenate([np.linspace(-87, 87, 20001), random(1000) * 1e-3, [0]]).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    # Shares of the exact value, over 1 + |x|: so much of itself e^x changes when x is rounded.
    ours, theirs = (1 + (found / exact - 1) / (1 + np.abs(x)) for found in (exponentials(x), np.exp(x)))
    assert_as_accurate(ours, theirs, np.ones(len(x)), ulps=2)
    near = np.abs(x) < 1
    assert_as_accurate(exponentials(x[near]) / exact[near], np.exp(x[near]) / exact[near], np.ones(near.sum()), ulps=4)
    assert np.isfinite(exponentials(np.array([-1e30, -1e3, 1e3, 1e30], np.float32))).all()


def test_norm_and_its_gradient_are_those_of_torch():
    x, weight, gradient, before = random(5, 24), random(24, seed=1), random(5, 24, seed=2), random(5, 24, seed=3)
    out, factors, total = np.empty_like(x), np.empty(5, np.float32), before.copy()
    read.rms_norm(0, 5, x, weight, EPS, out, factors)
    read.rms_norm_backward(0, 5, x, weight, factors, gradient, total)

    def by_torch(dtype):
        inputs, told = tensor(x, dtype), torch.from_numpy(gradient).to(dtype)
        normed = torch.rms_norm(inputs, (24,), torch.from_numpy(weight).to(dtype), float(EPS))
        return normed, torch.from_numpy(before).to(dtype) + torch.autograd.grad(normed, inputs, told)[0]

    assert_all_as_accurate((out, total), *map(by_torch, PRECISIONS))


def test_gated_unit_and_its_gradient_are_those_of_torch():
    gate_up, gradient = random(5, 48) * 5, random(5, 24, seed=1)
    out, told = np.empty_like(gradient), np.empty_like(gate_up)
    read.swiglu(0, 5, gate_up, out)
    read.swiglu_backward(0, 5, gate_up, gradient, told)

    def by_torch(dtype):
        inputs = tensor(gate_up, dtype)
        gated = torch.nn.functional.silu(inputs[:, :24]) * inputs[:, 24:]
        return gated, torch.autograd.grad(gated, inputs, torch.from_numpy(gradient).to(dtype))[0]

    assert_all_as_accurate((out, told), *map(by_torch, PRECISIONS))


def test_rotation_turns_pairs_and_with_negated_sines_back():
    n_heads, n_keys, d, scale = 4, 2, 8, np.float32(0.5)
    qkv, positions, angles = random(5, 64), np.array([0, 3, 1, 1, 2]), random(4, 4, seed=1)
    cos, sin = np.cos(angles), np.sin(angles)
    turned = qkv.copy()
    read.rotate(0, 5, turned, cos, sin, positions, n_heads, n_keys, scale)
    assert np.array_equal(turned[:, 48:], qkv[:, 48:])

    def by_numpy(real, whole):
        pairs = qkv.reshape(5, 8, 2, 4)[:, :6].astype(real)
        turns = (cos.astype(real) + 1j * sin.astype(real)).astype(whole)
        numbers = (pairs[:, :, 0] + 1j * pairs[:, :, 1]).astype(whole) * turns[positions][:, None]
        numbers[:, :n_heads] *= 0.5
        return np.stack([numbers.real, numbers.imag], axis=2)

    theirs, exact = by_numpy(np.float32, np.complex64), by_numpy(np.float64, np.complex128)
    assert_as_accurate(turned.reshape(5, 8, 2, d // 2)[:, :6], theirs, exact)
    read.rotate(0, 5, turned, cos, -sin, positions, n_heads, n_keys, np.float32(2))
    assert_rounded(turned, qkv)


@njit
def product(a, a_row, a_step, b, out, rows, count, add):
    multiply(a, 0, a_row, a_step, b, 0, b.shape[1], out, 0, out.shape[1], rows, count, out.shape[1], add)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("width", [LANES, 2 * LANES, 5 * LANES])
def test_product_of_tiles_is_that_of_numpy(rows, count, width):
    a, b, before = random(rows, count), random(count, width, seed=1), random(rows, width, seed=2)
    across, out = np.ascontiguousarray(a.T), before.copy()
    theirs, exact = a @ b, a.astype(np.float64) @ b
    product(a, count, 1, b, out, rows, count, True)
    assert_as_accurate(out, before + theirs, before + exact)
    product(across, 1, rows, b, out, rows, count, False)
    assert_as_accurate(out, theirs, exact)


class Attention:
    """Rows of several lengths behind beginnings, one of which has no rows."""

    def __init__(self, s: int, n_heads: int, n_keys: int, d: int = 8) -> None:
        self.s, self.n_heads, self.n_keys, self.d = s, n_heads, n_keys, d
        self.lengths, self.beginnings = np.array([5, 1, 4, 10, 3]), [0, 0, 2, 2, 3]
        self.starts = np.cumsum([0, *self.lengths])
        self.bounds = np.searchsorted(self.beginnings, np.arange(5))
        self.past = random(2, 4, n_keys, s, d)
        self.qkv = random(self.starts[-1], (n_heads + 2 * n_keys) * d, seed=1)
        self.gradient = random(self.starts[-1], n_heads * d, seed=2)
        sizes = n_heads * self.lengths * attention.padded(self.lengths + s)
        self.places = np.cumsum([0, *sizes])
        self.weights = np.full(self.places[-1], np.nan, np.float32)

    def arguments(self) -> tuple:
        sizes = self.n_heads, self.n_keys, int(self.lengths.max())
        return self.qkv, self.past, self.starts, self.bounds, sizes, self.places, self.weights

    def forward(self, call) -> np.ndarray:
        out = np.full(self.gradient.shape, np.nan, np.float32)
        call(attention.attend, 4 * self.n_keys, *self.arguments(), out)
        return out

    def backward(self, call, own: bool) -> tuple[np.ndarray, np.ndarray]:
        found = np.full(self.qkv.shape, np.nan, np.float32), np.full(self.past.shape, np.nan, np.float32)
        call(attention.attend_backward, 4 * self.n_keys, *self.arguments(), self.gradient, own, *found)
        return found

    def by_torch(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        qkv, past = tensor(self.qkv, dtype), tensor(self.past, dtype)
        rows = []
        for length, start, beginning in zip(self.lengths, self.starts, self.beginnings, strict=False):
            cells = qkv[start : start + length].unflatten(1, (-1, self.d)).transpose(0, 1)
            queries, keys, values = cells.split([self.n_heads, self.n_keys, self.n_keys])
            keys, values = (torch.cat([past[k, beginning], x], 1) for k, x in enumerate((keys, values)))
            mask = torch.ones(length, self.s + length, dtype=torch.bool).tril(self.s)
            out = torch.nn.functional.scaled_dot_product_attention(
                queries[None], keys[None], values[None], mask, scale=1.0, enable_gqa=True
            )
            rows.append(out[0].transpose(0, 1).flatten(1))
        out = torch.cat(rows)
        return out, *torch.autograd.grad(out, (qkv, past), torch.from_numpy(self.gradient).to(dtype))


def at_once(kernel, n, *arguments):
    kernel(0, n, *arguments)


def in_parts(kernel, n, *arguments):
    for start in (3, 0, 1):
        kernel(start, {0: 1, 1: 3, 3: n}[start], *arguments)


@pytest.mark.parametrize("s", [0, 7, 8])
@pytest.mark.parametrize("n_heads, n_keys", [(2, 2), (6, 2)])
def test_attention_and_its_gradient_are_those_of_torch(s, n_heads, n_keys):
    attention = Attention(s, n_heads, n_keys)
    theirs, exact = map(attention.by_torch, PRECISIONS)
    out = attention.forward(at_once)
    assert_all_as_accurate((out, *attention.backward(at_once, own=True)), theirs, exact)
    assert_as_accurate(attention.backward(at_once, own=False)[1], theirs[2], exact[2])


def test_slices_of_attention_change_no_bit():
    one, other = Attention(7, 6, 2), Attention(7, 6, 2)
    assert np.array_equal(one.forward(at_once), other.forward(in_parts))
    pairs = zip(one.backward(at_once, True), other.backward(in_parts, True), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("n", [0, 1, 9, 64])
def test_every_number_is_worked_on_once_on_threads(n):
    torch.set_num_threads(3)
    try:
        done: list[int] = []
        on_threads(lambda start, stop: done.extend(range(start, stop)), n, 4)
    finally:
        torch.set_num_threads(1)
    assert sorted(done) == list(range(n))
