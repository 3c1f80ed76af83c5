"""What one decoding step computes, compiled for CPUs.

For one new token a row, attention reads every key and value once and does little with them, and each product reads all
its weights once: the speed is that of the memory. So whatever is read lies in the order in which it is read, in lines
of WIDTH numbers which the processor multiplies together: keys lie with WIDTH cells side by side, values with WIDTH
cells one below the other, weights with WIDTH columns side by side. A prompt's keys and values lie there once for all
rows behind it. Rows do not see one another, so slices of them may run on threads of their own.

All this stands in one file because numba's cache of a compiled function knows of changes in its own file only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16
"""Numbers multiplied together, a line of 64 bytes; two vectors of AVX2, one of AVX-512, four of NEON."""

TILE_ROWS = 6
"""Rows of a product computed together: their sums fill 12 of the 16 vector registers of AVX2."""

REORDERED_SUMS = {"reassoc", "contract", "nsz"}
MINUS_INFINITY = np.float32(-np.inf)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

# Cody and Waite's reduction of exp to a polynomial on [-log(2) / 2, log(2) / 2], with the coefficients of Cephes' expf.
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_5, EXP_4, EXP_3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
EXP_2, EXP_1, EXP_0 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
EXP_LEAST, EXP_MOST = np.float32(-87), np.float32(88)


class Cells(NamedTuple):
    """Keys and values of the prompts and of the tokens since, all but the last two float32.

    Attributes:
        cos: cosines of all positions, shape (positions, d).
        sin: sines, negative in the first half of d, shape (positions, d).
        prompt_keys: shape (layers, prompts, blocks, n_kv, d, WIDTH).
        prompt_values: shape (layers, prompts, blocks, n_kv, WIDTH, depth) with depth d rounded up to lines.
        keys: of the tokens since, shape (layers, n, blocks, n_kv, d, WIDTH).
        values: shape (layers, n, blocks, n_kv, WIDTH, depth).
        prompt_of: prompt of each row, shape (n,).
        padding: cells of padding before each prompt, shape (prompts,).
    """

    cos: np.ndarray
    sin: np.ndarray
    prompt_keys: np.ndarray
    prompt_values: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    prompt_of: np.ndarray
    padding: np.ndarray


class Weights(NamedTuple):
    """Weights of a small model, float32; matrices are packed, see :func:`packed`, and no bias is one of no columns.

    Attributes:
        embedding: shape (vocab_size, d_model).
        attention_norm: shape (layers, d_model).
        qkv: shape (layers, panels, d_model, WIDTH).
        qkv_bias: shape (layers, (n_heads + 2 n_kv) d).
        out: shape (layers, panels, n_heads d, WIDTH).
        out_bias: shape (layers, d_model).
        mlp_norm: shape (layers, d_model).
        gate_up: shape (layers, panels, d_model, WIDTH).
        gate_up_bias: shape (layers, 2 ff).
        down: shape (layers, panels, ff, WIDTH).
        down_bias: shape (layers, d_model).
        final_norm: shape (d_model,).
        head: shape (panels, d_model, WIDTH).
    """

    embedding: np.ndarray
    attention_norm: np.ndarray
    qkv: np.ndarray
    qkv_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    mlp_norm: np.ndarray
    gate_up: np.ndarray
    gate_up_bias: np.ndarray
    down: np.ndarray
    down_bias: np.ndarray
    final_norm: np.ndarray
    head: np.ndarray


class Workspace(NamedTuple):
    """What a step writes between its products, one row a token, rows rounded up to tiles and columns to lines."""

    hidden: np.ndarray
    normed: np.ndarray
    qkv: np.ndarray
    mixed: np.ndarray
    gate_up: np.ndarray
    gated: np.ndarray


def packed(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix (k, m) in panels of WIDTH columns, shape (ceil(m / WIDTH), k, WIDTH), filled up with zeros."""
    k, m = matrix.shape
    filled = np.zeros((k, rounded_up(m, WIDTH)), np.float32)
    filled[:, :m] = matrix
    return np.ascontiguousarray(filled.reshape(k, -1, WIDTH).swapaxes(0, 1))


def rounded_up(n: int, step: int) -> int:
    """The least multiple of the step that is no less than n."""
    return -(-n // step) * step


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def decode_step(start, stop, ids, weights, cells, work, n_new, length, n_heads, scale, eps, logits):
    """Appends one token to each of the rows start to stop of a small model, and writes what comes next.

    Args:
        start: first row, a multiple of TILE_ROWS.
        stop: row behind the last one.
        ids: the tokens, shape (n,).
        weights: of type Weights.
        cells: of type Cells; the tokens' keys and values are stored there.
        work: of type Workspace.
        n_new: tokens since the prompt, the new one included.
        length: cells of each prompt, padding included.
        n_heads: number of query heads.
        scale: of the attention's scores.
        eps: of the norms.
        logits: shape (n rounded up to tiles, vocab_size rounded up to lines).
    """
    d_model = weights.embedding.shape[1]
    for r in range(start, stop):
        work.hidden[r, :d_model] = weights.embedding[ids[r]]
    for layer in range(len(weights.qkv)):
        rms_norm(start, stop, work.hidden, weights.attention_norm[layer], eps, work.normed)
        _write_products(start, stop, work.normed, weights.qkv[layer], weights.qkv_bias[layer], work.qkv)
        attend(start, stop, layer, work.qkv, cells, n_new, length, n_heads, scale, work.mixed)
        _add_bias(start, stop, weights.out_bias[layer], work.hidden)
        add_products(start, stop, work.mixed, weights.out[layer], work.hidden)
        rms_norm(start, stop, work.hidden, weights.mlp_norm[layer], eps, work.normed)
        _write_products(start, stop, work.normed, weights.gate_up[layer], weights.gate_up_bias[layer], work.gate_up)
        _gate(start, stop, work.gate_up, weights.down.shape[2], work.gated)
        _add_bias(start, stop, weights.down_bias[layer], work.hidden)
        add_products(start, stop, work.gated, weights.down[layer], work.hidden)
    rms_norm(start, stop, work.hidden, weights.final_norm, eps, work.normed)
    _write_products(start, stop, work.normed, weights.head, weights.final_norm[:0], logits)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def rms_norm(start, stop, x, weight, eps, out):
    """Writes ``x / sqrt(mean(x^2) + eps) * weight`` of rows start to stop (Zhang and Sennrich 2019, section 4).

    Args:
        start: first row.
        stop: row behind the last one.
        x: shape (n, d or more).
        weight: shape (d,).
        eps: of type float32, like everything here.
        out: shape (n, d or more).
    """
    d = len(weight)
    for r in range(start, stop):
        total = ZERO
        for i in range(d):
            total += x[r, i] * x[r, i]
        factor = ONE / np.sqrt(total / np.float32(d) + eps)
        for i in range(d):
            out[r, i] = x[r, i] * factor * weight[i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
def attend(start, stop, layer, qkv, cells, n_new, length, n_heads, scale, out):
    """Rotates the new queries and keys, stores keys and values, and writes the mean of the values each row sees.

    Args:
        start: first row.
        stop: row behind the last one.
        layer: whose cells.
        qkv: projections of the new token, queries, keys, values, shape (n, (n_heads + 2 n_kv) d or more).
        cells: of type Cells.
        n_new: tokens since the prompt, the new one included.
        length: cells of each prompt, padding included.
        n_heads: number of query heads; each n_heads / n_kv of them share a head of keys and values.
        scale: scores are multiplied by it.
        out: shape (n, n_heads d or more).
    """
    prompt_keys, prompt_values = cells.prompt_keys[layer], cells.prompt_values[layer]
    keys, values = cells.keys[layer], cells.values[layer]
    prompt_blocks, blocks, d, depth = prompt_keys.shape[1], (n_new + WIDTH - 1) // WIDTH, keys.shape[3], values.shape[4]
    first = prompt_blocks * WIDTH
    queries, mixed = np.empty((n_heads, d), np.float32), np.empty((n_heads, depth), np.float32)
    scores = np.empty((n_heads, first + blocks * WIDTH), np.float32)
    for r in range(start, stop):
        prompt = cells.prompt_of[r]
        padding = cells.padding[prompt]
        position = length - padding + n_new - 1
        cos, sin = cells.cos[position], cells.sin[position]
        _append(qkv[r], cos, sin, n_new - 1, n_heads, keys[r], values[r])
        for h in range(n_heads):
            _rotate(qkv[r, h * d : (h + 1) * d], cos, sin, queries[h])
            for i in range(d):
                queries[h, i] *= scale
        scores[:] = ZERO
        _score(queries, prompt_keys[prompt], prompt_blocks, scores, 0)
        _score(queries, keys[r], blocks, scores, first)
        mixed[:] = ZERO
        for h in range(n_heads):
            scores[h, :padding] = MINUS_INFINITY
            scores[h, length:first] = MINUS_INFINITY
            scores[h, first + n_new :] = MINUS_INFINITY
            _softmax(scores[h])
        _mix(scores, 0, prompt_values[prompt], length, mixed)
        _mix(scores, first, values[r], n_new, mixed)
        for h in range(n_heads):
            for i in range(d):
                out[r, h * d + i] = mixed[h, i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=REORDERED_SUMS)
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
            at = r * out_width + p * WIDTH
            _add_tile(flat_x, r * x_width, x_width, flat_panels, panel, k, flat_out, at, out_width, ahead, stride)
            ahead += k * stride


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _write_products(start, stop, x, panels, bias, out):
    """Writes ``x @ matrix + bias``, see :func:`add_products`; a bias of no columns is none."""
    for r in range(start, rounded_tiles(start, stop)):
        out[r] = ZERO
        for i in range(len(bias)):
            out[r, i] = bias[i]
    add_products(start, stop, x, panels, out)


@njit(error_model="numpy")
def rounded_tiles(start, stop):
    """The row behind the last one of the tiles in which start to stop lie."""
    return start + (stop - start + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _add_bias(start, stop, bias, out):
    for r in range(start, stop):
        for i in range(len(bias)):
            out[r, i] += bias[i]


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _gate(start, stop, gate_up, ff, out):
    """Writes ``silu(gate) * up``; both stand in gate_up, shape (n, 2 ff or more)."""
    for r in range(start, stop):
        for i in range(ff):
            gate = gate_up[r, i]
            out[r, i] = gate / (ONE + exp(-gate)) * gate_up[r, ff + i]


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _append(qkv, cos, sin, cell, n_heads, keys, values):
    """Stores the key, rotated, and the value of a row's new token in this cell of the row's blocks."""
    n_kv, d = keys.shape[1], keys.shape[2]
    block, lane = cell // WIDTH, cell % WIDTH
    rotated = np.empty(d, np.float32)
    for g in range(n_kv):
        key, value = (n_heads + g) * d, (n_heads + n_kv + g) * d
        _rotate(qkv[key : key + d], cos, sin, rotated)
        for i in range(d):
            keys[block, g, i, lane] = rotated[i]
            values[block, g, lane, i] = qkv[value + i]


@njit(inline="always")
def _rotate(x, cos, sin, out):
    """Rotates pairs (i, i + d / 2) of x, shape (d,) (Su et al. 2021, arXiv 2104.09864, section 3.4.2)."""
    half = len(x) // 2
    for i in range(half):
        first, second = x[i], x[i + half]
        out[i] = first * cos[i] + second * sin[i]
        out[i + half] = second * cos[i + half] + first * sin[i + half]


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _score(queries, keys, n_blocks, scores, first):
    """Adds the products of the queries (n_heads, d) with keys (blocks, n_kv, d, WIDTH) to scores[:, first:]."""
    n_heads, d = queries.shape
    n_kv, width = keys.shape[1], scores.shape[1]
    group = n_heads // n_kv
    flat_queries, flat_keys, flat_scores = queries.reshape(-1), keys.reshape(-1), scores.reshape(-1)
    for b in range(n_blocks):
        for g in range(n_kv):
            key = (b * n_kv + g) * d * WIDTH
            for h in range(g * group, (g + 1) * group):
                at = h * width + first + b * WIDTH
                _add_lines(flat_queries, h * d, flat_keys, key, WIDTH, d, flat_scores, at)


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _mix(weights, first, values, n, mixed):
    """Adds n cells of values (blocks, n_kv, WIDTH, depth), times weights[:, first:], to mixed (n_heads, depth)."""
    n_heads, depth = mixed.shape
    n_kv, width = values.shape[1], weights.shape[1]
    group = n_heads // n_kv
    flat_weights, flat_values, flat_mixed = weights.reshape(-1), values.reshape(-1), mixed.reshape(-1)
    for cell in range(0, n, WIDTH):
        for g in range(n_kv):
            value = (cell * n_kv + g * WIDTH) * depth
            for h in range(g * group, (g + 1) * group):
                for i in range(0, depth, WIDTH):
                    weight, filled = h * width + first + cell, min(WIDTH, n - cell)
                    _add_lines(flat_weights, weight, flat_values, value + i, depth, filled, flat_mixed, h * depth + i)


@njit(error_model="numpy", fastmath=REORDERED_SUMS)
def _softmax(x):
    """Replaces scores by their softmax; -inf becomes an exact zero."""
    top, total = largest(x), ZERO
    for i in range(len(x)):
        x[i] = exp(x[i] - top)
        total += x[i]
    factor = ONE / total
    for i in range(len(x)):
        x[i] *= factor


@njit(error_model="numpy", fastmath={"nnan", "nsz"})
def largest(x):
    """The largest number; without a thought for NaN this takes eight at a time."""
    top = MINUS_INFINITY
    for i in range(len(x)):
        top = max(top, x[i])
    return top


@njit(inline="always")
def exp(x):
    """The exponential function to float32's rounding, zero below e^-87; unlike numpy's it takes eight at a time."""
    y = min(max(x, EXP_LEAST), EXP_MOST)
    k = np.floor(y * LOG2_E + HALF)
    f = y - k * LN2_HIGH - k * LN2_LOW
    series = ((((EXP_5 * f + EXP_4) * f + EXP_3) * f + EXP_2) * f + EXP_1) * f + EXP_0
    power = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * f * f + f + ONE) * power if x >= EXP_LEAST else ZERO


@intrinsic
def _add_lines(typing_context, weights, weight, lines, line, stride, n, out, at):
    """``out[at + j] += sum of weights[weight + i] lines[line + i stride + j]`` over i < n, for all j < WIDTH at once.

    Numba has no vectors, and what LLVM makes of loops over arrays stores and loads the sums at every turn.
    """

    def generate(context, builder, signature, arguments):
        data = _pointers(context, builder, signature, arguments, {0: 1, 2: 3, 6: 7})
        total = cgutils.alloca_once_value(builder, _load(builder, data[6]))
        with cgutils.for_range(builder, arguments[5]) as loop:
            vector = _load(builder, builder.gep(data[2], [builder.mul(loop.index, arguments[4])]))
            _add_times(builder, total, builder.gep(data[0], [loop.index]), vector)
        _store(builder, builder.load(total), data[6])
        return context.get_dummy_value()

    index = types.intp
    return types.void(weights, index, lines, index, index, index, out, index), generate


@intrinsic
def _add_tile(typing_context, x, row, x_width, panels, panel, k, out, at, out_width, ahead, stride):
    """``out += x @ panel`` for TILE_ROWS rows of x from x[row] on and a panel (k, WIDTH) from panels[panel] on.

    Beside each of the panel's lines, panels[ahead] is fetched, and ahead moved on by the stride; this may lie behind
    the end of the panels.
    """

    def generate(context, builder, signature, arguments):
        data = _pointers(context, builder, signature, arguments, {0: 1, 3: 4, 6: 7})
        offsets = [ir.Constant(arguments[1].type, r) for r in range(TILE_ROWS)]
        rows = [builder.gep(data[0], [builder.mul(arguments[2], r)]) for r in offsets]
        outs = [builder.gep(data[6], [builder.mul(arguments[8], r)]) for r in offsets]
        totals = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in outs]
        far = builder.gep(data[3], [builder.sub(arguments[9], arguments[4])])
        with cgutils.for_range(builder, arguments[5]) as loop:
            line = builder.mul(loop.index, ir.Constant(loop.index.type, WIDTH))
            vector = _load(builder, builder.gep(data[3], [line]))
            _prefetch(builder, builder.gep(far, [builder.mul(loop.index, arguments[10])]))
            for place, total in zip(rows, totals, strict=True):
                _add_times(builder, total, builder.gep(place, [loop.index]), vector)
        for place, total in zip(outs, totals, strict=True):
            _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, panels, index, index, out, index, index, index, index), generate


VECTOR = ir.VectorType(ir.FloatType(), WIDTH)


def _pointers(context, builder, signature, arguments, offsets):
    """Pointers to the data of arrays among the arguments, each behind the offset that stands at the place named."""
    arrays = {k: context.make_array(signature.args[k])(context, builder, arguments[k]) for k in offsets}
    return {k: builder.gep(array.data, [arguments[offsets[k]]]) for k, array in arrays.items()}


def _load(builder, pointer):
    vector = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    vector.align = 4
    return vector


def _store(builder, vector, pointer):
    builder.store(vector, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def _prefetch(builder, pointer):
    """Asks for a line to be brought into the caches; an address that is none does no harm."""
    number = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_all_caches, data = number(0), number(3), number(1)
    builder.call(fetch, [pointer, to_read, into_all_caches, data])


def _add_times(builder, total, number, vector):
    """Adds a vector, times the number behind a pointer, to a total."""
    undefined, lanes = ir.Constant(VECTOR, ir.Undefined), ir.VectorType(ir.IntType(32), WIDTH)
    first = builder.insert_element(undefined, builder.load(number), ir.Constant(ir.IntType(32), 0))
    everywhere = builder.shuffle_vector(first, undefined, ir.Constant(lanes, [0] * WIDTH))
    product = builder.fmul(everywhere, vector, flags=["contract"])
    builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
