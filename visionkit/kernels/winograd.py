"""Winograd's convolution F(4x4, 3x3): 36 multiplications where the direct form takes 144.

Every 6x6 input tile d becomes V = B^T d B, every filter g becomes U = G g G^T; the 36 products M = sum of
U V over the input channels are matrix products on the direct convolution's microkernel; the 4x4 output
tile is A^T M A (Lavin and Gray 2016, points 0, 1, -1, 2, -2 and infinity).
"""

from functools import cache

import numpy as np
from numba import types

from .conv import BLOCK, block_address
from .jit import CALL, FLOATS, INTEGERS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded
from .simd import vexp, vfma, vload, vmax, vmin, vsplat, vstore

_TILES = (24, 96)  # in one round of products: at least, so that U is not read too often, and at most
_CHAIN = 256  # channels whose products are one sum: rounding grows with its length
_ROOM = 105_000  # numbers of V and M together, so that they stay in the L2 cache


@serial
def _spread(d0, d1, d2, d3, d4, d5):
    """B^T d for one column of a tile."""
    zero, two, four, five = vsplat(0.0), vsplat(2.0), vsplat(4.0), vsplat(5.0)
    a = vfma(four, d2, zero - d4)
    b = vfma(four, d1, zero - d3)
    c, d = d4 - d2, two * (d3 - d1)
    first = vfma(four, d0, d4) - five * d2
    last = vfma(four, d1, d5) - five * d3
    return first, zero - a - b, b - a, c + d, c - d, last


@serial
def _gather(m0, m1, m2, m3, m4, m5):
    """A^T m for one column of products."""
    two, four, eight = vsplat(2.0), vsplat(4.0), vsplat(8.0)
    a, b, c, d = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + a + c, vfma(two, d, b), vfma(four, c, a), vfma(eight, d, b) + m5


@serial
def _spread_rows(F, small, target, stride):
    """The second half of B^T d B, on the columns that `small` holds."""
    for i in range(6):
        at = small + i * 6 * LANES
        r0, r1, r2, r3, r4, r5 = _spread(
            vload(F, at), vload(F, at + LANES), vload(F, at + 2 * LANES),
            vload(F, at + 3 * LANES), vload(F, at + 4 * LANES), vload(F, at + 5 * LANES),
        )  # fmt: skip
        to = target + 6 * i * stride
        vstore(F, to, r0)
        vstore(F, to + stride, r1)
        vstore(F, to + 2 * stride, r2)
        vstore(F, to + 3 * stride, r3)
        vstore(F, to + 4 * stride, r4)
        vstore(F, to + 5 * stride, r5)


@serial
def input_tile(F, x, row, step, height, width, y0, x0, channels, target, stride, small):
    """V of the 6x6 tile whose corner is pixel (y0, x0), zero outside the picture at `x`.

    Its 36 numbers per channel lie `stride` apart from `target` on.
    """
    zero = vsplat(0.0)
    inner = y0 >= 0 and x0 >= 0 and y0 + 6 <= height and x0 + 6 <= width
    a, b = max(0, -y0), min(6, height - y0)
    for c in range(0, channels, LANES):
        for j in range(6):
            at = x + y0 * row + (x0 + j) * step + c
            if inner:
                r0, r1, r2, r3, r4, r5 = _spread(
                    vload(F, at), vload(F, at + row), vload(F, at + 2 * row),
                    vload(F, at + 3 * row), vload(F, at + 4 * row), vload(F, at + 5 * row),
                )  # fmt: skip
            else:
                end = b if 0 <= x0 + j < width else 0
                r0, r1, r2, r3, r4, r5 = _spread(
                    vload(F, at) if a == 0 and end > 0 else zero,
                    vload(F, at + row) if end > 1 else zero,
                    vload(F, at + 2 * row) if end > 2 else zero,
                    vload(F, at + 3 * row) if end > 3 else zero,
                    vload(F, at + 4 * row) if end > 4 else zero,
                    vload(F, at + 5 * row) if end > 5 else zero,
                )
            to = small + j * LANES
            vstore(F, to, r0)
            vstore(F, to + 6 * LANES, r1)
            vstore(F, to + 12 * LANES, r2)
            vstore(F, to + 18 * LANES, r3)
            vstore(F, to + 24 * LANES, r4)
            vstore(F, to + 30 * LANES, r5)
        _spread_rows(F, small, target + c, stride)


@serial
def output_tile(
    F, source, stride, channels, bias, y, row, step, high, wide, slope, cap, silu, mode, r, r_row, r_step,
    small,
):  # fmt: skip
    """A^T M A of one tile, with bias, residual and activation; only `high` x `wide` pixels are written."""
    one, zero, slopes, caps = vsplat(1.0), vsplat(0.0), vsplat(slope), vsplat(cap)
    for c in range(0, channels, LANES):
        for j in range(6):
            at = source + j * stride + c
            down = 6 * stride
            r0, r1, r2, r3 = _gather(
                vload(F, at), vload(F, at + down), vload(F, at + 2 * down),
                vload(F, at + 3 * down), vload(F, at + 4 * down), vload(F, at + 5 * down),
            )  # fmt: skip
            to = small + j * LANES
            vstore(F, to, r0)
            vstore(F, to + 6 * LANES, r1)
            vstore(F, to + 12 * LANES, r2)
            vstore(F, to + 18 * LANES, r3)
        b = vload(F, bias + c)
        for i in range(high):
            at = small + i * 6 * LANES
            r0, r1, r2, r3 = _gather(
                vload(F, at), vload(F, at + LANES), vload(F, at + 2 * LANES),
                vload(F, at + 3 * LANES), vload(F, at + 4 * LANES), vload(F, at + 5 * LANES),
            )  # fmt: skip
            vstore(F, at, r0)
            vstore(F, at + LANES, r1)
            vstore(F, at + 2 * LANES, r2)
            vstore(F, at + 3 * LANES, r3)
            for j in range(wide):
                v = vload(F, at + j * LANES) + b
                if mode == 1:
                    v = v + vload(F, r + i * r_row + j * r_step + c)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(caps, vmax(v * slopes, v))
                if mode == 2:
                    v = v + vload(F, r + i * r_row + j * r_step + c)
                vstore(F, y + i * row + j * step + c, v)


@serial
def _rounds(F, I, p, s, worker):
    """The rounds of one worker: transforms, products and transforms back of some tiles at a time."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, ins, outs, u, bias, mode = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    r, r_step, r_row, r_image, silu = p[16], p[17], p[18], p[19], p[20]
    tiles, workers, scratch, room, v_table, m_table, no_tap, zeros, chain = (
        p[21], p[22], p[23], p[24], p[25], p[26], p[27], p[28], p[29],
    )  # fmt: skip
    down, across = (height + 3) // 4, (width + 3) // 4
    count = n * down * across
    rounds = (count + tiles - 1) // tiles
    small = scratch + worker * room
    v0 = small + 36 * LANES
    m0 = v0 + 36 * tiles * ins
    for part in range(worker * rounds // workers, (worker + 1) * rounds // workers):
        start, end = part * tiles, min(count, (part + 1) * tiles)
        for t in range(start, end):
            image, ty, tx = t // (down * across), t // across % down, t % across
            input_tile(F, x + image * x_image, x_row, x_step, height, width, 4 * ty - 1, 4 * tx - 1, ins,
                       v0 + (t - start) * ins, tiles * ins, small)  # fmt: skip
        for k in range(36):
            for c in range(0, outs, BLOCK):
                size = min(BLOCK, outs - c)
                for i in range(0, ins, chain):
                    invoke(p[30], (
                        F, I, v0 + k * tiles * ins + i, v_table, 0, end - start, no_tap, 1,
                        min(chain, ins - i), u + (k * outs + c) * ins + i * size, size,
                        m0 + k * tiles * outs + c, m_table, zeros, 1, 1, 1.0, np.inf, 0 if i == 0 else 1,
                        m0 + k * tiles * outs + c, m_table,
                    ))  # fmt: skip
        for t in range(start, end):
            image, ty, tx = t // (down * across), t // across % down, t % across
            output_tile(
                F, m0 + (t - start) * outs, tiles * outs, outs, bias,
                y + image * y_image + 4 * ty * y_row + 4 * tx * y_step, y_row, y_step,
                min(4, height - 4 * ty), min(4, width - 4 * tx), s[0], s[1], silu, mode,
                r + image * r_image + 4 * ty * r_row + 4 * tx * r_step, r_row, r_step, small,
            )  # fmt: skip


@cache
def _rounds_address() -> int:
    return address(_rounds, (FLOATS, INTEGERS, *CALL, types.int64))


@parallel
def winograd(F, I, p, s):
    """Convolve 3x3, stride 1, padding 1; `p` and `s` come from `winograd_call`."""
    for worker in prange(p[22]):
        invoke(p[31], (F, I, p, s, worker))


@serial
def filter_column(g0, g1, g2):
    """G g for one column of a filter."""
    sixth, twelfth, quarter = vsplat(-1 / 6), vsplat(1 / 12), vsplat(0.25)
    a, b = (g0 + g2) * sixth, g1 * sixth
    c, d = vfma(vsplat(1 / 24), g0, g2 * vsplat(1 / 6)), g1 * twelfth
    return g0 * quarter, a + b, a - b, c + d, c - d, g2


@serial
def _pack(F, W, p, task):
    """U of one block of output channels and up to 16 input channels."""
    start, s_kh, s_kw, s_in, s_out, target, ins, outs, wide = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8],
    )  # fmt: skip
    groups = (ins + 15) // 16
    c0, i0 = (task // groups) * BLOCK, (task % groups) * 16
    size = min(BLOCK, wide - c0)
    local = np.zeros(27 * LANES, np.float32)
    for i in range(i0, min(i0 + 16, ins)):
        for c in range(c0, c0 + size, LANES):
            at = start + i * s_in + c * s_out
            for k in range(9):
                tap = at + k // 3 * s_kh + k % 3 * s_kw
                for lane in range(min(LANES, outs - c)):
                    local[k * LANES + lane] = W[tap + lane * s_out]
            for j in range(3):
                r0, r1, r2, r3, r4, r5 = filter_column(
                    vload(local, j * LANES), vload(local, (3 + j) * LANES), vload(local, (6 + j) * LANES)
                )
                to = (9 + j) * LANES
                vstore(local, to, r0)
                vstore(local, to + 3 * LANES, r1)
                vstore(local, to + 6 * LANES, r2)
                vstore(local, to + 9 * LANES, r3)
                vstore(local, to + 12 * LANES, r4)
                vstore(local, to + 15 * LANES, r5)
            to = target + c0 * ins + i * size + c - c0
            whole = ins * wide
            for a in range(6):
                at_row = (9 + 3 * a) * LANES
                r0, r1, r2, r3, r4, r5 = filter_column(
                    vload(local, at_row), vload(local, at_row + LANES), vload(local, at_row + 2 * LANES)
                )
                at = to + 6 * a * whole
                vstore(F, at, r0)
                vstore(F, at + whole, r1)
                vstore(F, at + 2 * whole, r2)
                vstore(F, at + 3 * whole, r3)
                vstore(F, at + 4 * whole, r4)
                vstore(F, at + 5 * whole, r5)


@cache
def _pack_address() -> int:
    return address(_pack, (FLOATS, FLOATS, CALL[0], types.int64))


@parallel
def pack_winograd(F, I, W, p, s):
    """Filters `W`, of any strides, as U: (36, block, in, <= BLOCK out); `p` comes from `pack_call`."""
    for task in prange(p[9]):
        invoke(p[10], (F, W, p, task))


def pack_call(strides: tuple[int, ...], target: int, ins: int, outs: int) -> Call:
    """One call of `pack_winograd`; `strides` are the filters' start and (KH, KW, in, out) steps."""
    wide = padded(outs)
    return call((*strides, target, ins, outs, wide, -(-wide // BLOCK) * -(-ins // 16), _pack_address()))


def possible(y: Map, ins: int) -> bool:
    """Whether the kernel can make `y` from `ins` channels, and has vectors to fill."""
    return ins % LANES == 0 and ins >= 16 and y.c >= 16


def pays(y: Map, ins: int, packs: bool) -> bool:
    """Whether F(4x4, 3x3) beats the direct form for a result `y` from `ins` channels.

    A committed rule on shapes alone, so that the bits of a training do not depend on a clock. In units of
    one multiply-add: the products, the transforms of tiles, and, where weights change at every step
    (`packs`), the transform of filters.
    """
    n, h, w, outs = y.shape
    if not possible(y, ins):
        return False
    outs = padded(outs)
    tiles = n * -(-h // 4) * -(-w // 4)
    rounds = -(-tiles // _most(ins, outs))
    products, filters = 36 * tiles * ins * outs, 36 * ins * outs
    transforms = 20 * LANES * tiles * (ins + outs)
    # A number of U costs more when it comes from memory, the first time, than from the cache, later on.
    reading = filters * (4 * LANES + LANES * rounds // 2)
    packing = filters * 6 * LANES if packs else 0
    return 1.1 * (products + transforms + reading + packing) < n * h * w * 9 * ins * outs


def _most(ins: int, outs: int) -> int:
    """Tiles whose V and M fit the cache."""
    return max(_TILES[0], min(_ROOM // (36 * (ins + outs)) // 6 * 6, _TILES[1]))


def filter_size(ins: int, outs: int) -> int:
    """Numbers that U takes."""
    return 36 * ins * padded(outs)


def _tiles(y: Map, ins: int, threads: int) -> int:
    """Tiles of one round: V and M fit the cache, and all threads have the same number of rounds."""
    count = y.buffer.n * -(-y.buffer.h // 4) * -(-y.buffer.w // 4)
    rounds = threads * -(-count // (threads * _most(ins, padded(y.c))))
    return -(-count // rounds)


def scratch_size(y: Map, ins: int, threads: int) -> int:
    """Numbers of scratch memory that `winograd_call` needs."""
    return threads * _room(_tiles(y, ins, threads), ins, padded(y.c))


def _room(tiles: int, ins: int, outs: int) -> int:
    return 36 * (LANES + tiles * (ins + outs)) + LANES


def winograd_call(
    tables: Tables, x: Map, y: Map, *, filters: int, bias: int, zeros: int, scratch: int,
    slope: float = 1.0, cap: float = np.inf, silu: bool = False, residual: Map | None = None,
    residual_mode: int = 0, threads: int = 1,
) -> Call:  # fmt: skip
    """One call of `winograd`.

    Args:
        tables: takes the offset tables.
        x, y: what is read and written.
        filters: place in F of U; bias: of the `padded(y.c)` biases; zeros: of BLOCK zeros.
        scratch: place of `scratch_size` numbers.
        slope, cap, silu: the activation, see `conv_call`.
        residual: map added to the result; residual_mode 1 before, 2 after the activation.
        threads: how many threads share the work.
    """
    outs, tiles = padded(y.c), _tiles(y, x.c, threads)
    shortcut = residual or y
    rows = np.arange(tiles, dtype=np.int32)
    return call(
        (
            *x.place, *y.place, *y.shape[:3], x.c, outs, filters, bias, residual_mode if residual else 0,
            *shortcut.place, int(silu), tiles, threads, scratch, _room(tiles, x.c, outs),
            tables.add(rows * x.c), tables.add(rows * outs), tables.add(np.zeros(1, np.int32)), zeros,
            -(-x.c // -(-x.c // _CHAIN)), block_address(), _rounds_address(),
        ),
        (slope, cap),
    )  # fmt: skip
