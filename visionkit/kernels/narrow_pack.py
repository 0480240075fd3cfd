"""Weights in the order of a bfloat16 sum, packed anew before every training step.

`narrow_conv.pack` says what the order is; here the weights come in any memory order, and the sum may run over
their inputs (forward) or their outputs (data gradient).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .dot import HEAD, TILE
from .jit import LANES, parallel, prange
from .memory import Call, Tables, call
from .microkernel import Arguments
from .narrow import rounded_bits
from .narrow_conv import Window
from .simd import I32, INTS, load

_BLOCK = TILE * TILE


@intrinsic
def _pairs(typing_context, F, W, first, second, to):
    """Write the pairs of the `LANES` numbers at W[first:] and W[second:] as bfloat16, to F[to:]."""

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F W first second to", sig, args)
        low, high = (
            rounded_bits(builder, load(builder, given.pointer("W"), given.integer(name)))
            for name in ("first", "second")
        )
        value = builder.or_(low, builder.shl(high, ir.Constant(INTS, [16] * LANES)))
        place = builder.bitcast(builder.gep(given.pointer("F"), [given.integer("to")]), INTS.as_pointer())
        builder.store(value, place).align = 4
        return context.get_dummy_value()

    return types.void(F, W, first, second, to), generate


@intrinsic
def _rows(typing_context, F, W, first, apart, to, pitch):
    """Of `LANES` rows of W, `apart` numbers apart, 2 LANES numbers each as bfloat16: pair k of row i goes to
    place ``to + k pitch + i``.
    """

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F W first apart to pitch", sig, args)
        at, rows = given.integer("first"), []
        even = ir.Constant(ir.VectorType(I32, LANES), list(range(0, 2 * LANES, 2)))
        odd = ir.Constant(ir.VectorType(I32, LANES), list(range(1, 2 * LANES, 2)))
        shift = ir.Constant(INTS, [16] * LANES)
        for _ in range(LANES):
            next_ = builder.add(at, ir.Constant(at.type, LANES))
            halves = [rounded_bits(builder, load(builder, given.pointer("W"), a)) for a in (at, next_)]
            low, high = (builder.shuffle_vector(*halves, mask) for mask in (even, odd))
            rows.append(builder.or_(low, builder.shl(high, shift)))
            at = builder.add(at, given.integer("apart"))
        s = LANES // 2
        while s:
            low = ir.Constant(INTS, [i if not i & s else i - s + LANES for i in range(LANES)])
            high = ir.Constant(INTS, [i + s if not i & s else i + LANES for i in range(LANES)])
            for i in range(LANES):
                if not i & s:
                    a, b = rows[i], rows[i + s]
                    rows[i] = builder.shuffle_vector(a, b, low)
                    rows[i + s] = builder.shuffle_vector(a, b, high)
            s //= 2
        target = given.integer("to")
        for row in rows:
            place = builder.bitcast(builder.gep(given.pointer("F"), [target]), INTS.as_pointer())
            builder.store(row, place).align = 4
            target = builder.add(target, given.integer("pitch"))
        return context.get_dummy_value()

    return types.void(F, W, first, apart, to, pitch), generate


@intrinsic
def _pair(typing_context, F, to, low, high):
    """Write two numbers as one place of bfloat16."""

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "F to low high", sig, args)
        pair = []
        for value in args[2:]:
            empty = ir.Constant(ir.VectorType(ir.FloatType(), LANES), ir.Undefined)
            whole = builder.insert_element(empty, value, ir.Constant(I32, 0))
            pair.append(builder.extract_element(rounded_bits(builder, whole), ir.Constant(I32, 0)))
        bits = builder.or_(pair[0], builder.shl(pair[1], ir.Constant(I32, 16)))
        place = builder.gep(given.pointer("F"), [given.integer("to")])
        builder.store(bits, builder.bitcast(place, I32.as_pointer()))
        return context.get_dummy_value()

    return types.void(F, to, types.float32, types.float32), generate


@parallel
def pack_narrow(F, I, W, p, s):
    """Weights `W` into the blocks that `narrow_conv` reads; `p` comes from `pack_call`.

    ``I[source + 2 (step places + place)]`` and the number behind it say where in W the pair of one output
    lies, -1 for none; outputs lie `apart` numbers from each other.
    """
    start, apart, target, outs, steps, places, source = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    tiles = (outs + TILE - 1) // TILE
    size = steps * places * TILE
    for task in prange(tiles * steps):
        tile, step = task // steps, task % steps
        block, beside = tile // 2, tile % 2
        both = min(2, tiles - 2 * block)
        used = min(TILE, outs - tile * TILE)
        to = target + block * (HEAD + 2 * size) + HEAD + (step * both + beside) * places * TILE
        first = start + tile * TILE * apart
        table = source + 2 * step * places
        if used == TILE and apart == 1:
            for k in range(places):
                low, high = I[table + 2 * k], I[table + 2 * k + 1]
                if low >= 0 and high >= 0:
                    for lane in range(0, TILE, LANES):
                        at = first + lane
                        _pairs(F, W, at + low, at + high, to + k * TILE + lane)
                else:
                    for lane in range(TILE):
                        a = W[first + lane + low] if low >= 0 else np.float32(0)
                        b = W[first + lane + high] if high >= 0 else np.float32(0)
                        _pair(F, to + k * TILE + lane, a, b)
            continue
        for k0 in range(0, places, LANES):
            whole = used == TILE and k0 + LANES <= places
            for k in range(2 * LANES if whole else 0):
                whole = whole and I[table + 2 * k0 + k] == I[table + 2 * k0] + k and I[table + 2 * k0] >= 0
            if whole:
                for lane in range(0, TILE, LANES):
                    at = first + lane * apart + I[table + 2 * k0]
                    _rows(F, W, at, apart, to + k0 * TILE + lane, TILE)
                continue
            for k in range(k0, min(places, k0 + LANES)):
                low, high = I[table + 2 * k], I[table + 2 * k + 1]
                for lane in range(TILE):
                    at = first + lane * apart
                    there = lane < used
                    a = W[at + low] if there and low >= 0 else np.float32(0)
                    b = W[at + high] if there and high >= 0 else np.float32(0)
                    _pair(F, to + k * TILE + lane, a, b)


def pack_call(
    tables: Tables, window: Window, *, channels: int, kw: int, start: int, strides: tuple[int, int, int],
    apart: int, target: int, outs: int,
) -> Call:  # fmt: skip
    """One call of `pack_narrow`.

    Args:
        tables: takes where the numbers lie.
        window: of the convolution; `channels` and `kw` are those that its source counts in.
        start: of the weights in their memory; strides: from row to row, column to column and from channel to
            channel of the sum; apart: from output to output.
        target: place of `packed_size` numbers, of which the heads stay zero; outs: how many outputs.
    """
    tap, channel = np.divmod(window.source, channels)
    row, column = np.divmod(tap, kw)
    offsets = row * strides[0] + column * strides[1] + channel * strides[2]
    table = np.where(window.source < 0, -1, offsets).astype(np.int32).ravel()
    sizes = (outs, len(window.offsets), window.places, tables.add(table))
    return call((start, apart, target, *sizes))
