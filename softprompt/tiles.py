"""Products of small matrices inside compiled kernels, in vector instructions that do not depend on luck.

A compiler makes vector instructions of a loop only where it can prove that nothing that is read was written before.
Here they are spelt out in LLVM's own language: a tile of a product, four rows of sixteen numbers, stays in registers
while its sums go on (Goto and van de Geijn 2008, Anatomy of high-performance matrix multiplication, section 4).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
"""Numbers of a vector. Widths of products are multiples of it."""

FUSED = ("reassoc", "contract", "nsz")
VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _make_tile(rows: int, vectors: int) -> Any:
    """Compiles the product of so many rows, so many vectors wide; see :func:`multiply` for the arguments."""

    def tile(typing_context: Any, a: Any, a0: Any, a_row: Any, a_step: Any, b: Any, b0: Any, b_row: Any, out: Any,
             out0: Any, out_row: Any, count: Any, add: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            def data(k: int) -> Any:
                return context.make_array(signature.args[k])(context, builder, arguments[k]).data

            def at(base: Any, *offsets: Any) -> Any:
                place = offsets[0]
                for offset in offsets[1:]:
                    place = builder.add(place, offset)
                return builder.gep(base, [place])

            def vector(pointer: Any) -> Any:
                return builder.bitcast(pointer, VECTOR.as_pointer())

            _, a0, a_row, a_step, _, b0, b_row, _, out0, out_row, count, add = arguments
            a, b, out, whole = data(0), data(4), data(7), ir.IntType(64)
            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            sums = {cell: cgutils.alloca_once(builder, VECTOR) for cell in cells}
            places = {(r, v): vector(at(out, out0, builder.mul(out_row, whole(r)), whole(v * LANES))) for r, v in cells}
            for cell in cells:
                before = builder.load(places[cell], align=4)
                builder.store(builder.select(add, before, VECTOR(None)), sums[cell])
            with cgutils.for_range(builder, count, intp=whole) as loop:
                line = builder.add(b0, builder.mul(loop.index, b_row))
                right = [builder.load(vector(at(b, line, whole(v * LANES))), align=4) for v in range(vectors)]
                column = builder.add(a0, builder.mul(loop.index, a_step))
                for r in range(rows):
                    one = builder.load(at(a, column, builder.mul(a_row, whole(r))))
                    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), one, ir.IntType(32)(0))
                    left = builder.shuffle_vector(
                        first,
                        ir.Constant(VECTOR, ir.Undefined),
                        ir.Constant(ir.VectorType(ir.IntType(32), LANES), None),
                    )
                    for v in range(vectors):
                        product = builder.fmul(left, right[v], flags=FUSED)
                        builder.store(builder.fadd(builder.load(sums[r, v]), product, flags=FUSED), sums[r, v])
            for cell in cells:
                builder.store(builder.load(sums[cell]), places[cell], align=4)
            return context.get_dummy_value()

        n = types.int64
        return types.void(a, n, n, n, b, n, n, out, n, n, n, types.boolean), generate

    return intrinsic(tile)


_tile_4_2, _tile_4_1, _tile_1_2, _tile_1_1 = (_make_tile(rows, vectors) for rows in (4, 1) for vectors in (2, 1))


@njit(nogil=True, cache=True, error_model="numpy")
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
            _tile_4_2(a, left, a_row, a_step, b, b0 + j, b_row, out, here + j, out_row, count, add)
        if pairs < width:
            _tile_4_1(a, left, a_row, a_step, b, b0 + pairs, b_row, out, here + pairs, out_row, count, add)
    for i in range(rows - rows % 4, rows):
        left, here = a0 + i * a_row, out0 + i * out_row
        for j in range(0, pairs, 2 * LANES):
            _tile_1_2(a, left, a_row, a_step, b, b0 + j, b_row, out, here + j, out_row, count, add)
        if pairs < width:
            _tile_1_1(a, left, a_row, a_step, b, b0 + pairs, b_row, out, here + pairs, out_row, count, add)
