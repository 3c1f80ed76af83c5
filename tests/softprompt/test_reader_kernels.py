from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from softprompt import attention_kernels, elementwise_kernels, reader_kernels
from softprompt.slices import on_threads
from softprompt.tiles import LANES, multiply

EPS = np.float32(1e-6)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def exact(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).double().requires_grad_()


def assert_close(found: np.ndarray, expected: torch.Tensor, atol: float = 2e-6) -> None:
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=atol, rtol=2e-6)


@njit
def exponentials(x):
    return np.array([elementwise_kernels.exp(number) for number in x])


def test_exponential_is_that_of_numpy_up_to_rounding():
    x = np.concatenate([np.linspace(-87, 87, 20001), random(1000) * 1e-3, [0]]).astype(np.float32)
    np.testing.assert_allclose(exponentials(x), np.exp(x.astype(np.float64)), rtol=1e-5)
    near = x[np.abs(x) < 1]
    np.testing.assert_allclose(exponentials(near), np.exp(near.astype(np.float64)), rtol=3e-7)
    assert np.isfinite(exponentials(np.array([-1e30, -1e3, 1e3, 1e30], np.float32))).all()


def test_norm_and_its_gradient_are_those_of_torch():
    x, weight, gradient, before = random(5, 24), random(24, seed=1), random(5, 24, seed=2), random(5, 24, seed=3)
    out, factors, total = np.empty_like(x), np.empty(5, np.float32), before.copy()
    reader_kernels.rms_norm(0, 5, x, weight, EPS, out, factors)
    reader_kernels.rms_norm_backward(0, 5, x, weight, factors, gradient, total)
    inputs = exact(x)
    expected = torch.rms_norm(inputs, (24,), torch.from_numpy(weight).double(), float(EPS))
    assert_close(out, expected)
    assert_close(total - before, torch.autograd.grad(expected, inputs, torch.from_numpy(gradient).double())[0])


def test_gated_unit_and_its_gradient_are_those_of_torch():
    gate_up, gradient = random(5, 48) * 5, random(5, 24, seed=1)
    out, told = np.empty_like(gradient), np.empty_like(gate_up)
    reader_kernels.swiglu(0, 5, gate_up, out)
    reader_kernels.swiglu_backward(0, 5, gate_up, gradient, told)
    inputs = exact(gate_up)
    expected = torch.nn.functional.silu(inputs[:, :24]) * inputs[:, 24:]
    assert_close(out, expected, atol=1e-5)
    found = torch.autograd.grad(expected, inputs, torch.from_numpy(gradient).double())[0]
    assert_close(told, found, atol=1e-5)


def test_rotation_turns_pairs_and_with_negated_sines_back():
    n_heads, n_keys, d, scale = 4, 2, 8, np.float32(0.5)
    qkv, positions, angles = random(5, 64), np.array([0, 3, 1, 1, 2]), random(4, 4, seed=1)
    turned = qkv.copy()
    reader_kernels.rotate(0, 5, turned, np.cos(angles), np.sin(angles), positions, n_heads, n_keys, scale)
    assert np.array_equal(turned[:, 48:], qkv[:, 48:])
    pairs = qkv.reshape(5, 8, 2, 4)[:, :6].astype(np.float64)
    expected = (pairs[:, :, 0] + 1j * pairs[:, :, 1]) * np.exp(1j * angles[positions].astype(np.float64))[:, None]
    expected[:, :n_heads] *= 0.5
    found = turned.reshape(5, 8, 2, d // 2)[:, :6]
    np.testing.assert_allclose(found[:, :, 0] + 1j * found[:, :, 1], expected, atol=2e-6)
    reader_kernels.rotate(0, 5, turned, np.cos(angles), -np.sin(angles), positions, n_heads, n_keys, np.float32(2))
    np.testing.assert_allclose(turned, qkv, atol=2e-6)


@njit
def product(a, a_row, a_step, b, out, rows, count, add):
    multiply(a, 0, a_row, a_step, b, 0, b.shape[1], out, 0, out.shape[1], rows, count, out.shape[1], add)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("width", [LANES, 2 * LANES, 5 * LANES])
def test_product_of_tiles_is_that_of_numpy(rows, count, width):
    a, b, before = random(rows, count), random(count, width, seed=1), random(rows, width, seed=2)
    across, out = np.ascontiguousarray(a.T), before.copy()
    product(a, count, 1, b, out, rows, count, True)
    np.testing.assert_allclose(out, before + a @ b, atol=1e-5)
    product(across, 1, rows, b, out, rows, count, False)
    np.testing.assert_allclose(out, a @ b, atol=1e-5)


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
        sizes = n_heads * self.lengths * attention_kernels.padded(self.lengths + s)
        self.places = np.cumsum([0, *sizes])
        self.weights = np.full(self.places[-1], np.nan, np.float32)

    def arguments(self) -> tuple:
        sizes = self.n_heads, self.n_keys, int(self.lengths.max())
        return self.qkv, self.past, self.starts, self.bounds, sizes, self.places, self.weights

    def forward(self, call) -> np.ndarray:
        out = np.full(self.gradient.shape, np.nan, np.float32)
        call(attention_kernels.attend, 4 * self.n_keys, *self.arguments(), out)
        return out

    def backward(self, call, own: bool) -> tuple[np.ndarray, np.ndarray]:
        found = np.full(self.qkv.shape, np.nan, np.float32), np.full(self.past.shape, np.nan, np.float32)
        call(attention_kernels.attend_backward, 4 * self.n_keys, *self.arguments(), self.gradient, own, *found)
        return found

    def expected(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        qkv, past = exact(self.qkv), exact(self.past)
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
        return out, *torch.autograd.grad(out, (qkv, past), torch.from_numpy(self.gradient).double())


def at_once(kernel, n, *arguments):
    kernel(0, n, *arguments)


def in_parts(kernel, n, *arguments):
    for start in (3, 0, 1):
        kernel(start, {0: 1, 1: 3, 3: n}[start], *arguments)


@pytest.mark.parametrize("s", [0, 7, 8])
@pytest.mark.parametrize("n_heads, n_keys", [(2, 2), (6, 2)])
def test_attention_and_its_gradient_are_those_of_torch(s, n_heads, n_keys):
    attention = Attention(s, n_heads, n_keys)
    out, qkv, past = attention.expected()
    assert_close(attention.forward(at_once), out, atol=1e-5)
    found = attention.backward(at_once, own=True)
    assert_close(found[0], qkv, atol=2e-5)
    assert_close(found[1], past, atol=2e-5)
    assert_close(attention.backward(at_once, own=False)[1], past, atol=2e-5)


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
