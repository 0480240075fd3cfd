"""The weight gradient of a convolution of bfloat16 maps, the sums in float32.

The sum runs over pixels, so pixels are brought side by side, slab by slab: of the input the rows of the first
factor of `dot`, a channel each; of the gradient its packed second factor, pairs of pixels by channels. In a
slab all rows have the same pitch, so a tap is an offset; an odd one reads a copy that lies one pixel further.

A task owns some input and output channels at all taps, as in `wgrad`; partial sums are joined in order.
"""

from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dot import HEAD, SUMS, TILE, configure, form, release, tile_shapes
from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, Tables, call
from .microkernel import Arguments, number
from .narrow import BFLOAT16, grouped, narrow_pointer
from .narrow_conv import products
from .simd import I32, vload, vsplat, vstore
from .wgrad import clear_sums, join_sums, partials_of

Pair = tuple[int, int]

_BLOCK = TILE * TILE
#: Pixels of a slab, and sums of a task: what is read again and again stays in the second-level cache.
_PIXELS, _SUMS = 768, 140_000
_HALVES = ir.VectorType(ir.IntType(16), TILE)
_PLACES = ir.VectorType(I32, TILE)


def _paired(builder, memory, first, second):
    """16 numbers at each of two places, counted in numbers, as 16 pairs."""
    parts = []
    for at in (first, second):
        halves = builder.load(narrow_pointer(builder, memory, ir.IntType(16), at, TILE))
        halves.align = 2
        parts.append(builder.zext(halves, _PLACES))
    return builder.or_(parts[0], builder.shl(parts[1], ir.Constant(_PLACES, [16] * TILE)))


def _put_places(builder, memory, at, value):
    place = builder.bitcast(builder.gep(memory, [at]), _PLACES.as_pointer())
    builder.store(value, place).align = 4


@intrinsic
def _pair(typing_context, F, first, second, to):
    """Write the pairs of 16 numbers at `first` and 16 at `second` (in numbers) to 16 places."""

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F first second to", sig, args)
        memory = given.pointer("F")
        value = _paired(builder, memory, given.integer("first"), given.integer("second"))
        _put_places(builder, memory, given.integer("to"), value)
        return context.get_dummy_value()

    return types.void(F, first, second, to), generate


@intrinsic
def _turn(typing_context, F, at, step, last, to, pitch):
    """Write 32 pixels of 16 channels as 16 rows of 32 numbers, the rows `pitch` places apart.

    Pixel k lies at number ``at + min(k, last) step``.
    """

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F at step last to pitch", sig, args)
        memory, last = given.pointer("F"), given.integer("last")

        def pixel(k):
            inside = builder.icmp_signed("<", number(k), last)
            k = builder.select(inside, number(k), last)
            return builder.add(given.integer("at"), builder.mul(k, given.integer("step")))

        rows = [_paired(builder, memory, pixel(2 * k), pixel(2 * k + 1)) for k in range(TILE)]
        for s in (8, 4, 2, 1):  # exchange blocks of s by s places across the diagonal
            low = [i if not i & s else i - s + TILE for i in range(TILE)]
            high = [i + s if not i & s else i + TILE for i in range(TILE)]
            for i in range(TILE):
                if not i & s:
                    a, b = rows[i], rows[i + s]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(_PLACES, low))
                    rows[i + s] = builder.shuffle_vector(a, b, ir.Constant(_PLACES, high))
        target = given.integer("to")
        for row in rows:
            _put_places(builder, memory, target, row)
            target = builder.add(target, given.integer("pitch"))
        return context.get_dummy_value()

    return types.void(F, at, step, last, to, pitch), generate


@intrinsic
def _shift(typing_context, F, source, to):
    """Copy 16 places, from one number behind the place `source`."""

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F source to", sig, args)
        memory = given.pointer("F")
        at = builder.add(builder.shl(given.integer("source"), number(1)), number(1))
        place = narrow_pointer(builder, memory, ir.IntType(16), at, 2 * TILE)
        value = builder.load(builder.bitcast(place, _PLACES.as_pointer()))
        value.align = 2
        _put_places(builder, memory, given.integer("to"), value)
        return context.get_dummy_value()

    return types.void(F, source, to), generate


@serial
def _rows_of(F, x, x_step, x_row, x_image, images, rows, columns, high, wide, across, blocks, to, pitch, row,
             length):  # fmt: skip
    """Channels of `images` by `rows` by `columns` pixels side by side, a row of pixels every `row` numbers.

    Pixels at or beyond (high, wide) repeat the last; behind the last row come `length` zeros.
    """
    for block in range(blocks):
        line = to + block * TILE * pitch
        for image in range(images):
            for r in range(rows):
                source = (x + image * x_image + min(r, high - 1) * x_row) * 2 + block * TILE
                target = line + (image * rows + r) * row // 2
                for c in range(0, columns, 2 * TILE):
                    last = max(0, wide - 1 - c)
                    at = source + min(c, wide - 1) * x_step * 2 * across
                    _turn(F, at, x_step * 2 * across, last, target + c // 2, pitch)
        end = line + images * rows * row // 2
        for r in range(TILE):
            for k in range(0, length // 2, LANES):
                vstore(F, end + r * pitch + k, vsplat(np.float32(0)))


@serial
def _pairs_of(F, g, g_step, g_row, g_image, images, rows, reach, width, row, zeros, tiles, to, size, length):
    """Pairs of pixels by channels, in blocks of 32 channels `size` places apart, zeros between the rows."""
    for block in range(0, tiles, 2):
        both = min(2, tiles - block)
        base = to + block // 2 * size
        clear_sums(F, base, HEAD)
        flat = 0
        for image in range(images):
            for r in range(rows + reach if image + 1 < images else rows):
                source = (g + image * g_image + r * g_row) * 2 + block * TILE
                inside = width if r < rows else 0
                for c in range(0, row, 2):
                    place = base + HEAD + flat // 32 * both * 256 + flat % 32 // 2 * TILE
                    for tile in range(both):
                        at = source + c * g_step * 2 + tile * TILE
                        first = at if c < inside else zeros * 2
                        second = at + g_step * 2 if c + 1 < inside else zeros * 2
                        _pair(F, first, second, place + tile * 256)
                    flat += 2
        while flat < length:
            place = base + HEAD + flat // 32 * both * 256 + flat % 32 // 2 * TILE
            for tile in range(both):
                clear_sums(F, place + tile * 256, TILE)
            flat += 2


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
    gathered, block_size, tail = p[41], p[42], p[43]
    size = tap_count * ins * outs
    slabs_each = (height + rows - 1) // rows
    slabs = (n + images - 1) // images * slabs_each
    out_blocks = (outs + deep - 1) // deep
    tasks = partials * ((ins + most - 1) // most) * out_blocks
    copies = scratch + workers * room
    for worker in prange(workers):
        if in_tiles == 1:
            configure(I, shapes)
        fresh = scratch + worker * room
        zeros, own = fresh + SUMS, fresh + SUMS + HEAD
        paired = own + (phase_count + odd_count) * one + TILE
        sums = paired + gathered
        clear_sums(F, zeros, HEAD)
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            o, rest = task % out_blocks * deep, task // out_blocks
            q, i = rest % partials, rest // partials * most
            blocks = (min(most, ins - i) + TILE - 1) // TILE
            tiles = (min(deep, outs - o) + TILE - 1) // TILE
            lines = tap_count * blocks
            low, stop = q * slabs // partials, (q + 1) * slabs // partials
            for slab in range(low, stop):
                image, y = slab // slabs_each * images, slab % slabs_each * rows
                many, used = min(images, n - image), min(rows, height - y)
                flat = ((many - 1) * (used + reach) + used) * row
                count = (flat + 31) // 32
                for k in range(phase_count):
                    py, px = I[phases + 2 * k], I[phases + 2 * k + 1]
                    corner = (y * down + py - top) * x_row + (px - left) * x_step
                    _rows_of(
                        F, x + image * x_image + corner + i // 2, x_step, x_row * down, x_image, many,
                        used + reach, row, (high - (y * down + py) + down - 1) // down,
                        (wide - px + across - 1) // across, across, blocks, own + k * one, pitch, row, tail,
                    )  # fmt: skip
                for k in range(odd_count):
                    source, target = own + I[odds + k] * one, own + (phase_count + k) * one
                    length = (many * (used + reach) * row + tail) // 2 - TILE
                    for line in range(blocks * TILE):
                        for c in range(0, length, TILE):
                            _shift(F, source + line * pitch + c, target + line * pitch + c)
                _pairs_of(F, g + image * g_image + y * g_row + o // 2, g_step, g_row, g_image, many, used,
                          reach, width, row, zeros, tiles, paired, block_size, count * 32)  # fmt: skip
                for tile in range(0, tiles, 2):
                    both = min(2, tiles - tile)
                    w = paired + tile // 2 * block_size
                    for line in range(0, lines, 2):
                        beside = min(line + 1, lines - 1)
                        first = own + I[taps + line // blocks] + line % blocks * TILE * pitch
                        second = own + I[taps + beside // blocks] + beside % blocks * TILE * pitch
                        at = sums + (tile // 2 * ((lines + 1) // 2) + line // 2) * SUMS
                        products(F, I, in_tiles, BFLOAT16, both, first, second, pitch, steps, count, TILE, w,
                                 at if slab == low else fresh)  # fmt: skip
                        if slab > low:
                            for c in range(0, SUMS, LANES):
                                vstore(F, at + c, vload(F, at + c) + vload(F, fresh + c))
            for line in range(lines):
                channel = i + line % blocks * TILE
                for tile in range(tiles):
                    at = sums + (tile // 2 * ((lines + 1) // 2) + line // 2) * SUMS
                    at += (line % 2 * 2 + tile % 2) * _BLOCK
                    c = o + tile * TILE
                    for r in range(min(TILE, ins - channel)):
                        to = line // blocks * ins + channel + r
                        to = dw + to * dw_row + c if partials == 1 else copies + q * size + to * outs + c
                        join_sums(F, at + r * TILE, 1, 0, min(TILE, outs - c), to)
        if in_tiles == 1:
            release()
    if partials > 1:
        for line in prange(tap_count * ins):
            join_sums(F, copies + line * outs, partials, size, outs, dw + line * dw_row)


@dataclass(frozen=True)
class _Plan:
    """How the work on one gradient is cut; from shapes alone.

    Attributes:
        row: pixels from row to row of a slab, even; reach: rows that taps reach further.
        rows, images: of one slab; tail: zeros behind it; pitch: places of one channel of it.
        taps: (copy, pixels further) of each tap; phases: (row, column) remainders of the copies.
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
        return SUMS + HEAD + copies + TILE + self.gathered[0] + sums


def _even(count: int, most: int) -> int:
    """`count` channels in equal shares of whole groups, none much above `most`."""
    return grouped(-(-count // max(1, -(-count // most))))


def _plan(x: Map, g: Map, kernel: Pair, stride: Pair, dilation: Pair) -> _Plan:
    n, height, width, _ = g.shape
    offsets = [
        (i * dilation[0] % stride[0], j * dilation[1] % stride[1],
         i * dilation[0] // stride[0], j * dilation[1] // stride[1])
        for i in range(kernel[0]) for j in range(kernel[1])
    ]  # fmt: skip
    reach, beyond = (max(one[k] for one in offsets) for k in (2, 3))
    row = -(-(width + beyond) // 2) * 2
    rows = min(height, max(1, _PIXELS // row))
    images = min(n, max(1, _PIXELS // (row * (rows + reach)))) if rows == height else 1
    tail = -(-(beyond + 96) // 32) * 32
    pitch = -(-(images * (rows + reach) * row + tail) // 32) * TILE
    pitch += 0 if pitch // TILE % 2 else TILE  # an odd number of cache lines: rows share no sets
    phases = sorted({one[:2] for one in offsets})
    odds = sorted({phases.index(one[:2]) for one in offsets if one[3] % 2})
    taps = []
    for py, px, down, right in offsets:
        copy = phases.index((py, px))
        pixels = down * row + right
        taps.append((len(phases) + odds.index(copy) if pixels % 2 else copy, pixels))
    outs = _even(g.c, 128)
    ins = _even(x.c, max(TILE, _SUMS // (len(taps) * outs) // TILE * TILE))
    slabs = -(-n // images) * -(-height // rows)
    partials = partials_of(-(-x.c // ins) * -(-g.c // outs), slabs)
    return _Plan(row, reach, rows, images, tail, pitch, taps, phases, odds, ins, outs, partials)


def narrow_wgrad_scratch(x: Map, g: Map, kernel: Pair, stride: Pair, dilation: Pair, threads: int) -> int:
    """Places of scratch memory that `narrow_wgrad_call` needs."""
    plan = _plan(x, g, kernel, stride, dilation)
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
    plan = _plan(x, g, kernel, stride, dilation)
    taps = [copy * plan.ins * plan.pitch + pixels // 2 for copy, pixels in plan.taps]
    high, wide = (x.shape[1 + k] + 2 * padding[k] for k in (0, 1))
    count = -(-plan.images * (plan.rows + plan.reach) * plan.row // 32)
    table = lambda numbers: tables.add(np.array(numbers, np.int32).ravel())  # noqa: E731
    return call(
        (
            *x.place, *g.place, *g.shape[:3], x.c, g.c, *stride, *padding, high, wide, plan.row, plan.reach,
            plan.rows, plan.images, table(taps), len(taps), table(plan.phases), len(plan.phases),
            table(plan.odds), len(plan.odds), plan.pitch, plan.ins, plan.outs, plan.partials,
            table(np.arange(count) * TILE), tables.add(tile_shapes(TILE)), threads, plan.room, scratch,
            gradient, columns, int(form(BFLOAT16) == "tiles"), *plan.gathered, plan.tail,
        )
    )  # fmt: skip
