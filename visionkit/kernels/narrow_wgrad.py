"""The weight gradient of a convolution of bfloat16 maps, the sums in float32.

The sum runs over pixels, which `narrow_turn` brings side by side, slab by slab: of the input rows of
channels, the first factor of `dot`; of the gradient pairs of pixels by channels, its packed second. In a slab
all rows have the same pitch, so a tap is an offset; an odd one reads a copy that lies one pixel further.

A task owns some input and output channels at all taps, as in `wgrad`; partial sums are joined in order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import dot
from .dot import HEAD, SUMS, TILE, configure, form, release, tile_shapes
from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, Tables, call
from .narrow import BFLOAT16, grouped
from .narrow_turn import paired_pixels, shifted_rows, turned_rows
from .wgrad import clear_sums, join_sums, partials_of

Pair = tuple[int, int]

_BLOCK = TILE * TILE
#: Numbers of a slab, and sums of a task: what is read again and again stays in the second-level cache.
_NUMBERS, _SUMS = 300_000, 140_000

_tiles_1, _tiles_2 = (dot.sums("tiles", BFLOAT16, width, onto=True) for width in (1, 2))
_vectors_1, _vectors_2 = (dot.sums("vectors", BFLOAT16, width, onto=True) for width in (1, 2))


@serial
def _products(F, I, tiles, width, first, second, step, steps, count, w, out):
    """Add the sums of `dot` to those at `out`."""
    if tiles == 1 and width == 1:
        _tiles_1(F, I, first, second, step, steps, count, TILE, w, out)
    elif tiles == 1:
        _tiles_2(F, I, first, second, step, steps, count, TILE, w, out)
    elif width == 1:
        _vectors_1(F, I, first, second, step, steps, count, TILE, w, out)
    else:
        _vectors_2(F, I, first, second, step, steps, count, TILE, w, out)


@parallel
def narrow_wgrad(F, I, p, s):
    """Gradient (tap, in, out) of the weights; `p` comes from `narrow_wgrad_call`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, ins, outs, down, across, top, left = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16],
    )  # fmt: skip
    high, wide, row, reach, rows, images, taps, tap_count, phases, phase_count, odds, odd_count = (
        p[17], p[18], p[19], p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27], p[28],
    )  # fmt: skip
    pitch, most, deep, partials, steps, shapes, workers, room, scratch, dw, dw_row, in_tiles = (
        p[29], p[30], p[31], p[32], p[33], p[34], p[35], p[36], p[37], p[38], p[39], p[40],
    )  # fmt: skip
    one = most * pitch  # places of one copy of the input's channels
    gathered, block_size, tail, targets, row_count, side = p[41], p[42], p[43], p[44], p[45], p[46]
    size = row_count * outs
    slabs_each = (height + rows - 1) // rows
    slabs = (n + images - 1) // images * slabs_each
    out_blocks = (outs + deep - 1) // deep
    tasks = partials * ((ins + most - 1) // most) * out_blocks
    copies = scratch + workers * room
    for worker in prange(workers):
        if in_tiles == 1:
            configure(I, shapes)
        zeros = scratch + worker * room
        own = zeros + HEAD
        paired = own + (phase_count + odd_count) * one + TILE
        sums = paired + gathered
        clear_sums(F, zeros, HEAD)
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            o, rest = task % out_blocks * deep, task // out_blocks
            q, i = rest % partials, rest // partials * most
            blocks = (min(most, ins - i) + TILE - 1) // TILE
            tiles = (min(deep, outs - o) + TILE - 1) // TILE
            lines = tap_count * blocks
            pairs = (lines + 1) // 2
            clear_sums(F, sums, (tiles + 1) // 2 * pairs * SUMS)
            low, stop = q * slabs // partials, (q + 1) * slabs // partials
            for slab in range(low, stop):
                image, y = slab // slabs_each * images, slab % slabs_each * rows
                many, used = min(images, n - image), min(rows, height - y)
                flat = ((many - 1) * (used + reach) + used) * row
                count = (flat + 31) // 32
                for k in range(phase_count):
                    py, px = I[phases + 2 * k], I[phases + 2 * k + 1]
                    below, start = high - y * down - py, x + image * x_image + (px - left) * x_step
                    # Behind the last row nothing is known to be finite; where it is blank, the first will do.
                    last = side > 1 and (below - 1) % down == 0
                    turned_rows(
                        F, start + (y * down + py - top) * x_row + i // 2, x_step, x_row * down, x_image,
                        many, used + reach, row, (below + down - 1) // down,
                        (wide - px + across - 1) // across, across, blocks, own + k * one, pitch, row, tail,
                        start - top * x_row if last else -1,
                    )  # fmt: skip
                for k in range(odd_count):
                    source, target = own + I[odds + k] * one, own + (phase_count + k) * one
                    length = (many * (used + reach) * row + tail) // 2 - TILE
                    shifted_rows(F, source, target, pitch, blocks * TILE, length)
                paired_pixels(F, g + image * g_image + y * g_row + o // 2, g_step, g_row, g_image, many, used,
                          reach, width, row, zeros, tiles, paired, block_size, count * 32)  # fmt: skip
                for tile in range(0, tiles, 2):
                    both = min(2, tiles - tile)
                    w = paired + tile // 2 * block_size
                    for line in range(0, lines, 2):
                        beside = min(line + 1, lines - 1)
                        first = own + I[taps + line % tap_count] + line // tap_count * TILE * pitch
                        second = own + I[taps + beside % tap_count] + beside // tap_count * TILE * pitch
                        at = sums + (tile // 2 * pairs + line // 2) * SUMS
                        _products(F, I, in_tiles, both, first, second, pitch, steps, count, w, at)
            for line in range(lines):
                channel = i + line // tap_count * TILE
                for tile in range(tiles):
                    at = sums + (tile // 2 * pairs + line // 2) * SUMS + (line % 2 * 2 + tile % 2) * _BLOCK
                    c = o + tile * TILE
                    for r in range(min(TILE, ins - channel)):
                        to = I[targets + line % tap_count * TILE + r] + channel
                        if to >= 0:
                            to = dw + to * dw_row + c if partials == 1 else copies + q * size + to * outs + c
                            join_sums(F, at + r * TILE, 1, 0, min(TILE, outs - c), to)
        if in_tiles == 1:
            release()
    if partials > 1:
        for line in prange(row_count):
            join_sums(F, copies + line * outs, partials, size, outs, dw + line * dw_row)


@dataclass(frozen=True)
class _Plan:
    """How the work on one gradient is cut; from shapes alone.

    Attributes:
        row: pixels from row to row of a slab, even; reach: rows that taps reach further.
        rows, images: of one slab; tail: zeros behind it; pitch: places of one channel of it.
        taps: (copy, pixels further) of each tap; targets: (taps, 16) the row of the result for each of its
            rows, the first of the task's channels being 0; phases: (row, column) remainders of the copies.
        odds: which copies are there once more, one pixel further.
        ins, outs: channels of one task; partials: copies of the sums.
    """

    row: int
    reach: int
    rows: int
    images: int
    tail: int
    pitch: int
    taps: list[Pair]
    targets: NDArray[np.int32]
    phases: list[Pair]
    odds: list[int]
    ins: int
    outs: int
    partials: int

    @property
    def gathered(self) -> tuple[int, int]:
        """Places of a slab's gradient, and of 32 channels of it."""
        flat = self.images * (self.rows + self.reach) * self.row
        block = HEAD + -(-flat // 32) * 2 * _BLOCK
        return -(-self.outs // 32) * block, block

    @property
    def room(self) -> int:
        """Places of one thread."""
        lines = len(self.taps) * (self.ins // TILE)
        sums = -(-self.outs // 32) * -(-lines // 2) * SUMS
        copies = (len(self.phases) + len(self.odds)) * self.ins * self.pitch
        return HEAD + copies + TILE + self.gathered[0] + sums


def _even(count: int, most: int) -> int:
    """`count` channels in equal shares of whole groups, none much above `most`."""
    return grouped(-(-count // max(1, -(-count // most))))


def _side(x: Map, padding: Pair, dilation: Pair) -> int:
    """Neighbouring pixels whose channels fill a tile: those of a picture, whose pixels have four."""
    fills = x.buffer.step * BFLOAT16 == 4 and dilation[1] == 1 and padding[0] > 0
    return TILE // 4 if fills else 1


def _plan(x: Map, g: Map, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> _Plan:
    n, height, width, _ = g.shape
    side, line = _side(x, padding, dilation), np.arange(TILE)
    offsets = [
        (i * dilation[0] % stride[0], j * dilation[1] % stride[1],
         i * dilation[0] // stride[0], j * dilation[1] // stride[1])
        for i in range(kernel[0]) for j in range(0, kernel[1], side)
    ]  # fmt: skip
    reach, beyond = (max(one[k] for one in offsets) for k in (2, 3))
    row = -(-(width + beyond) // 2) * 2
    phases = sorted({one[:2] for one in offsets})
    odds = sorted({phases.index(one[:2]) for one in offsets if one[3] % 2})
    outs = _even(g.c, 128)
    ins = TILE if side > 1 else _even(x.c, max(TILE, _SUMS // (len(offsets) * outs) // TILE * TILE))
    pixels = _NUMBERS // ((len(phases) + len(odds)) * ins + outs)
    rows = min(height, max(1, pixels // row))
    images = min(n, max(1, pixels // (row * (rows + reach)))) if rows == height else 1
    tail = -(-(beyond + 96) // 32) * 32
    pitch = -(-(images * (rows + reach) * row + tail) // 32) * TILE
    pitch += 0 if pitch // TILE % 2 else TILE  # an odd number of cache lines: rows share no sets
    targets = []
    for i in range(kernel[0]):
        for j in range(0, kernel[1], side):
            beside, channel = np.divmod(line, TILE // side)
            there = (channel < x.c) & (j + beside < kernel[1])
            target = (i * kernel[1] + j + beside) * x.c + channel
            targets.append(np.where(there | (side == 1), target, -TILE))
    taps = []
    for py, px, down, right in offsets:
        copy = phases.index((py, px))
        pixels = down * row + right
        taps.append((len(phases) + odds.index(copy) if pixels % 2 else copy, pixels))
    slabs = -(-n // images) * -(-height // rows)
    partials = partials_of(-(-x.c // ins) * -(-g.c // outs), slabs)
    lines = np.array(targets, np.int32)
    return _Plan(row, reach, rows, images, tail, pitch, taps, lines, phases, odds, ins, outs, partials)


def narrow_wgrad_scratch(
    x: Map, g: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, threads: int
) -> int:  # fmt: skip
    """Places of scratch memory that `narrow_wgrad_call` needs."""
    plan = _plan(x, g, kernel, stride, padding, dilation)
    copies = plan.partials * kernel[0] * kernel[1] * x.c * g.c if plan.partials > 1 else 0
    return threads * plan.room + copies + LANES


def narrow_wgrad_call(
    tables: Tables, x: Map, g: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
    scratch: int, gradient: int, columns: int, threads: int,
) -> Call:  # fmt: skip
    """One call of `narrow_wgrad`: the bfloat16 map `x` that went in, the gradient `g` of what came out.

    Args:
        tables: takes the offset tables.
        kernel, stride, padding, dilation: of the convolution; x has a halo of `padding` pixels at least.
        scratch: place of `narrow_wgrad_scratch` numbers; gradient: of the (tap, in, out) result, whose rows
            are `columns` numbers apart.
        threads: how many threads share the work.
    """
    plan = _plan(x, g, kernel, stride, padding, dilation)
    taps = [copy * plan.ins * plan.pitch + pixels // 2 for copy, pixels in plan.taps]
    high, wide = (x.shape[1 + k] + 2 * padding[k] for k in (0, 1))
    side = _side(x, padding, dilation)
    ins = x.c if side == 1 else TILE
    count = -(-plan.images * (plan.rows + plan.reach) * plan.row // 32)
    table = lambda numbers: tables.add(np.array(numbers, np.int32).ravel())  # noqa: E731
    return call(
        (
            *x.place, *g.place, *g.shape[:3], ins, g.c, *stride, *padding, high, wide, plan.row,
            plan.reach, plan.rows, plan.images, table(taps), len(taps), table(plan.phases), len(plan.phases),
            table(plan.odds), len(plan.odds), plan.pitch, plan.ins, plan.outs, plan.partials,
            table(np.arange(count) * TILE), tables.add(tile_shapes(TILE)), threads, plan.room, scratch,
            gradient, columns, int(form(BFLOAT16) == "tiles"), *plan.gathered, plan.tail,
            table(plan.targets), kernel[0] * kernel[1] * x.c, side,
        )
    )  # fmt: skip
