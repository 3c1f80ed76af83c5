"""What one decoding step computes, compiled for CPUs.

For one new token a row, attention reads every key and value once and does little with them, and each product reads all
its weights once: the speed is that of the memory. So whatever is read lies in the order in which it is read, in lines
of WIDTH numbers which the processor multiplies together: keys lie with WIDTH cells side by side, values with WIDTH
cells one below the other, weights with WIDTH columns side by side. A prompt's keys and values lie there once for all
rows behind it. Rows do not see one another, so slices of them may run on threads of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softprompt.kernels.cache import REORDERED_SUMS, inlined, kernel
from softprompt.kernels.elementwise import MINUS_INFINITY, ZERO, normalise, silu, softmax
from softprompt.kernels.tiles import WIDTH, add_lines, add_products, write_products


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


@kernel
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
        for i in range(d_model):
            work.hidden[r, i] = weights.embedding[ids[r], i]
    for layer in range(len(weights.qkv)):
        _rms_norm(start, stop, work.hidden, weights.attention_norm[layer], eps, work.normed)
        write_products(start, stop, work.normed, weights.qkv[layer], weights.qkv_bias[layer], work.qkv)
        _attend(start, stop, layer, work.qkv, cells, n_new, length, n_heads, scale, work.mixed)
        _add_bias(start, stop, weights.out_bias[layer], work.hidden)
        add_products(start, stop, work.mixed, weights.out[layer], work.hidden)
        _rms_norm(start, stop, work.hidden, weights.mlp_norm[layer], eps, work.normed)
        write_products(start, stop, work.normed, weights.gate_up[layer], weights.gate_up_bias[layer], work.gate_up)
        _gate(start, stop, work.gate_up, weights.down.shape[2], work.gated)
        _add_bias(start, stop, weights.down_bias[layer], work.hidden)
        add_products(start, stop, work.gated, weights.down[layer], work.hidden)
    _rms_norm(start, stop, work.hidden, weights.final_norm, eps, work.normed)
    write_products(start, stop, work.normed, weights.head, weights.final_norm[:0], logits)


@kernel
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
    _rms_norm(start, stop, x, weight, eps, out)


@inlined(fastmath=REORDERED_SUMS)
def _rms_norm(start, stop, x, weight, eps, out):
    for r in range(start, stop):
        normalise(r, x, weight, eps, out)


@kernel
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
    _attend(start, stop, layer, qkv, cells, n_new, length, n_heads, scale, out)


@inlined(fastmath=REORDERED_SUMS)
def _attend(start, stop, layer, qkv, cells, n_new, length, n_heads, scale, out):
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
        for h in range(n_heads):
            for j in range(scores.shape[1]):
                scores[h, j] = ZERO
        _score(queries, prompt_keys[prompt], prompt_blocks, scores, 0)
        _score(queries, keys[r], blocks, scores, first)
        for h in range(n_heads):
            for j in range(padding):
                scores[h, j] = MINUS_INFINITY
            for j in range(length, first):
                scores[h, j] = MINUS_INFINITY
            for j in range(first + n_new, scores.shape[1]):
                scores[h, j] = MINUS_INFINITY
            softmax(scores[h], scores.shape[1])
            for i in range(depth):
                mixed[h, i] = ZERO
        _mix(scores, 0, prompt_values[prompt], length, mixed)
        _mix(scores, first, values[r], n_new, mixed)
        for h in range(n_heads):
            for i in range(d):
                out[r, h * d + i] = mixed[h, i]


@inlined(fastmath=REORDERED_SUMS)
def _add_bias(start, stop, bias, out):
    for r in range(start, stop):
        for i in range(len(bias)):
            out[r, i] += bias[i]


@inlined(fastmath=REORDERED_SUMS)
def _gate(start, stop, gate_up, ff, out):
    """Writes ``silu(gate) * up``; both stand in gate_up, shape (n, 2 ff or more)."""
    for r in range(start, stop):
        for i in range(ff):
            out[r, i] = silu(gate_up[r, i]) * gate_up[r, ff + i]


@inlined(fastmath=REORDERED_SUMS)
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


@inlined(fastmath=REORDERED_SUMS)
def _rotate(x, cos, sin, out):
    """Rotates pairs (i, i + d / 2) of x, shape (d,) (Su et al. 2021, arXiv 2104.09864, section 3.4.2)."""
    half = len(x) // 2
    for i in range(half):
        first, second = x[i], x[i + half]
        out[i] = first * cos[i] + second * sin[i]
        out[i + half] = second * cos[i + half] + first * sin[i + half]


@inlined(fastmath=REORDERED_SUMS)
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
                add_lines(flat_queries, h * d, flat_keys, key, WIDTH, d, flat_scores, at)


@inlined(fastmath=REORDERED_SUMS)
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
                    add_lines(flat_weights, weight, flat_values, value + i, depth, filled, flat_mixed, h * depth + i)
