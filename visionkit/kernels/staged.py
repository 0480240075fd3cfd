"""Winograd's convolution in three stages, each shared by all threads: for few tiles, and for large filters.

Where a map is small its filters are the load, and here every one is read once, by one thread. A filter
larger than 3x3 is cut into blocks of 4x4: each block sees the input's tiles shifted by whole tiles, so that
tiles are transformed once, and the products of all blocks are summed before the way back.
"""

from functools import cache

import numpy as np
from numba import types

from .conv import BLOCK, block_address
from .jit import CALL, FLOATS, INTEGERS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, Tables, call, padded, spaced
from .pointwise import LINEAR, SILU, value
from .simd import vload, vsplat, vstore
from .tiles import FORMS, transform

Pair = tuple[int, int]

_ROOM = 6_000_000  # numbers of V and M together, so that memory does not grow with the batch
_DEPTH = 128  # of a sum in one go: a block of U stays in the first-level cache
_CACHE = 500_000  # numbers that the second-level cache holds

_spread4, _filter4, _gather4 = (transform(m) for m in (FORMS[4].spread, FORMS[4].filter, FORMS[4].gather))
_spread6, _filter6, _gather6 = (transform(m) for m in (FORMS[6].spread, FORMS[6].filter, FORMS[6].gather))
_spread7, _filter7, _gather7 = (transform(m) for m in (FORMS[7].spread, FORMS[7].filter, FORMS[7].gather))


@serial
def _spread(F, points, source, stride, target, step):
    if points == 4:
        _spread4(F, source, stride, target, step)
    elif points == 6:
        _spread6(F, source, stride, target, step)
    else:
        _spread7(F, source, stride, target, step)


@serial
def _filter(F, points, source, stride, target, step):
    if points == 4:
        _filter4(F, source, stride, target, step)
    elif points == 6:
        _filter6(F, source, stride, target, step)
    else:
        _filter7(F, source, stride, target, step)


@serial
def _gather(F, points, source, stride, target, step):
    if points == 4:
        _gather4(F, source, stride, target, step)
    elif points == 6:
        _gather6(F, source, stride, target, step)
    else:
        _gather7(F, source, stride, target, step)


@serial
def _input_tile(F, points, source, row, step, channels, target, stride, small):
    """V of one tile; its numbers per channel lie `stride` apart from `target` on."""
    for c in range(0, channels, LANES):
        for j in range(points):
            _spread(F, points, source + j * step + c, row, small + j * LANES, points * LANES)
        for i in range(points):
            to = target + i * points * stride + c
            _spread(F, points, small + i * points * LANES, LANES, to, stride)


@serial
def _copied_tile(F, points, x, row, step, height, width, y0, x0, channels, ins, patch):
    """The tile whose corner is pixel (y0, x0), zero outside picture and channels, copied to `patch`."""
    zero = vsplat(np.float32(0))
    whole = channels // LANES * LANES
    for i in range(points):
        for j in range(points):
            inside = 0 <= y0 + i < height and 0 <= x0 + j < width
            at = x + (y0 + i) * row + (x0 + j) * step
            to = patch + (i * points + j) * ins
            for c in range(0, whole, LANES):
                vstore(F, to + c, vload(F, at + c) if inside else zero)
            if whole < channels:
                vstore(F, to + whole, zero)
                for c in range(whole, channels if inside else whole):
                    F[to + c] = F[at + c]


@serial
def _output_tile(
    F, points, outputs, source, stride, channels, bias, y, row, step, high, wide, kind, slope, cap, mode,
    r, r_row, r_step, small,
):  # fmt: skip
    """A^T M A of one tile, with bias, residual and activation; only `high` x `wide` pixels are written."""
    slopes, caps = vsplat(slope), vsplat(cap)
    for c in range(0, channels, LANES):
        for j in range(points):
            _gather(F, points, source + j * stride + c, points * stride, small + j * LANES, points * LANES)
        b = vload(F, bias + c)
        for i in range(high):
            line = small + i * points * LANES
            _gather(F, points, line, LANES, line, LANES)
            for j in range(wide):
                v = vload(F, line + j * LANES) + b
                if mode == 1:
                    v = v + vload(F, r + i * r_row + j * r_step + c)
                v = value(F, kind, v, slopes, caps)
                if mode == 2:
                    v = v + vload(F, r + i * r_row + j * r_step + c)
                vstore(F, y + i * row + j * step + c, v)


@serial
def _sizes(p, first_image, first_row):
    """Of a round: (pictures, tiles in a row of V, tiles of V and of M in a picture, tiles across)."""
    n, height, width, outputs, cut_h, cut_w, images, rows = (
        p[8], p[11], p[12], p[25], p[28], p[29], p[30], p[31],
    )  # fmt: skip
    down, across = (height + outputs - 1) // outputs, (width + outputs - 1) // outputs
    tall, wide = min(rows, down - first_row), across + cut_w - 1
    return min(images, n - first_image), wide, (tall + cut_h - 1) * wide, tall * across, across


@serial
def _spread_tiles(F, I, p, s, first_image, first_row, worker):
    """First stage: V of a worker's tiles."""
    x, x_step, x_row, x_image, x_height, x_width, ins, points, outputs, ph, pw, workers = (
        p[0], p[1], p[2], p[3], p[9], p[10], p[13], p[24], p[25], p[26], p[27], p[32],
    )  # fmt: skip
    many, wide, grid, _, _ = _sizes(p, first_image, first_row)
    small = p[33] + worker * points * points * (LANES + ins)
    patch = small + points * points * LANES
    for t in range(worker * many * grid // workers, (worker + 1) * many * grid // workers):
        base = x + (first_image + t // grid) * x_image
        y0 = (first_row + t % grid // wide) * outputs - ph
        x0 = t % wide * outputs - pw
        at, row, step = base + y0 * x_row + x0 * x_step, x_row, x_step
        inside = y0 >= 0 and x0 >= 0 and y0 + points <= x_height and x0 + points <= x_width
        if not inside or p[45] != ins:
            _copied_tile(F, points, base, x_row, x_step, x_height, x_width, y0, x0, p[45], ins, patch)
            at, row, step = patch, points * ins, ins
        _input_tile(F, points, at, row, step, ins, p[34] + t * p[35], p[36], small)


@serial
def _multiply(F, I, p, s, first_image, first_row, task):
    """Second stage: the products of one point and one block of output channels."""
    ins, outs, u, zeros, cut, v_size, m_size, pixels, places, depth = (
        p[13], p[14], p[15], p[23], p[28] * p[29], p[36], p[39], p[40], p[41], p[43],
    )  # fmt: skip
    blocks = (outs + BLOCK - 1) // BLOCK
    many, _, _, tiles, _ = _sizes(p, first_image, first_row)
    k, c = task // blocks, (task % blocks) * BLOCK
    size = min(BLOCK, outs - c)
    filters = u + (k * outs + c) * cut * ins
    to, first = p[37] + k * m_size + c, 1
    for tap in range(cut):
        for i in range(0, ins, depth):
            deep = min(depth, ins - i)
            invoke(p[44], (F, I, p[34] + k * v_size + i, pixels, 0, many * tiles, p[42] + tap, 1, deep,
                           filters, size, to, places, zeros, first, 0, np.float32(1), np.float32(0), 0, to,
                           places))  # fmt: skip
            filters += deep * size
            first = 0


@serial
def _gather_tiles(F, I, p, s, first_image, first_row, worker):
    """Third stage: a worker's tiles of the result."""
    y, y_step, y_row, y_image, height, width, outs, bias, kind, mode = (
        p[4], p[5], p[6], p[7], p[11], p[12], p[14], p[16], p[17], p[18],
    )  # fmt: skip
    r, r_step, r_row, r_image, points, outputs, workers = p[19], p[20], p[21], p[22], p[24], p[25], p[32]
    many, _, _, tiles, across = _sizes(p, first_image, first_row)
    small = p[33] + worker * points * points * (LANES + p[13])
    for t in range(worker * many * tiles // workers, (worker + 1) * many * tiles // workers):
        image, row = first_image + t // tiles, (first_row + t % tiles // across) * outputs
        column = t % across * outputs
        _output_tile(
            F, points, outputs, p[37] + t * p[38], p[39], outs, bias,
            y + image * y_image + row * y_row + column * y_step, y_row, y_step,
            min(outputs, height - row), min(outputs, width - column), kind, s[0], s[1], mode,
            r + image * r_image + row * r_row + column * r_step, r_row, r_step, small,
        )  # fmt: skip


@cache
def _stages() -> tuple[int, ...]:
    """Where the three stages stand."""
    kinds = (FLOATS, INTEGERS, *CALL, *[types.int64] * 3)
    return tuple(address(stage, kinds) for stage in (_spread_tiles, _multiply, _gather_tiles))


@parallel
def staged(F, I, p, s):
    """Convolve with stride 1; `p` and `s` come from `staged_call`."""
    n, height, outputs, images, rows = p[8], p[11], p[25], p[30], p[31]
    for first_image in range(0, n, images):
        for first_row in range(0, (height + outputs - 1) // outputs, rows):
            for stage in range(3):
                for task in prange(p[46 + stage]):
                    invoke(p[49 + stage], (F, I, p, s, first_image, first_row, task))


@serial
def _pack(F, W, p, task):
    """U of one block of output channels and up to 16 input channels."""
    start, s_kh, s_kw, s_in, s_out, kh, kw, target, ins, ins_padded, outs, outs_padded, points, taps = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13],
    )  # fmt: skip
    cut_h, cut_w = (kh + taps - 1) // taps, (kw + taps - 1) // taps
    groups = (ins_padded + 15) // 16
    c0, i0 = (task // groups) * BLOCK, (task % groups) * 16
    size = min(BLOCK, outs_padded - c0)
    whole = cut_h * cut_w * ins_padded * outs_padded
    local = np.zeros(3 * 49 * LANES, np.float32)
    half, made = 49 * LANES, 98 * LANES
    for part in range(cut_h * cut_w):
        a0, b0 = part // cut_w * taps, part % cut_w * taps
        for i in range(i0, min(i0 + 16, ins_padded)):
            to = target + (c0 * cut_h * cut_w + part * size) * ins_padded + i * size
            for c in range(0, size, LANES):
                for k in range(taps * taps):
                    a, b = a0 + k // taps, b0 + k % taps
                    tap = start + a * s_kh + b * s_kw + i * s_in + (c0 + c) * s_out
                    for lane in range(LANES):
                        used = a < kh and b < kw and i < ins and c0 + c + lane < outs
                        local[k * LANES + lane] = W[tap + lane * s_out] if used else np.float32(0)
                for b in range(taps):
                    _filter(local, points, b * LANES, taps * LANES, half + b * LANES, taps * LANES)
                for a in range(points):
                    _filter(local, points, half + a * taps * LANES, LANES, made, LANES)
                    for b in range(points):
                        at = to + c + (a * points + b) * whole
                        vstore(F, at, vload(local, made + b * LANES))


@cache
def _pack_address() -> int:
    return address(_pack, (FLOATS, FLOATS, CALL[0], types.int64))


@parallel
def pack_staged(F, I, W, p, s):
    """Filters `W`, of any strides, as U: (points^2, output block, filter block, in, <= BLOCK out)."""
    for task in prange(p[14]):
        invoke(p[15], (F, W, p, task))


def cut(kernel: Pair, points: int) -> Pair:
    """Into how many blocks a filter is cut."""
    taps = FORMS[points].taps
    return -(-kernel[0] // taps), -(-kernel[1] // taps)


def pays(y: Map, ins: int, kernel: Pair) -> int:
    """The form, by its points, that beats the other kernels for a result `y` from `ins` channels; 0 if none.

    A committed rule on shapes alone, as in `winograd`, in units of one multiply-add: products, transforms and
    the reading of filters, each once. Where 3x3 filters stay in the cache `winograd` does better.
    """
    n, h, w, outs = y.shape
    small = kernel == (3, 3)
    if min(ins, outs) < 16 or (small and 36 * ins * outs < _CACHE):
        return 0
    direct = (n * h * w + LANES) * kernel[0] * kernel[1] * ins * padded(outs)
    ins, outs = padded(ins), padded(outs)

    def cost(points: int) -> int:
        outputs, (cut_h, cut_w) = FORMS[points].outputs, cut(kernel, points)
        tiles = n * -(-h // outputs) * -(-w // outputs)
        filters = points**2 * cut_h * cut_w * ins * outs
        return (tiles + LANES) * filters + 20 * LANES * tiles * (ins + outs)

    best = min((4, 6) if small else (7,), key=cost)
    return best if 1.15 * cost(best) < direct else 0


def filter_size(points: int, kernel: Pair, ins: int, outs: int) -> int:
    """Numbers that U takes."""
    cut_h, cut_w = cut(kernel, points)
    return points**2 * cut_h * cut_w * padded(ins) * padded(outs)


def _depth(ins: int) -> int:
    """How much of a sum is taken in one go."""
    return -(-ins // -(-ins // _DEPTH))


class _Rounds:
    """How many tiles go through the stages at a time, and where their numbers lie in the scratch memory."""

    def __init__(self, y: Map, ins: int, kernel: Pair, points: int, threads: int) -> None:
        outputs, (cut_h, cut_w) = FORMS[points].outputs, cut(kernel, points)
        n, height, width, _ = y.shape
        down, self.across = -(-height // outputs), -(-width // outputs)
        self.wide = self.across + cut_w - 1
        self.v_step, self.m_step = spaced(ins), spaced(y.c)
        line = points**2 * (self.wide * self.v_step + self.across * self.m_step)
        self.rows = min(down, max(1, _ROOM // line))
        self.rows = -(-down // -(-down // self.rows))
        self.images = min(n, max(1, _ROOM // (line * down)))
        self.tall = self.rows + cut_h - 1
        self.v_size = self.images * self.tall * self.wide * self.v_step
        self.m_size = self.images * self.rows * self.across * self.m_step
        small = threads * points**2 * (LANES + padded(ins))
        self.v, self.m = small, small + points**2 * self.v_size
        self.size = self.m + points**2 * self.m_size


def scratch_size(y: Map, ins: int, kernel: Pair, points: int, threads: int) -> int:
    """Numbers of scratch memory that `staged_call` needs."""
    return _Rounds(y, ins, kernel, points, threads).size


def staged_call(
    tables: Tables, x: Map, y: Map, *, kernel: Pair, padding: Pair, points: int, filters: int, bias: int,
    zeros: int, scratch: int, slope: float = 1.0, cap: float = np.inf, silu: bool = False,
    residual: Map | None = None, residual_mode: int = 0, threads: int = 1,
) -> Call:  # fmt: skip
    """One call of `staged`.

    Args:
        tables: takes the offset tables.
        x, y: what is read and written.
        kernel, padding: of the convolution, whose stride and dilation are 1.
        points: which of `FORMS`.
        filters: place in F of U; bias: of the `padded(y.c)` biases; zeros: of BLOCK zeros.
        scratch: place of `scratch_size` numbers.
        slope, cap, silu: the activation, see `conv_call`.
        residual: map added to the result; residual_mode 1 before, 2 after the activation.
        threads: how many threads share the work.
    """
    form, (cut_h, cut_w), rounds = (
        FORMS[points],
        cut(kernel, points),
        _Rounds(y, x.c, kernel, points, threads),
    )
    shortcut = residual or y
    images, rows, across = np.ogrid[: rounds.images, : rounds.rows, : rounds.across]
    pixels = ((images * rounds.tall + rows) * rounds.wide + across) * rounds.v_step
    places = ((images * rounds.rows + rows) * rounds.across + across) * rounds.m_step
    a, b = np.ogrid[:cut_h, :cut_w]
    taps = (a * rounds.wide + b) * rounds.v_step
    offsets = [tables.add(table.astype(np.int32).ravel()) for table in (pixels, places, taps)]
    return call(
        (
            *x.place, *y.place, *x.shape[:3], *y.shape[1:3], padded(x.c), padded(y.c), filters, bias,
            SILU if silu else LINEAR, residual_mode if residual else 0, *shortcut.place, zeros, points,
            form.outputs, *padding, cut_h, cut_w, rounds.images, rounds.rows, threads, scratch,
            scratch + rounds.v, rounds.v_step, rounds.v_size, scratch + rounds.m, rounds.m_step,
            rounds.m_size, *offsets, _depth(padded(x.c)), block_address(), x.c,
            threads, points**2 * -(-padded(y.c) // BLOCK), threads, *_stages(),
        ),
        (slope, cap),
    )  # fmt: skip


def pack_call(strides: tuple[int, ...], kernel: Pair, points: int, target: int, ins: int, outs: int) -> Call:
    """One call of `pack_staged`; `strides` are the filters' start and (KH, KW, in, out) steps."""
    sizes = (*kernel, target, ins, padded(ins), outs, padded(outs), points, FORMS[points].taps)
    tasks = -(-padded(outs) // BLOCK) * -(-padded(ins) // 16)
    return call((*strides, *sizes, tasks, _pack_address()))
