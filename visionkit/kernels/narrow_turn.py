"""bfloat16 pixels side by side: what sums over pixels read.

Channels become rows of pixels, or pairs of pixels stand by channels, as `dot` wants its two factors.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dot import HEAD, TILE
from .jit import LANES, serial
from .microkernel import Arguments, number
from .narrow import narrow_pointer
from .simd import I32, vsplat, vstore
from .wgrad import clear_sums

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
def shifted_rows(F, source, target, pitch, lines, length):
    """Rows of `length` places at `source` once more at `target`, from the second number on."""
    for line in range(lines):
        for c in range(0, length, TILE):
            _shift(F, source + line * pitch + c, target + line * pitch + c)


@serial
def turned_rows(
    F, x, x_step, x_row, x_image, images, rows, columns, high, wide, across, blocks, to, pitch, row, length,
    blank,
):  # fmt: skip
    """Channels of `images` by `rows` by `columns` pixels side by side, a row of pixels every `row` numbers.

    Pixels at or beyond (high, wide) repeat the last; behind the last row come `length` zeros. Where a pixel
    has fewer than 16 numbers, those of the next follow, whatever they are; instead of row high - 1 the one
    at `blank` is taken, unless that is -1.
    """
    for block in range(blocks):
        line = to + block * TILE * pitch
        for image in range(images):
            for r in range(rows):
                start = blank if r >= high - 1 and blank >= 0 else x + min(r, high - 1) * x_row
                source = (start + image * x_image) * 2 + block * TILE
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
def paired_pixels(
    F, g, g_step, g_row, g_image, images, rows, reach, width, row, zeros, tiles, to, size, length
):
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
