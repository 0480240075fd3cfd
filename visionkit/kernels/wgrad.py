"""The weight gradient of a convolution, and its bias gradient.

Small filters: every slab of pixels is read once and multiplied into a partial sum of the whole filter;
the number of partial sums follows from the data, never from the threads. Large filters: every task owns
some taps and output channels and walks over all pixels.
"""

from functools import cache

import numpy as np
from numba import types

from .jit import FLOATS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded
from .microkernel import correlation
from .simd import vload, vsplat, vstore

_WIDE = 4 if LANES == 16 else 2
_BLOCK = _WIDE * LANES
_PIXELS = 64  # of one slab: its input and gradient rows stay in the L1 cache
_SMALL = 1 << 18  # numbers of a filter that is summed in partial copies
_PARTIALS = 16

if _WIDE == 4:
    _by1, _by2 = correlation(1, (16, 9, 6, 3, 1)), correlation(2, (12, 8, 4, 2, 1))
    _by4 = correlation(4, (6, 4, 2, 1))
else:
    _by1, _by2 = correlation(1, (12, 9, 6, 3, 1)), correlation(2, (6, 4, 2, 1))
    _by4 = _by2  # never called: a block is at most two vectors wide


@serial
def _slab(F, x, x_step, x_row, g, g_step, g_row, height, width, dw, dw_row, length, outs):
    """All input channels by `outs` (whole vectors, at most a block) of one slab of pixels."""
    o = 0
    while o < outs:
        if _WIDE == 4 and outs - o >= 4 * LANES:
            _by4(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += 4 * LANES
        elif outs - o >= 2 * LANES:
            _by2(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += 2 * LANES
        else:
            _by1(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += LANES


@cache
def _slab_address() -> int:
    """Where `_slab` stands, for `wgrad` to invoke it."""
    return address(_slab, (FLOATS, *[types.int64] * 12))


@parallel
def wgrad(F, I, p, s):
    """Gradient (tap, in, out) of the weights; `p` comes from `wgrad_call`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, taps, tap_count, length, outs, outs_padded = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15],
    )  # fmt: skip
    scratch, dw, dw_row, rows, partials = p[16], p[17], p[18], p[19], p[20]
    size = tap_count * length * outs_padded
    zero = vsplat(np.float32(0))
    slabs_each = (height + rows - 1) // rows
    slabs = n * slabs_each
    if partials > 0:
        for q in prange(partials):
            total = scratch + q * size
            for at in range(0, size, LANES):
                vstore(F, total + at, zero)
            for slab in range(q * slabs // partials, (q + 1) * slabs // partials):
                image, y = slab // slabs_each, (slab % slabs_each) * rows
                for t in range(tap_count):
                    invoke(p[21], (
                        F, x + image * x_image + y * x_row + I[taps + t], x_step, x_row,
                        g + image * g_image + y * g_row, g_step, g_row, min(rows, height - y), width,
                        total + t * length * outs_padded, outs_padded, length, outs_padded,
                    ))  # fmt: skip
    else:
        blocks = (outs_padded + _BLOCK - 1) // _BLOCK
        for task in prange(tap_count * blocks):
            t, o = task // blocks, (task % blocks) * _BLOCK
            used = min(_BLOCK, outs_padded - o)
            total = scratch + (t * outs_padded + o) * length
            for i in range(length):
                for c in range(0, used, LANES):
                    vstore(F, total + i * used + c, zero)
            for slab in range(slabs):
                image, y = slab // slabs_each, (slab % slabs_each) * rows
                invoke(p[21], (
                    F, x + image * x_image + y * x_row + I[taps + t], x_step, x_row,
                    g + image * g_image + y * g_row + o, g_step, g_row, min(rows, height - y), width,
                    total, used, length, used,
                ))  # fmt: skip
    for i in prange(tap_count * length):
        if partials > 0:
            for o in range(outs):
                total = F[scratch + i * outs_padded + o]
                for q in range(1, partials):
                    total += F[scratch + q * size + i * outs_padded + o]
                F[dw + i * dw_row + o] = total
        else:
            t, c = i // length, i % length
            for o in range(outs):
                block = o // _BLOCK * _BLOCK
                used = min(_BLOCK, outs_padded - block)
                F[dw + i * dw_row + o] = F[
                    scratch + (t * outs_padded + block) * length + c * used + o - block
                ]


@parallel
def bias_gradient(F, I, p, s):
    """Sum of a gradient map over all pixels; partial sums by groups of rows, then in order."""
    g, g_step, g_row, g_image, n, height, width, channels = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7],
    )  # fmt: skip
    scratch, target, rows, wide = p[8], p[9], p[10], p[11]
    groups = (n * height + rows - 1) // rows
    for q in prange(groups):
        for c in range(0, wide, LANES):
            total = vsplat(np.float32(0))
            for line in range(q * rows, min((q + 1) * rows, n * height)):
                at = g + line // height * g_image + line % height * g_row + c
                for i in range(width):
                    total = total + vload(F, at + i * g_step)
            vstore(F, scratch + q * wide + c, total)
    for c in range(channels):
        total = 0.0
        for q in range(groups):
            total += F[scratch + q * wide + c]
        F[target + c] = total


def _partials(size: int, slabs: int) -> int:
    return 0 if size > _SMALL else min(slabs, _PARTIALS if size <= _SMALL // 4 else _PARTIALS // 2)


def _lines(x: Map) -> tuple[int, int, int, int, int, int]:
    """Pictures, rows and pixels a row, and the steps between pixels, rows and pictures.

    Pictures of a single pixel, as linear layers have them, count as one row.
    """
    n, h, w, _ = x.shape
    _, step, row, image = x.place
    return (1, 1, n, image, 0, 0) if h == w == 1 else (n, h, w, step, row, image)


def _rows(g: Map) -> int:
    _, height, width, *_ = _lines(g)
    return min(height, max(1, _PIXELS // width))


def wgrad_scratch(taps: int, length: int, g: Map) -> int:
    """Numbers of scratch memory that `wgrad_call` needs."""
    size = taps * length * padded(g.c)
    n, height, *_ = _lines(g)
    return size * max(1, _partials(size, n * -(-height // _rows(g)))) + LANES


def wgrad_call(
    tables: Tables,
    x: Map,
    g: Map,
    *,
    taps: np.ndarray,
    length: int,
    stride: tuple[int, int],
    scratch: int,
    gradient: int,
    columns: int,
) -> Call:
    """One call of `wgrad`: the map `x` that went in, the gradient map `g` of what came out.

    Args:
        taps: int32 offset of each tap from an input pixel; length: numbers at each tap.
        stride: (vertical, horizontal).
        scratch: place of `wgrad_scratch` numbers; gradient: of the (tap, in, out) result, whose rows
            are `columns` numbers apart.
    """
    n, height, width, g_step, g_row, g_image = _lines(g)
    _, x_step, x_row, x_image = x.place
    x_step, x_row = stride[1] * x_step, stride[0] * x_row
    if g.buffer.h == g.buffer.w == 1:
        x_step, x_row, x_image = x_image, 0, 0
    outs, rows = padded(g.c), _rows(g)
    partials = _partials(len(taps) * length * outs, n * -(-height // rows))
    return call(
        (x.origin, x_step, x_row, x_image, g.origin, g_step, g_row, g_image,
         n, height, width, tables.add(taps), len(taps), length, g.c, outs, scratch, gradient, columns,
         rows, partials, _slab_address())
    )  # fmt: skip


def bias_call(g: Map, scratch: int, target: int) -> Call:
    """One call of `bias_gradient`; scratch needs `bias_scratch(g)` numbers."""
    return call((*g.place, *g.shape, scratch, target, _bias_rows(g), padded(g.c)))


def _bias_rows(g: Map) -> int:
    return max(1, -(-g.buffer.n * g.buffer.h // 64))


def bias_scratch(g: Map) -> int:
    """Numbers of scratch memory that `bias_call` needs."""
    return 64 * padded(g.c)
