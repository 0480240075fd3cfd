"""The weight gradient of a convolution, and its bias gradient.

A task owns some input and some output channels at all taps: its sums stay in the L2 cache while it walks over
the pixels, slab by slab. Where that gives too few tasks, they share the pixels too, and partial sums are
joined in order; their number follows from the shapes, never from the threads.
"""

from functools import cache

import numpy as np
from numba import types

from .jit import FLOATS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded
from .microkernel import correlation
from .simd import vload, vsplat, vstore

_WIDE = 4 if LANES == 16 else 2
#: Output channels that one pass of the microkernel covers.
PANEL = _WIDE * LANES
_SUMS = 80_000  # numbers of a task: they stay in the L2 cache
_PIXELS = 96  # of one slab: its gradient rows stay in the L1 cache
_TASKS = 16  # at least, so that all threads have work

if _WIDE == 4:
    _by1, _by2 = correlation(1, (16, 9, 6, 3, 1)), correlation(2, (12, 8, 4, 2, 1))
    _by3, _by4 = correlation(3, (8, 4, 2, 1)), correlation(4, (6, 4, 2, 1))
else:
    _by1, _by2 = correlation(1, (12, 9, 6, 3, 1)), correlation(2, (6, 4, 2, 1))
    _by3 = _by4 = _by2  # never called: a block is at most two vectors wide


@serial
def _slab(F, x, x_step, x_row, g, g_step, g_row, height, width, dw, dw_row, length, outs):
    """All input channels by `outs` (whole vectors) of one slab of pixels."""
    o = 0
    while o < outs:
        if _WIDE == 4 and outs - o >= 4 * LANES:
            _by4(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += 4 * LANES
        elif _WIDE == 4 and outs - o == 3 * LANES:
            _by3(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += 3 * LANES
        elif outs - o >= 2 * LANES:
            _by2(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += 2 * LANES
        else:
            _by1(F, x, x_step, x_row, g + o, g_step, g_row, height, width, dw + o, dw_row, length)
            o += LANES


@cache
def slab_address() -> int:
    """Where `_slab` stands, for the kernels that invoke it."""
    return address(_slab, (FLOATS, *[types.int64] * 12))


@serial
def _gather(F, source, step, row, height, width, size, target):
    """Rows of pixels, `size` numbers (whole vectors) each, one after the other."""
    for y in range(height):
        for k in range(0, size, LANES):
            at, to = source + y * row + k, target + y * width * size + k
            for c in range(width):
                vstore(F, to + c * size, vload(F, at + c * step))


@serial
def clear_sums(F, start, size):
    """Zero `size` numbers, whole vectors."""
    zero = vsplat(np.float32(0))
    for at in range(start, start + size, LANES):
        vstore(F, at, zero)


@serial
def join_sums(F, source, partials, size, count, target):
    """`count` numbers at `target`: the sum, in order, of `partials` copies that lie `size` apart."""
    whole = count // LANES * LANES
    for o in range(0, whole, LANES):
        total = vload(F, source + o)
        for q in range(1, partials):
            total = total + vload(F, source + q * size + o)
        vstore(F, target + o, total)
    for o in range(whole, count):
        single = F[source + o]
        for q in range(1, partials):
            single += F[source + q * size + o]
        F[target + o] = single


@parallel
def wgrad(F, I, p, s):
    """Gradient (tap, in, out) of the weights; `p` comes from `wgrad_call`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, taps, tap_count, length, outs, outs_padded = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15],
    )  # fmt: skip
    scratch, dw, dw_row, rows, partials, ins, deep, workers, room = (
        p[16], p[17], p[18], p[19], p[20], p[21], p[22], p[23], p[24],
    )  # fmt: skip
    size = tap_count * length * outs_padded
    slabs_each = (height + rows - 1) // rows
    slabs = n * slabs_each
    out_blocks = (outs_padded + deep - 1) // deep
    tasks = partials * ((length + ins - 1) // ins) * out_blocks
    copies = scratch + workers * room
    for worker in prange(workers):
        sums = scratch + worker * room
        own = sums + tap_count * ins * deep
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            o, rest = task % out_blocks * deep, task // out_blocks
            q, i = rest % partials, rest // partials * ins
            high, wide = min(ins, length - i), min(deep, outs_padded - o)
            clear_sums(F, sums, tap_count * high * wide)
            for slab in range(q * slabs // partials, (q + 1) * slabs // partials):
                image, y = slab // slabs_each, (slab % slabs_each) * rows
                used = min(rows, height - y)
                at, step, row = g + image * g_image + y * g_row + o, g_step, g_row
                if out_blocks > 1:
                    # Far apart, the pixels would share a few sets of the first-level cache.
                    _gather(F, at, step, row, used, width, wide, own)
                    at, step, row = own, wide, width * wide
                for t in range(tap_count):
                    invoke(p[25], (
                        F, x + image * x_image + y * x_row + I[taps + t] + i, x_step, x_row,
                        at, step, row, used, width, sums + t * high * wide, wide, high, wide,
                    ))  # fmt: skip
            for t in range(tap_count):
                for c in range(high):
                    row, source = t * length + i + c, sums + (t * high + c) * wide
                    if partials == 1:
                        join_sums(F, source, 1, 0, min(wide, outs - o), dw + row * dw_row + o)
                    else:
                        join_sums(F, source, 1, 0, wide, copies + q * size + row * outs_padded + o)
    if partials > 1:
        for row in prange(tap_count * length):
            join_sums(F, copies + row * outs_padded, partials, size, outs, dw + row * dw_row)


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


def shares(length: int, outs: int, sums: int) -> tuple[int, int]:
    """Input and output channels of a task, whole vectors in equal shares, at most about `sums` products.

    All outputs if they fit beside all inputs; else the panels that do, at least one; then the inputs.
    """
    most = max(PANEL, sums // length // PANEL * PANEL)
    deep = min(outs, most)
    return min(length, _even(length, max(LANES, sums // deep))), deep


def _even(count: int, most: int) -> int:
    """`count` in equal shares of whole vectors, none much above `most`."""
    return padded(-(-count // -(-count // most)))


def partials_of(blocks: int, most: int) -> int:
    """Copies of the sums: as many as make enough tasks of `blocks` blocks of channels, at most `most`."""
    return min(most, -(-_TASKS // blocks))


def _division(taps: int, length: int, g: Map) -> tuple[int, int, int, int]:
    """Rows of a slab, copies of the sums, input and output channels of a task."""
    n, height, *_ = _lines(g)
    rows, outs = _rows(g), padded(g.c)
    ins, deep = shares(length, outs, _SUMS // taps)
    partials = partials_of(-(-length // ins) * -(-outs // deep), n * -(-height // rows))
    return rows, partials, ins, deep


def _room(taps: int, length: int, g: Map) -> int:
    """Numbers of one thread's scratch memory: sums, and a slab of the gradient."""
    rows, _, ins, deep = _division(taps, length, g)
    return (taps * ins + rows * _lines(g)[2]) * deep


def wgrad_scratch(taps: int, length: int, g: Map, threads: int) -> int:
    """Numbers of scratch memory that `wgrad_call` needs."""
    partials = _division(taps, length, g)[1]
    copies = partials * taps * length * padded(g.c) if partials > 1 else 0
    return threads * _room(taps, length, g) + copies


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
    threads: int,
) -> Call:
    """One call of `wgrad`: the map `x` that went in, the gradient map `g` of what came out.

    Args:
        taps: int32 offset of each tap from an input pixel; length: numbers at each tap.
        stride: (vertical, horizontal).
        scratch: place of `wgrad_scratch` numbers; gradient: of the (tap, in, out) result, whose rows
            are `columns` numbers apart.
        threads: how many threads share the work.
    """
    n, height, width, g_step, g_row, g_image = _lines(g)
    _, x_step, x_row, x_image = x.place
    x_step, x_row = stride[1] * x_step, stride[0] * x_row
    if g.buffer.h == g.buffer.w == 1:
        x_step, x_row, x_image = x_image, 0, 0
    return call(
        (x.origin, x_step, x_row, x_image, g.origin, g_step, g_row, g_image,
         n, height, width, tables.add(taps), len(taps), length, g.c, padded(g.c), scratch, gradient, columns,
         *_division(len(taps), length, g), threads, _room(len(taps), length, g), slab_address())
    )  # fmt: skip


def bias_call(g: Map, scratch: int, target: int) -> Call:
    """One call of `bias_gradient`; scratch needs `bias_scratch(g)` numbers."""
    return call((*g.place, *g.shape, scratch, target, _bias_rows(g), padded(g.c)))


def _bias_rows(g: Map) -> int:
    return max(1, -(-g.buffer.n * g.buffer.h // 64))


def bias_scratch(g: Map) -> int:
    """Numbers of scratch memory that `bias_call` needs."""
    return 64 * padded(g.c)
