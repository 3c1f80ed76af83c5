"""Products of small matrices inside kernels, written as vector instructions instead of left to the compiler.

A compiler makes vector instructions of a loop only where it can prove that nothing that is read was written before,
and even then loads and stores the sums in each iteration. Here the instructions are spelt out in LLVM's own language: a
tile of a product, a few rows of a few numbers side by side, stays in registers while its sums go on (Goto and van de
Geijn 2008, Anatomy of high-performance matrix multiplication, section 4). Each number is a sum in the order of its
terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from softprompt.kernels.cache import REORDERED_SUMS, inlined

LANES = 8
"""Widths of products of strided matrices are multiples of it."""

WIDTH = 16
"""Numbers multiplied together, a line of 64 bytes; two vectors of AVX2, one of AVX-512, four of NEON."""

TILE_ROWS = 6
"""Rows of a product with a packed matrix computed together: their sums fill 12 of the 16 vector registers of AVX2."""

ZERO = np.float32(0)


def packed(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix (k, m) in panels of WIDTH columns, shape (ceil(m / WIDTH), k, WIDTH), filled up with zeros."""
    k, m = matrix.shape
    filled = np.zeros((k, rounded_up(m, WIDTH)), np.float32)
    filled[:, :m] = matrix
    return np.ascontiguousarray(filled.reshape(k, -1, WIDTH).swapaxes(0, 1))


def rounded_up(n: Any, step: int) -> Any:
    """The least multiple of the step that is no less than n, an integer or an array of them."""
    return -(-n // step) * step


def _make_tile(rows: int, lanes: int, fetch: bool = False) -> Any:
    """Compiles the product of so many rows, so many numbers wide.

    Its arguments are those of :func:`multiply`, without the sizes but for the number of terms; and, for a tile that is
    to fetch, a place in ``b`` which is brought into the caches beside the first term, and how far it moves on with each
    term. It may lie behind the end.

    A tile is a function of its own, so that its sums have all registers. No name is seen outside the kernel's machine
    code, which so stays one piece.
    """

    def tile(typing_context: Any, a: Any, a0: Any, a_row: Any, a_step: Any, b: Any, b0: Any, b_row: Any, out: Any,
             out0: Any, out_row: Any, count: Any, add: Any, ahead: Any, stride: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            def data(k: int, offset: Any) -> Any:
                array = context.make_array(signature.args[k])(context, builder, arguments[k])
                return builder.gep(array.data, [offset])

            _, a0, *steps, _, b0, b_row, _, out0, out_row, count, add, ahead, stride = arguments
            right, far = (data(4, b0), b_row), (data(4, ahead), stride)
            values = [data(0, a0), *steps, *right, data(7, out0), out_row, count, add, *far]
            name = f"tile_{rows}_{lanes}_{'fetch' if fetch else 'plain'}"
            function = builder.module.globals.get(name)
            if function is None:
                kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
                function = ir.Function(builder.module, kind, name)
                function.linkage = "internal"
                function.attributes.add("noinline")
                _write_tile(function, rows, lanes, fetch)
            builder.call(function, values)
            return context.get_dummy_value()

        n = types.intp
        return types.void(a, n, n, n, b, n, n, out, n, n, n, types.boolean, n, n), generate

    return intrinsic(tile)


def _write_tile(function: ir.Function, rows: int, lanes: int, fetch: bool) -> None:
    """Writes the instructions of a tile; the function takes its arguments, with arrays and places in them as one."""
    builder = ir.IRBuilder(function.append_basic_block())
    line = ir.VectorType(ir.FloatType(), lanes)
    undefined, everywhere = ir.Constant(line, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    a, a_row, a_step, b, b_row, out, out_row, count, add, ahead, stride = function.args

    def times(number: int, step: Any) -> Any:
        return builder.mul(step, ir.Constant(step.type, number))

    def vector(pointer: Any) -> Any:
        return builder.bitcast(pointer, line.as_pointer())

    left = [builder.gep(a, [times(r, a_row)]) for r in range(rows)]
    places = [vector(builder.gep(out, [times(r, out_row)])) for r in range(rows)]
    before = [builder.select(add, builder.load(place, align=4), line(None)) for place in places]
    sums = [cgutils.alloca_once_value(builder, value) for value in before]
    with cgutils.for_range(builder, count) as loop:
        terms = builder.load(vector(builder.gep(b, [builder.mul(loop.index, b_row)])), align=4)
        if fetch:
            _prefetch(builder, builder.gep(ahead, [builder.mul(loop.index, stride)]))
        for place, total in zip(left, sums, strict=True):
            number = builder.load(builder.gep(place, [builder.mul(loop.index, a_step)]))
            first = builder.insert_element(undefined, number, ir.IntType(32)(0))
            factor = builder.shuffle_vector(first, undefined, everywhere)
            product = builder.fmul(factor, terms, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
    for place, total in zip(places, sums, strict=True):
        builder.store(builder.load(total), place, align=4)
    builder.ret_void()


def _prefetch(builder: ir.IRBuilder, pointer: Any) -> None:
    """Asks for a line to be brought into the caches; an address that is none does no harm."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_all_caches, data = number(0), number(3), number(1)
    builder.call(fetch, [pointer, to_read, into_all_caches, data])


_tile_4_16, _tile_4_8, _tile_1_16, _tile_1_8 = (_make_tile(r, lanes) for r in (4, 1) for lanes in (2 * LANES, LANES))
_panel_tile, _line_tile = _make_tile(TILE_ROWS, WIDTH, fetch=True), _make_tile(1, WIDTH)


@inlined(fastmath=REORDERED_SUMS)
def multiply(a, a0, a_row, a_step, b, b0, b_row, out, out0, out_row, rows, count, width, add):
    """Writes, or adds to ``out``, the product of matrices that are parts of contiguous arrays of float32.

    Args:
        a: holds the left matrix, (rows, count).
        a0: where its first number is, counted in numbers.
        a_row: from one row to the next.
        a_step: from one column to the next.
        b: holds the right matrix, (count, width), whose rows are contiguous.
        b0: where its first number is.
        b_row: from one row to the next.
        out: holds the product, (rows, width), whose rows are contiguous.
        out0: where its first number is.
        out_row: from one row to the next.
        rows: number of rows.
        count: number of terms.
        width: number of columns, a multiple of LANES.
        add: whether to add to what is there.
    """
    pairs = width - width % (2 * LANES)
    for i in range(0, rows - 3, 4):
        left, here = a0 + i * a_row, out0 + i * out_row
        for j in range(0, pairs, 2 * LANES):
            _tile_4_16(a, left, a_row, a_step, b, b0 + j, b_row, out, here + j, out_row, count, add, 0, 0)
        if pairs < width:
            _tile_4_8(a, left, a_row, a_step, b, b0 + pairs, b_row, out, here + pairs, out_row, count, add, 0, 0)
    for i in range(rows - rows % 4, rows):
        left, here = a0 + i * a_row, out0 + i * out_row
        for j in range(0, pairs, 2 * LANES):
            _tile_1_16(a, left, a_row, a_step, b, b0 + j, b_row, out, here + j, out_row, count, add, 0, 0)
        if pairs < width:
            _tile_1_8(a, left, a_row, a_step, b, b0 + pairs, b_row, out, here + pairs, out_row, count, add, 0, 0)


@inlined(fastmath=REORDERED_SUMS)
def add_lines(weights, weight, lines, line, stride, n, out, at):
    """``out[at + j] += sum of weights[weight + i] lines[line + i stride + j]`` over i < n, for j < WIDTH at once."""
    _line_tile(weights, weight, 0, 1, lines, line, stride, out, at, 0, n, True, 0, 0)


@inlined(fastmath=REORDERED_SUMS)
def add_products(start, stop, x, panels, out):
    """Adds ``x @ matrix`` of rows start to stop, and of those up to a whole tile, to out.

    Each panel of the matrix is read once and stays in the first cache while all rows are multiplied with it; meanwhile
    the next one is fetched, a part with each tile.

    Args:
        start: first row.
        stop: row behind the last one.
        x: shape (n rounded up to tiles, k or more).
        panels: the packed matrix, shape (panels, k, WIDTH).
        out: shape (n rounded up to tiles, panels WIDTH).
    """
    flat_x, flat_panels, flat_out = x.reshape(-1), panels.reshape(-1), out.reshape(-1)
    k, x_width, out_width = panels.shape[1], x.shape[1], out.shape[1]
    stride = max(1, WIDTH * TILE_ROWS // max(1, stop - start))
    for p in range(len(panels)):
        panel, ahead = p * k * WIDTH, (p + 1) * k * WIDTH
        for r in range(start, stop, TILE_ROWS):
            row, at = r * x_width, r * out_width + p * WIDTH
            _panel_tile(
                flat_x, row, x_width, 1, flat_panels, panel, WIDTH, flat_out, at, out_width, k, True, ahead, stride
            )
            ahead += k * stride


@inlined(fastmath=REORDERED_SUMS)
def write_products(start, stop, x, panels, bias, out):
    """Writes ``x @ matrix + bias``, see :func:`add_products`; a bias of no columns is none."""
    for r in range(start, start + (stop - start + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS):
        for i in range(out.shape[1]):
            out[r, i] = ZERO
        for i in range(len(bias)):
            out[r, i] = bias[i]
    add_products(start, stop, x, panels, out)
