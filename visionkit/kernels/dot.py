"""Sums of narrow products for 32 pixels by 32 or 16 output channels: what narrow convolutions are made of.

Two forms of one task. Tiles (AMX) hold 16 rows of 64 bytes and multiply them as matrices; vectors (AVX-512
BF16, VNNI) take one place of a pixel, two or four numbers, times that of 16 output channels. Both read pixels
where they lie and the weights in one packed order, and write the sums as float32 (bfloat16) or int32 (int8):
four blocks of (16 pixels, 16 channels), the first pixels' channels before the second's.
"""

import ctypes
import platform
import sys
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import LANES
from .microkernel import Arguments, loop, number
from .narrow import BFLOAT16, features, instruction
from .simd import I32, I64, INTS, VECTOR, load, splat, store

#: Pixels and output channels of a tile, and the places of its rows.
TILE = 16
#: Places of the sums of one call, and of the numbers in front of packed weights.
SUMS, HEAD = 4 * TILE * TILE, 2 * TILE

_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18


def has_tiles(kind: int) -> bool:
    """Whether the processor multiplies tiles of this kind of numbers."""
    return {"amx-tile", "amx-bf16" if kind == BFLOAT16 else "amx-int8"} <= features()


def has_vectors(kind: int) -> bool:
    """Whether it multiplies vectors of them."""
    if kind == BFLOAT16:
        return LANES >= 8 and {"avx512bf16", "avx512vl"} <= features()
    wide = {"avx512vnni", "avx512vl"} <= features()
    return wide if LANES == 16 else LANES == 8 and (wide or "avxvnni" in features())


def missing(kind: int) -> str:
    """The feature that the processor lacks for this kind of numbers; empty if it has one of them."""
    if (has_tiles(kind) and tiles_allowed()) or has_vectors(kind):
        return ""
    return "AVX-512 BF16 and AMX" if kind == BFLOAT16 else "VNNI and AMX"


def form(kind: int) -> str:
    """How products of a kind are summed here: in "tiles" or "vectors", which add in different orders."""
    return "tiles" if has_tiles(kind) and tiles_allowed() else "vectors"


@cache
def tiles_allowed() -> bool:
    """Whether this process may use tiles: Linux wants to be asked once."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0)


_BYTE, _BYTES = ir.IntType(8), ir.IntType(8).as_pointer()


def _instruction(builder: Any, name: str, kinds: list[Any], arguments: list[Any]) -> None:
    function = ir.FunctionType(ir.VoidType(), kinds)
    builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.{name}"), arguments)


def _tile(number: int) -> Any:
    return ir.Constant(_BYTE, number)


@intrinsic
def configure(typing_context, I, at):
    """Shape the tiles as the 16 numbers of `tile_shapes` at I[at:] say."""

    def generate(context, builder, sig, args):
        given = Arguments(context, builder, "I at", sig, args)
        if has_tiles(BFLOAT16):
            place = builder.gep(given.pointer("I"), [given.integer("at")])
            _instruction(builder, "ldtilecfg", [_BYTES], [builder.bitcast(place, _BYTES)])
        return context.get_dummy_value()

    return types.void(I, at), generate


@intrinsic
def release(typing_context):
    """Give the tiles up, so that the system need not keep them for this thread."""

    def generate(context, builder, sig, args):
        if has_tiles(BFLOAT16):
            _instruction(builder, "tilerelease", [], [])
        return context.get_dummy_value()

    return types.void(), generate


_NAMES = "F I first second step steps count places w out"


def _taken(builder: Any, given: Arguments, s: Any) -> Any:
    """The offset of a step of the sum."""
    at = builder.add(given.integer("steps"), s)
    return builder.sext(builder.load(builder.gep(given.pointer("I"), [at])), I64)


def _tiles(builder: Any, given: Arguments, kind: int, width: int, onto: bool) -> None:
    """Tiles 0 to 3 are sums, 4 and 5 pixels, 6 and 7 weights."""
    dot = "tdpbf16ps" if kind == BFLOAT16 else "tdpbssd"
    memory, line = given.pointer("F"), number(4 * TILE)
    step = builder.shl(given.integer("step"), number(2))
    size = builder.mul(given.integer("places"), number(TILE))

    def move(name: str, tile: int, place: Any, stride: Any) -> None:
        kinds = [_BYTE, _BYTES, I64]
        _instruction(builder, name, kinds, [_tile(tile), builder.bitcast(place, _BYTES), stride])

    sums = [(i, j, 2 * i + j) for i in range(2) for j in range(width)]
    out = builder.gep(memory, [given.integer("out")])
    for _, _, tile in sums:
        if onto:
            move("tileloadd64", tile, builder.gep(out, [number(tile * TILE * TILE)]), line)
        else:
            _instruction(builder, "tilezero", [_BYTE], [_tile(tile)])
    pixels = [builder.gep(memory, [given.integer(name)]) for name in ("first", "second")]

    def one(s: Any, carried: list[Any]) -> list[Any]:
        at, weights = _taken(builder, given, s), carried[0]
        for j in range(width):
            move("tileloadd64", 6 + j, weights, line)
            weights = builder.gep(weights, [size])
        for i in range(2):
            move("tileloadd64", 4 + i, builder.gep(pixels[i], [at]), step)
        for i, j, tile in sums:
            _instruction(builder, dot, [_BYTE] * 3, [_tile(tile), _tile(4 + i), _tile(6 + j)])
        return [weights]

    start = builder.gep(memory, [builder.add(given.integer("w"), number(HEAD))])
    loop(builder, given.integer("count"), "step", [start], one)
    for _, _, tile in sums:
        move("tilestored64", tile, builder.gep(out, [number(tile * TILE * TILE)]), line)


def _product(builder: Any, kind: int, sums: Any, pixels: Any, weights: Any) -> Any:
    """sums + products."""
    if kind == BFLOAT16:
        text = "vdpbf16ps $2, $1, $0"
    elif "avx512vnni" in features():
        text = "vpdpbusd $2, $1, $0"
    else:
        text = "{vex} vpdpbusd $2, $1, $0"
    return instruction(builder, text, sums.type, [pixels, weights, sums], "=v,v,v,0")


def _vectors(builder: Any, given: Arguments, kind: int, width: int, onto: bool) -> None:
    """Eight (16 lanes) or two pixels at a time, their sums in registers.

    vpdpbusd takes its first factor without sign: 128 is added to the pixels, and the sums start with what
    that makes too much taken off, the numbers in front of the weights.
    """
    rows, parts = (8 if LANES == 16 else 2), width * TILE // LANES
    sum_kind = VECTOR if kind == BFLOAT16 else INTS
    memory, step, places = given.pointer("F"), given.integer("step"), given.integer("places")
    head = builder.gep(memory, [given.integer("w")])
    size = builder.mul(places, number(TILE))
    sign = splat(builder, ir.Constant(I32, 0x80808080 - (1 << 32)), INTS)

    def some(p: Any, _: list[Any]) -> list[Any]:
        row = builder.mul(p, number(rows))
        in_first = builder.icmp_signed("<", row, number(TILE))
        start = builder.select(in_first, given.integer("first"), given.integer("second"))
        start = builder.add(start, builder.mul(builder.and_(row, number(TILE - 1)), step))
        pixels = [
            builder.gep(memory, [builder.add(start, builder.mul(step, number(r)))]) for r in range(rows)
        ]

        def one(s: Any, carried: list[Any]) -> list[Any]:
            sources = [builder.gep(pixel, [_taken(builder, given, s)]) for pixel in pixels]

            def place(k: Any, carried: list[Any]) -> list[Any]:
                sums, line = list(carried[:-1]), carried[-1]
                weights = []
                for part in range(parts):
                    tile, lane = divmod(part * LANES, TILE)
                    at = builder.add(builder.mul(size, number(tile)), number(lane))
                    weights.append(load(builder, line, at, INTS))
                for r, source in enumerate(sources):
                    bits = builder.load(builder.bitcast(builder.gep(source, [k]), I32.as_pointer()))
                    value = splat(builder, bits, INTS)
                    if kind != BFLOAT16:
                        value = builder.xor(value, sign)
                    for part in range(parts):
                        i = r * parts + part
                        sums[i] = _product(builder, kind, sums[i], value, weights[part])
                return [*sums, builder.gep(line, [number(TILE)])]

            *sums, line = loop(builder, places, "place", carried, place)
            return [*sums, builder.gep(line, [builder.mul(size, number(width - 1))])]

        # Row r of tile i starts at (2 i TILE + r) TILE; its second block of channels lies a tile further.
        line = builder.add(row, builder.select(in_first, number(0), number(TILE)))
        to = builder.add(given.integer("out"), builder.mul(line, number(TILE)))
        starts = []
        for i in range(rows * parts):
            r, part = divmod(i, parts)
            tile, lane = divmod(part * LANES, TILE)
            starts.append(builder.add(to, number(tile * TILE * TILE + r * TILE + lane)))
        if onto:
            sums = [load(builder, memory, place, sum_kind) for place in starts]
        else:
            sums = [load(builder, head, number(part * LANES), sum_kind) for part in range(parts)] * rows
        carried = [*sums, builder.gep(head, [number(HEAD)])]
        sums = loop(builder, given.integer("count"), "step", carried, one)[:-1]
        for place, value in zip(starts, sums, strict=True):
            store(builder, value, memory, place)
        return []

    loop(builder, number(2 * TILE // rows), "pixels", [], some)


def sums(form: str, kind: int, width: int, onto: bool = False) -> Any:
    """An inner loop: the sums of two tiles of pixels over `count` steps, for `width` tiles of channels.

    Row r of a tile of pixels starts at ``F[first + r step]``; step s of the sum takes `places` places
    ``I[steps + s]`` further. Weights (step, tile of channels, place, channel) lie at ``F[w + HEAD]``.

    Args:
        form: "tiles" or "vectors"; does nothing where the processor lacks it.
        kind: of the numbers.
        width: 1 or 2.
        onto: add to the sums that are there, without what lies in front of the weights.
    """
    has = has_tiles if form == "tiles" else has_vectors
    emit = _tiles if form == "tiles" else _vectors

    @intrinsic
    def kernel(typing_context, F, I, first, second, step, steps, count, places, w, out):
        def generate(context, builder, sig, args):
            if has(kind):
                emit(builder, Arguments(context, builder, _NAMES, sig, args), kind, width, onto)
            return context.get_dummy_value()

        return types.void(F, I, first, second, step, steps, count, places, w, out), generate

    return kernel


def tile_shapes(places: int) -> np.ndarray:
    """The 64 bytes that `configure` reads, for steps of `places` places: palette 1, bytes a row, rows."""
    shapes = np.zeros(64, np.uint8)
    shapes[0] = 1
    shapes[16:32:2] = 4 * TILE
    shapes[48:56] = TILE
    shapes[24:28:2] = 4 * places  # tiles 4 and 5: pixels
    shapes[54:56] = places  # tiles 6 and 7: weights
    return shapes.view(np.int32)
