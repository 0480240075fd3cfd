"""Winograd's convolution whose filters are transformed where they are used: few tiles, many channels.

`winograd` reads filters in their form U, four times as large. Where weights change at every step and tiles
are few, making U and reading it takes longer than the products. Here a task owns some output channels and
goes over the input channels block by block: U of a block is made in the cache from filters packed for
`conv`, and the 36 products M are sums that stay there.
"""

import numpy as np

from .conv import BLOCK, block_address, depth_of
from .jit import LANES, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded
from .simd import vload, vstore
from .winograd import filter_column, input_tile, output_tile, possible

_INS = 32  # input channels of a block
_OUTS = 64  # output channels of a task
_TILES = 64  # of a task, at most: with U and V of a block, M stays in the L2 cache


@serial
def _filter(F, source, down, across, target, stride, small):
    """U = G g G^T of one vector of filters, whose rows lie `down` apart and whose columns `across`."""
    for j in range(3):
        at = source + j * across
        r0, r1, r2, r3, r4, r5 = filter_column(vload(F, at), vload(F, at + down), vload(F, at + 2 * down))
        to = small + j * LANES
        vstore(F, to, r0)
        vstore(F, to + 3 * LANES, r1)
        vstore(F, to + 6 * LANES, r2)
        vstore(F, to + 9 * LANES, r3)
        vstore(F, to + 12 * LANES, r4)
        vstore(F, to + 15 * LANES, r5)
    for i in range(6):
        at = small + i * 3 * LANES
        r0, r1, r2, r3, r4, r5 = filter_column(vload(F, at), vload(F, at + LANES), vload(F, at + 2 * LANES))
        to = target + 6 * i * stride
        vstore(F, to, r0)
        vstore(F, to + stride, r1)
        vstore(F, to + 2 * stride, r2)
        vstore(F, to + 3 * stride, r3)
        vstore(F, to + 4 * stride, r4)
        vstore(F, to + 5 * stride, r5)


@serial
def _filters(F, source, tap, high, wide, target, small):
    """U of `high` x `wide` filters, whose taps lie `tap` apart: a block of packed weights."""
    for k in range(0, high * wide, LANES):
        _filter(F, source + k, 3 * tap, tap, target + k, high * wide, small)


@parallel
def winograd_deep(F, I, p, s):
    """Convolve 3x3, stride 1, padding 1; `p` comes from `winograd_call`."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, ins, outs, w, bias, mode = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    r, r_step, r_row, r_image = p[16], p[17], p[18], p[19]
    tiles, workers, scratch, room, v_table, m_table, no_tap, zeros, depth = (
        p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27], p[28],
    )  # fmt: skip
    down, across = (height + 3) // 4, (width + 3) // 4
    count = n * down * across
    groups = (outs + _OUTS - 1) // _OUTS
    tasks = (count + tiles - 1) // tiles * groups
    linear, no_cap = np.float32(1), np.float32(np.inf)
    for worker in prange(workers):
        small = scratch + worker * room
        u0 = small + 36 * LANES
        v0 = u0 + 36 * _INS * _OUTS
        m0 = v0 + 36 * _INS * tiles
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            start, o = task // groups * tiles, task % groups * _OUTS
            end, wide = min(start + tiles, count), min(_OUTS, outs - o)
            i = 0
            while i < ins:
                part = i // depth * depth
                size = min(depth, ins - part)
                high = min(_INS, part + size - i)
                for t in range(start, end):
                    image, ty, tx = t // (down * across), t // across % down, t % across
                    input_tile(F, x + image * x_image + i, x_row, x_step, height, width, 4 * ty - 1,
                               4 * tx - 1, high, v0 + (t - start) * _INS, tiles * _INS, small)  # fmt: skip
                for c in range(0, wide, BLOCK):
                    step = min(BLOCK, wide - c)
                    at, tap = w + (o + c) * 9 * ins + (9 * part + i - part) * step, size * step
                    _filters(F, at, tap, high, step, u0, small)
                    for k in range(36):
                        m = m0 + k * tiles * _OUTS + c
                        invoke(p[29], (
                            F, I, v0 + k * tiles * _INS, v_table, 0, end - start, no_tap, 1, high,
                            u0 + k * high * step, step, m, m_table, zeros, 1, 1, 1.0, np.inf,
                            0 if i == 0 else 1, m, m_table,
                        ))  # fmt: skip
                i += high
            for t in range(start, end):
                image, ty, tx = t // (down * across), t // across % down, t % across
                output_tile(
                    F, m0 + (t - start) * _OUTS, tiles * _OUTS, wide, bias + o,
                    y + image * y_image + 4 * ty * y_row + 4 * tx * y_step + o, y_row, y_step,
                    min(4, height - 4 * ty), min(4, width - 4 * tx), linear, no_cap, 0, mode,
                    r + image * r_image + 4 * ty * r_row + 4 * tx * r_step + o, r_row, r_step, small,
                )  # fmt: skip


def pays(y: Map, ins: int) -> bool:
    """Whether this form beats the direct one for a result `y` from `ins` channels.

    A committed rule on shapes alone: 36 products of a tile, a half more for the transforms, and those of the
    filters, against 9 products of a pixel.
    """
    n, h, w, _ = y.shape
    return possible(y, ins) and 54 * _count(y) + 300 < n * h * w * 9


def _count(y: Map) -> int:
    return y.buffer.n * -(-y.buffer.h // 4) * -(-y.buffer.w // 4)


def _tiles(y: Map) -> int:
    """Tiles of one task, in equal shares."""
    count = _count(y)
    return -(-count // -(-count // _TILES))


def _room(y: Map) -> int:
    """Numbers of one thread's scratch memory."""
    return 36 * (LANES + _INS * _OUTS + _tiles(y) * (_INS + _OUTS))


def scratch_size(y: Map, threads: int) -> int:
    """Numbers of scratch memory that `winograd_call` needs."""
    return threads * _room(y)


def winograd_call(
    tables: Tables, x: Map, y: Map, *, weights: int, bias: int, zeros: int, scratch: int,
    residual: Map | None = None, threads: int,
) -> Call:  # fmt: skip
    """One call of `winograd_deep`.

    Args:
        tables: takes the offset tables.
        x, y: what is read and written.
        weights: place in F of the 9 taps as `conv` reads them.
        bias: place of the `padded(y.c)` biases; zeros: of BLOCK zeros.
        scratch: place of `scratch_size` numbers.
        residual: map added to the result.
        threads: how many threads share the work.
    """
    tiles, shortcut = _tiles(y), residual or y
    rows = np.arange(tiles, dtype=np.int32)
    return call(
        (
            *x.place, *y.place, *y.shape[:3], x.c, padded(y.c), weights, bias, int(residual is not None),
            *shortcut.place, tiles, threads, scratch, _room(y), tables.add(rows * _INS),
            tables.add(rows * _OUTS), tables.add(np.zeros(1, np.int32)), zeros, depth_of(9, x.c),
            block_address(),
        )
    )  # fmt: skip
