"""Convolution of bfloat16 and int8 maps, the sums in float32 or int32, and its weights packed for it.

Two tiles of 16 pixels by 32 output channels are summed into a small scratch memory that stays in the
first-level cache; scale, bias, residual, activation and a 2x2 maximum follow on the way to the map.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import dot
from .dot import HEAD, SUMS, TILE, configure, form, release, tile_shapes
from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, Tables, call
from .narrow import BFLOAT16, INT8, get, grouped, put, spread, to_bfloat16, vload_ints
from .simd import vexp, vfma, vload, vmax, vmin, vsplat

Pair = tuple[int, int]

#: Places of weights that a worker keeps in its cache while it goes over its pixels.
_ROOM = 90_000

_tiles_bf16_1, _tiles_bf16_2 = dot.sums("tiles", BFLOAT16, 1), dot.sums("tiles", BFLOAT16, 2)
_tiles_int8_1, _tiles_int8_2 = dot.sums("tiles", INT8, 1), dot.sums("tiles", INT8, 2)
_vectors_bf16_1, _vectors_bf16_2 = dot.sums("vectors", BFLOAT16, 1), dot.sums("vectors", BFLOAT16, 2)
_vectors_int8_1, _vectors_int8_2 = dot.sums("vectors", INT8, 1), dot.sums("vectors", INT8, 2)


@serial
def products(F, I, tiles, kind, width, first, second, step, steps, count, places, w, out):
    """The sums of `dot`, in tiles or in vectors, of one kind and width."""
    if tiles == 1:
        if kind == BFLOAT16:
            if width == 1:
                _tiles_bf16_1(F, I, first, second, step, steps, count, places, w, out)
            else:
                _tiles_bf16_2(F, I, first, second, step, steps, count, places, w, out)
        elif width == 1:
            _tiles_int8_1(F, I, first, second, step, steps, count, places, w, out)
        else:
            _tiles_int8_2(F, I, first, second, step, steps, count, places, w, out)
    elif kind == BFLOAT16:
        if width == 1:
            _vectors_bf16_1(F, I, first, second, step, steps, count, places, w, out)
        else:
            _vectors_bf16_2(F, I, first, second, step, steps, count, places, w, out)
    elif width == 1:
        _vectors_int8_1(F, I, first, second, step, steps, count, places, w, out)
    else:
        _vectors_int8_2(F, I, first, second, step, steps, count, places, w, out)


@serial
def _sum(F, at, kind):
    """One vector of sums as float32."""
    if kind == INT8:
        return vload_ints(F, at)
    return vload(F, at)


@serial
def _finish(
    F, I, sums, kind, pooled, y, y_table, y_kind, scale, bias, wide, slope, cap, factor, silu, mode, r,
    r_table, r_kind, r_scale,
):  # fmt: skip
    """From sums to the map: activation(scale sum + bias + residual) factor, for the pixels wanted."""
    slopes, caps, factors = vsplat(slope), vsplat(cap), vsplat(factor)
    one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
    for c in range(0, wide, LANES):
        scales, biases = vload(F, scale + c), vload(F, bias + c)
        start = sums + c // TILE * TILE * TILE + c % TILE
        for row in range(TILE // 2 if pooled else 2 * TILE):
            target = I[y_table + row]
            if target < 0:
                continue
            if pooled:
                at = start + 2 * row * TILE
                v = vmax(
                    vmax(_sum(F, at, kind), _sum(F, at + TILE, kind)),
                    vmax(_sum(F, at + 2 * TILE * TILE, kind), _sum(F, at + 2 * TILE * TILE + TILE, kind)),
                )
            else:
                v = _sum(F, start + (row + row // TILE * TILE) * TILE, kind)
            v = vfma(v, scales, biases)
            if mode == 0 and silu == 0:
                v = vmin(caps, vmax(v * slopes, v))
            else:
                shortcut = (r + I[r_table + row]) * r_kind + c
                if mode == 1:
                    v = vfma(get(F, shortcut, r_kind), vload(F, r_scale + c), v)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(caps, vmax(v * slopes, v))
                if mode == 2:
                    v = vfma(get(F, shortcut, r_kind), vload(F, r_scale + c), v)
            put(F, (y + target) * y_kind + c, y_kind, v * factors)


@serial
def _round(F, I, sums, y, y_table, y_kind, bias, wide, add):
    """From sums to the map: sum + bias, or that added to what is there."""
    for row in range(2 * TILE):
        target = (y + I[y_table + row]) * y_kind
        if I[y_table + row] >= 0:
            start = sums + (row + row // TILE * TILE) * TILE
            for c in range(0, wide, LANES):
                v = vload(F, start + c // TILE * TILE * TILE + c % TILE) + vload(F, bias + c)
                if add == 1:
                    v = v + get(F, target + c, y_kind)
                put(F, target + c, y_kind, v)


@parallel
def narrow_conv(F, I, p, s):
    """Convolve one narrow map into another or a float32 one; `p` and `s` come from `narrow_conv_call`."""
    x, x_table, step, kind, y, y_table, y_kind, wide = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    steps, count, places, shapes, w, scale, bias = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    r, r_table, r_kind, r_scale, mode, silu, pooled = p[15], p[16], p[17], p[18], p[19], p[20], p[21]
    pairs, chunk, blocks, group, workers, scratch, tiles = p[22], p[23], p[24], p[25], p[26], p[27], p[28]
    plain = p[29]
    groups, chunks = (blocks + group - 1) // group, (pairs + chunk - 1) // chunk
    tasks = groups * chunks
    size = HEAD + 2 * TILE * count * places
    for worker in prange(workers):
        sums = scratch + worker * SUMS
        if tiles == 1:
            configure(I, shapes)
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            low, start = task % groups * group, task // groups * chunk
            for pair in range(start, min(pairs, start + chunk)):
                first, second = x + I[x_table + 2 * pair], x + I[x_table + 2 * pair + 1]
                at = 2 * TILE * pair
                for block in range(low, min(blocks, low + group)):
                    c = 2 * TILE * block
                    here = min(wide - c, 2 * TILE)
                    width = 1 if here <= TILE else 2
                    products(F, I, tiles, kind, width, first, second, step, steps, count, places,
                             w + block * size, sums)  # fmt: skip
                    if plain == 1:
                        _round(F, I, sums, y + c // y_kind, y_table + at, y_kind, bias + c, here, mode)
                        continue
                    _finish(F, I, sums, kind, pooled == 1, y + c // y_kind, y_table + at, y_kind, scale + c,
                            bias + c, here, s[0], s[1], s[2], silu, mode, r + c // r_kind, r_table + at,
                            r_kind, r_scale + c)  # fmt: skip
        if tiles == 1:
            release()


# ---- the order of the sum, and weights in that order --------------------------------------------


@dataclass(frozen=True)
class Window:
    """How the sum over a window is cut into steps.

    Attributes:
        offsets: (steps,) places from a pixel to each step.
        places: of each step, 16 at most.
        source: (steps, places, kind) the weight of each number, (row KW + column) C + channel; -1 for none.
    """

    offsets: NDArray[np.int32]
    places: int
    source: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Places of the packed weights of one output channel."""
        return len(self.offsets) * self.places


def window(x: Map, kernel: Pair, padding: Pair, dilation: Pair) -> Window:
    """The steps of a convolution of `x`."""
    rows, columns = ([(i, i * dilation[k] - padding[k]) for i in range(kernel[k])] for k in (0, 1))
    return taps_window(x, rows, columns, kernel[1])


def taps_window(x: Map, rows: list[Pair], columns: list[Pair], kw: int) -> Window:
    """The steps of a sum over some rows and columns of a kernel, each with how far off it reads x.

    A pixel's channels are a run of places; a row of the kernel is one run where its pixels lie side by side
    and that makes fewer steps. Where a run is no multiple of 16 places, the last step begins earlier, and its
    places that were taken before get no weight: so no step reads beyond its run.
    """
    kind, step = x.buffer.kind, x.buffer.step
    columns = sorted(columns, key=lambda tap: tap[1])
    pixel, count = -(-x.c // 4) * 4 // kind, len(columns)
    fewer = -(-count * pixel // TILE) < count * -(-pixel // TILE)
    neighbours = columns[-1][1] - columns[0][1] == count - 1
    merged = fewer and step == pixel and neighbours
    run, runs = (count * pixel, columns[:1]) if merged else (pixel, columns)
    places = min(TILE, run)
    further, channel = np.divmod(np.arange(run * kind), pixel * kind)
    offsets, source = [], []
    for i, down in rows:
        for at in range(0, run, TILE):
            start = min(at, run - places)
            for number, right in runs:
                column = np.array([tap[0] for tap in columns])[further] if merged else number
                whole = np.where(channel < x.c, (i * kw + column) * x.c + channel, -1)
                whole[: at * kind] = -1
                offsets.append(down * x.buffer.row + right * step + start)
                source.append(whole[start * kind : (start + places) * kind].reshape(places, kind))
    return Window(np.array(offsets, np.int32), places, np.array(source))


def packed_size(window: Window, outs: int) -> int:
    """Places of the packed weights of `outs` output channels."""
    tiles = -(-outs // TILE)
    return -(-tiles // 2) * HEAD + tiles * TILE * window.size


def pack(weights: NDArray[np.float32], window: Window, kind: int) -> NDArray[np.float32]:
    """Weights in the order of the sum: for each 32 outputs HEAD places, then (step, tile, place, channel).

    Args:
        weights: (out, in, KH, KW) as they are for bfloat16, whole numbers within -127 .. 127 for int8.
        window: of the convolution.
        kind: BFLOAT16 or INT8.
    """
    outs = len(weights)
    flat = np.zeros((grouped(outs), weights[0].size + 1), np.float32)
    flat[:outs, :-1] = weights.transpose(0, 2, 3, 1).reshape(outs, -1)
    numbers = to_bfloat16(flat) if kind == BFLOAT16 else flat.astype(np.int8)
    heads = np.zeros(len(flat), np.int32)
    if kind == INT8:
        heads -= 128 * flat.sum(axis=1, dtype=np.float64).astype(np.int32)
    parts = []
    for start in range(0, len(flat), 2 * TILE):
        part = numbers[start : start + 2 * TILE][:, window.source]
        tiles = part.reshape(-1, TILE, *part.shape[1:]).transpose(2, 0, 3, 1, 4)
        head = np.zeros(HEAD, np.int32)
        head[: len(part)] = heads[start : start + 2 * TILE]
        parts += [head.view(np.float32), np.ascontiguousarray(tiles).view(np.float32).ravel()]
    return np.concatenate(parts)


# ---- tiles of pixels ----------------------------------------------------------------------------


def tiles(
    x: Map, sizes: tuple[int, int, int], stride: Pair, pooled: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Where tiles begin in x, (tiles,), and which pixel each row makes, (tiles, 16), -1 for none.

    `sizes` are pictures, rows and columns of pixels, numbered in this order. A tile holds neighbours of one
    row; or, at stride 1, of x as it lies in memory, halo and all, where that makes fewer tiles. Pooled, two
    tiles of one pair lie one above the other and make the eight pixels named by the first.
    """
    buffer, (n, h, w) = x.buffer, sizes
    if pooled:
        image, row, part = np.mgrid[:n, :h, : -(-w // 8)].reshape(3, -1)
        corner = image * buffer.image + 2 * row * stride[0] * buffer.row + 16 * part * stride[1] * buffer.step
        column = 8 * part[:, None] + np.arange(8)
        pixel = np.where(column < w, ((image * h + row) * w)[:, None] + column, -1)
        pixels = np.full((len(part), 2, TILE), -1)
        pixels[:, 0, :8] = pixel
        begins = np.stack([corner, corner + stride[0] * buffer.row], axis=1)
        return begins.ravel().astype(np.int32), pixels.reshape(-1, TILE)
    image, row, part = np.mgrid[:n, :h, : -(-w // TILE)].reshape(3, -1)
    begins = image * buffer.image + row * stride[0] * buffer.row + TILE * part * stride[1] * buffer.step
    column = TILE * part[:, None] + np.arange(TILE)
    pixels = np.where(column < w, ((image * h + row) * w)[:, None] + column, -1)
    if stride != (1, 1):
        return begins.astype(np.int32), pixels
    picture, pitch = buffer.image // buffer.step, buffer.row // buffer.step
    total = (n - 1) * picture + (h - 1) * pitch + w
    place = np.arange(-(-total // TILE) * TILE)
    row, column = np.divmod(place % picture, pitch)
    flat = np.where((column < w) & (row < h) & (place < total), (place // picture * h + row) * w + column, -1)
    flat = flat.reshape(-1, TILE)
    used = (flat >= 0).any(axis=1)
    if used.sum() >= len(begins):
        return begins.astype(np.int32), pixels
    return (np.flatnonzero(used) * TILE * buffer.step).astype(np.int32), flat[used]


def narrow_conv_call(
    tables: Tables,
    x: Map,
    y: Map,
    *,
    window: Window,
    stride: Pair,
    weights: int,
    scale: int | None,
    bias: int,
    scratch: int,
    slope: float = 1.0,
    cap: float = np.inf,
    factor: float = 1.0,
    silu: bool = False,
    residual: Map | None = None,
    residual_mode: int = 0,
    residual_scale: int = 0,
    pooled: bool = False,
    part: tuple[slice, slice] = (slice(None), slice(None)),
    threads: int = 1,
) -> Call:
    """One call of `narrow_conv`: y = factor activation(scale sum + bias + residual), rounded to y's kind.

    Args:
        tables: takes the offset tables.
        x: what is read, narrow; y: what is written, of any kind.
        window: of the convolution; stride: of its pixels.
        weights: place in F of the packed weights; scale, bias: of `grouped(y.c)` numbers each.
            Without scale y is sum + bias of bfloat16 numbers and nothing more; or, where y is the residual
            too, that added to what is there.
        scratch: of `SUMS` places for each thread.
        slope, cap: the activation min(max(v, slope v), cap); silu: v sigmoid(v) instead.
        factor: what the result is multiplied with.
        residual: map of any kind added to the result, times the numbers at residual_scale; residual_mode 1
            before, 2 after the activation.
        pooled: y is the maximum of every two by two pixels.
        part: the rows and columns of y that are written; the pixels of x belong to these, one by one.
        threads: how many threads share the work.
    """
    high, across = (len(range(size)[one]) for size, one in zip(y.shape[1:3], part, strict=True))
    begins, pixels = tiles(x, (y.shape[0], high, across), stride, pooled)
    if len(begins) % 2:
        begins, pixels = np.append(begins, begins[-1:]), np.append(pixels, np.full((1, TILE), -1), axis=0)
    shortcut = residual or y
    tables_ = [
        tables.add(np.where(pixels < 0, -1, one.offsets(*part)[pixels]).ravel().astype(np.int32))
        for one in (y, shortcut)
    ]
    pairs, blocks = len(begins) // 2, -(-grouped(y.c) // (2 * TILE))
    wide = spread(y)
    groups = -(-blocks // max(1, _ROOM // packed_size(window, 2 * TILE)))
    chunks = 1 if groups == 1 else -(-pairs * 2 * TILE * x.buffer.step * stride[0] * stride[1] // _ROOM)
    if chunks * groups % threads:
        chunks = -(-chunks // threads) * threads
    return call(
        (
            x.origin, tables.add(begins), x.buffer.step * stride[1], x.buffer.kind, y.origin, tables_[0],
            y.buffer.kind, wide, tables.add(window.offsets), len(window.offsets), window.places,
            tables.add(tile_shapes(window.places)), weights, scale or 0, bias, shortcut.origin, tables_[1],
            shortcut.buffer.kind, residual_scale, residual_mode if residual else 0, int(silu), int(pooled),
            pairs, -(-pairs // chunks), blocks, -(-blocks // groups), threads, scratch,
            int(form(x.buffer.kind) == "tiles"), int(scale is None),
        ),
        (slope, cap, factor),
    )  # fmt: skip
