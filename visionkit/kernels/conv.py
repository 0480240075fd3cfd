"""Convolution as a register-blocked direct product, and its weights packed for it.

One kernel serves any kernel size, stride, dilation, padding, groups and batch through tables of pixel
and tap offsets. Bias, activation and a residual are added while the sums are still in registers.
"""

from functools import cache

import numpy as np
from numba import types

from .jit import FLOATS, INTEGERS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded
from .microkernel import convolution
from .simd import vexp, vload, vsplat, vstore

#: Vectors of output channels that one pass of the microkernel covers: 4 with 32 registers, 2 with 16.
WIDE = 4 if LANES == 16 else 2
#: Output channels of one block of packed weights.
BLOCK = WIDE * LANES
#: Numbers of the sum that are taken in one go, so that a block of weights stays in the L2 cache.
_DEPTH = 1200
#: Pixels of the highest tile of a whole block.
_TILE = 6

# Tile heights per width: as many accumulators as the registers hold beside weights and one pixel value.
if WIDE == 4:
    _by1, _by2 = convolution(1, (14, 7, 3, 1)), convolution(2, (12, 6, 3, 1))
    _by3, _by4 = convolution(3, (8, 4, 2, 1)), convolution(4, (_TILE, 5, 4, 3, 2, 1))
else:
    _by1, _by2 = convolution(1, (12, 6, 3, 1)), convolution(2, (_TILE, 5, 4, 3, 2, 1))
    _by3 = _by4 = _by2  # never called: a block is at most two vectors wide


@serial
def block(
    F, I, x, x_table, start, end, taps, tap_count, length, w, width, y, y_table, bias, first, last, slope,
    cap, mode, r, r_table,
):  # fmt: skip
    """One block of pixels by `width` output channels, over one stretch of the sum."""
    if width == 4 * LANES:
        _by4(F, I, x, x_table, start, end, taps, tap_count, length, w, y, y_table, bias, first, last, slope,
             cap, mode, r, r_table)  # fmt: skip
    elif width == 3 * LANES:
        _by3(F, I, x, x_table, start, end, taps, tap_count, length, w, y, y_table, bias, first, last, slope,
             cap, mode, r, r_table)  # fmt: skip
    elif width == 2 * LANES:
        _by2(F, I, x, x_table, start, end, taps, tap_count, length, w, y, y_table, bias, first, last, slope,
             cap, mode, r, r_table)  # fmt: skip
    else:
        _by1(F, I, x, x_table, start, end, taps, tap_count, length, w, y, y_table, bias, first, last, slope,
             cap, mode, r, r_table)  # fmt: skip


@cache
def block_address() -> int:
    """Where `block` stands, for the kernels that invoke it."""
    scalars = (*[types.int64] * 14, types.float32, types.float32, *[types.int64] * 3)
    return address(block, (FLOATS, INTEGERS, *scalars))


@serial
def _silu(F, I, y, y_table, start, end, channels, residual, r, r_table):
    """x sigmoid(x) of a finished block, with the residual added behind it if asked for."""
    one = vsplat(np.float32(1))
    zero = vsplat(np.float32(0))
    for p in range(start, end):
        at = y + I[y_table + p]
        for c in range(0, channels, LANES):
            v = vload(F, at + c)
            v = v / (one + vexp(zero - v))
            if residual:
                v = v + vload(F, r + I[r_table + p] + c)
            vstore(F, at + c, v)


@parallel
def conv(F, I, p, s):
    """Convolve one map into another; `p` and `s` come from `conv_call`."""
    x, x_table, y, y_table, w, bias, residual, r_table, mode = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8],
    )  # fmt: skip
    taps, tap_count, length, depth, pixels, chunk, outs, silu = (
        p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16],
    )  # fmt: skip
    slope, cap = s[0], s[1]
    fused = 0 if silu == 1 and mode == 2 else mode
    blocks = (outs + BLOCK - 1) // BLOCK
    chunks = (pixels + chunk - 1) // chunk
    for task in prange(chunks * blocks):
        part, c = task // blocks, (task % blocks) * BLOCK
        start, end = part * chunk, min(pixels, (part + 1) * chunk)
        width = min(BLOCK, outs - c)
        weights = w + c * tap_count * length
        y0, r0 = y + c, residual + c
        k = 0
        while k < length:
            size = min(depth, length - k)
            first = 1 if k == 0 and mode != 3 else 0
            last = 1 if k + size == length else 0
            w0 = weights + k * tap_count * width
            invoke(p[17], (F, I, x + k, x_table, start, end, taps, tap_count, size, w0, width, y0, y_table,
                           bias + c, first, last, slope, cap, fused, r0, r_table))  # fmt: skip
            k += size
        if silu == 1:
            _silu(F, I, y0, y_table, start, end, width, mode == 2, r0, r_table)


@parallel
def pack(F, I, W, p, s):
    """Weights `W` into the blocks that `conv` reads: (block, depth, tap, in, <= BLOCK out).

    ``p`` holds W's strides, so any memory order will do; merged taps take a kernel row as one tap.
    """
    start, s_kh, s_kw, s_i, s_o, kw, inputs = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    target, taps, length, depth, outs, outs_padded = p[7], p[8], p[9], p[10], p[11], p[12]
    blocks = (outs_padded + BLOCK - 1) // BLOCK
    for task in prange(blocks * taps):
        oc, t = (task // taps) * BLOCK, task % taps
        width = min(BLOCK, outs_padded - oc)
        used = min(width, outs - oc)
        for i in range(length):
            k = i // depth * depth
            size = min(depth, length - k)
            to = target + oc * taps * length + k * taps * width + (t * size + i - k) * width
            if length == inputs:
                at = start + t // kw * s_kh + t % kw * s_kw + i * s_i + oc * s_o
            else:
                at = start + t * s_kh + i // inputs * s_kw + i % inputs * s_i + oc * s_o
            whole = used // LANES * LANES if s_o == 1 else 0
            for o in range(0, whole, LANES):
                vstore(F, to + o, vload(W, at + o))
            for o in range(whole, used):
                F[to + o] = W[at + o * s_o]
            for o in range(used, width):
                F[to + o] = 0.0


@parallel
def pack_transposed(F, I, W, p, s):
    """Weights `W` into the blocks of the data gradient, whose sum runs over the output channels.

    ``I[chosen + t]`` is the tap (row * kw + column) that the gradient's tap t multiplies.
    """
    start, s_kh, s_kw, s_i, s_o, kw = p[0], p[1], p[2], p[3], p[4], p[5]
    target, chosen, taps, length, depth, outs, outs_padded = p[6], p[7], p[8], p[9], p[10], p[11], p[12]
    blocks = (outs_padded + BLOCK - 1) // BLOCK
    for task in prange(blocks * taps):
        oc, t = (task // taps) * BLOCK, task % taps
        width = min(BLOCK, outs_padded - oc)
        used = min(width, outs - oc)
        tap = I[chosen + t]
        at = start + tap // kw * s_kh + tap % kw * s_kw + oc * s_i
        for k in range(0, length, depth):
            size = min(depth, length - k)
            to = target + oc * taps * length + k * taps * width + t * size * width
            for i0 in range(0, size, LANES):
                for o in range(used):
                    for i in range(i0, min(i0 + LANES, size)):
                        F[to + i * width + o] = W[at + (k + i) * s_o + o * s_i]
            for i in range(size):
                for o in range(used, width):
                    F[to + i * width + o] = 0.0


@parallel
def pack_rows(F, I, W, p, s):
    """A (rows, columns) array `W` with any strides into rows of `padded(columns)` numbers."""
    start, s_row, s_column, target, rows, columns, wide = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    for row in prange(rows):
        for c in range(columns):
            F[target + row * wide + c] = W[start + row * s_row + c * s_column]
        for c in range(columns, wide):
            F[target + row * wide + c] = 0.0


def depth_of(taps: int, length: int) -> int:
    """How much of a sum of `taps * length` products one pass takes."""
    passes = -(-taps * length // _DEPTH)
    return -(-length // passes)


def packed_size(taps: int, length: int, outs: int) -> int:
    """Numbers that packed weights take."""
    return taps * length * padded(outs)


def _chunk(pixels: int, width: int, row: int, inputs: int, blocks: int, rows: int, threads: int) -> int:
    """Pixels of one task: an input slab that fits the L2 cache, and equal work for all threads."""
    budget = (448 if inputs >= 256 else 256) * 256  # numbers
    lines = max(1, budget // row - rows)
    chunks = -(-pixels // min(pixels, lines * width))
    if (chunks * blocks) % threads:
        chunks = -(-chunks // threads) * threads
    return -(-pixels // (chunks * _TILE)) * _TILE


def conv_call(
    tables: Tables,
    x: Map,
    y: Map,
    *,
    taps: np.ndarray,
    length: int,
    weights: int,
    bias: int,
    x_pixels: np.ndarray,
    y_pixels: np.ndarray,
    slope: float = 1.0,
    cap: float = np.inf,
    silu: bool = False,
    residual: Map | None = None,
    residual_mode: int = 0,
    residual_pixels: np.ndarray | None = None,
    threads: int = 1,
) -> Call:
    """One call of `conv`.

    Args:
        tables: takes the offset tables.
        x: what is read; y: what is written.
        taps: int32 offset of each tap from an input pixel.
        length: numbers summed at each tap (input channels, or a whole kernel row of them).
        weights: place in F of the packed weights; bias: of the `padded(y.c)` biases.
        x_pixels: int32 offset of each pixel's window from ``x.origin``; y_pixels: of its output.
        slope: negative slope of the activation (1 linear, 0 ReLU); cap: its upper bound.
        silu: x sigmoid(x) instead.
        residual: map added to the result; residual_mode 1 before, 2 after the activation.
        residual_pixels: the pixels of `residual`, if not all.
        threads: how many threads share the work.
    """
    shortcut = residual or y
    shortcut_pixels = y_pixels if residual is None else residual.offsets()
    if residual_pixels is not None:
        shortcut_pixels = residual_pixels
    outs = padded(y.c)
    row = x.buffer.row * max(1, x.buffer.h // max(1, y.buffer.h))
    chunk = _chunk(
        y_pixels.size, y.buffer.w, row, x.c, -(-outs // BLOCK), 1 + len(taps) // 3, threads
    )  # fmt: skip
    return call(
        (
            x.origin, tables.add(x_pixels), y.origin, tables.add(y_pixels), weights, bias,
            shortcut.origin, tables.add(shortcut_pixels), residual_mode if residual else 0,
            tables.add(taps), len(taps), length, depth_of(len(taps), length), y_pixels.size, chunk, outs,
            int(silu), block_address(),
        ),
        (slope, cap),
    )  # fmt: skip
