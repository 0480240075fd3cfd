"""Numbers of 16 and 8 bits inside the float32 memory, and the kernels that move them.

A place of the memory holds one float32 number, two bfloat16 (the upper half of a float32) or four int8. So a
buffer is laid out in places whatever it holds, zeros are zeros in all three, and `kind` is both the name of
a type and how many of its numbers share a place.
"""

import os
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, call, padded
from .simd import (
    I32,
    INTS,
    VECTOR,
    constant,
    data_pointer,
    index,
    larger,
    llvm_function,
    smaller,
    splat,
    vector,
    vload,
    vpeak,
    vsplat,
    vstore,
)

Pair = tuple[int, int]

FLOAT32, BFLOAT16, INT8 = 1, 2, 4

#: Channels that kernels handle together: every narrow map has a multiple of these, the spare ones zero.
GROUP = 16
#: The largest int8 number in use; -128 is not, so that numbers are symmetric.
MOST = 127

_I8, _I16 = ir.IntType(8), ir.IntType(16)

# LLVM reads the instructions that `instruction` names when a kernel is compiled, or linked from the cache.
llvm.initialize_native_asmparser()


def grouped(channels: int) -> int:
    """`channels` rounded up to whole groups."""
    return -(-channels // GROUP) * GROUP


def spread(x: Map) -> int:
    """Channels of a map that kernels handle: its own, in whole vectors or, narrow, in whole groups."""
    return padded(x.c) if x.buffer.kind == FLOAT32 else grouped(x.c)


def spaced(channels: int, kind: int) -> int:
    """Places from pixel to pixel; never a multiple of a kilobyte, see `memory.spaced`."""
    places = grouped(channels) // kind
    return places + GROUP if places % 256 == 0 else places


def to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of numbers rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


@cache
def features() -> frozenset[str]:
    """The processor's features that kernels are compiled for."""
    named = os.environ.get("NUMBA_CPU_FEATURES")
    if named is not None:
        return frozenset(name[1:] for name in named.split(",") if name.startswith("+"))
    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def instruction(builder: Any, text: str, kind: Any, arguments: list[Any], operands: str) -> Any:
    """One instruction by its own name, since LLVM's names for those here change from version to version."""
    function = ir.FunctionType(kind, [argument.type for argument in arguments])
    return builder.call(ir.InlineAsm(function, text, operands), arguments)


# ---- reading and writing vectors ----------------------------------------------------------------


def narrow_pointer(builder: Any, pointer: Any, number: Any, offset: Any, lanes: int) -> Any:
    """The address of `lanes` numbers of the integer type `number`."""
    start = builder.bitcast(pointer, number.as_pointer())
    kind = ir.VectorType(number, lanes).as_pointer()
    return builder.bitcast(builder.gep(start, [offset]), kind)


def _ones(value: int) -> Any:
    return ir.Constant(INTS, [value] * LANES)


def widened(builder: Any, memory: Any, offset: Any, kind: int) -> Any:
    """`LANES` narrow numbers, the first at number `offset` of the memory, as float32."""
    if kind == BFLOAT16:
        bits = builder.load(narrow_pointer(builder, memory, _I16, offset, LANES))
        bits.align = 2
        return builder.bitcast(builder.shl(builder.zext(bits, INTS), _ones(16)), VECTOR)
    numbers = builder.load(narrow_pointer(builder, memory, _I8, offset, LANES))
    numbers.align = 1
    return builder.sitofp(builder.sext(numbers, INTS), VECTOR)


@intrinsic
def load16(typing_context, array, offset):
    """`LANES` bfloat16 numbers, the first at number `offset`, as float32."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        return widened(builder, pointer, index(builder, sig.args[1], args[1]), BFLOAT16)

    return vector(array, offset), generate


@intrinsic
def _load8(typing_context, array, offset):
    """`LANES` int8 numbers, the first at number `offset`, as float32."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        return widened(builder, pointer, index(builder, sig.args[1], args[1]), INT8)

    return vector(array, offset), generate


def rounded_bits(builder: Any, value: Any) -> Any:
    """A vector rounded to bfloat16, to the nearest, ties to even: bits in the lower halves of its lanes."""
    bits = builder.bitcast(value, INTS)
    odd = builder.and_(builder.lshr(bits, _ones(16)), _ones(1))
    rounded = builder.lshr(builder.add(builder.add(bits, _ones(0x7FFF)), odd), _ones(16))
    return builder.select(builder.fcmp_unordered("uno", value, value), _ones(0x7FC0), rounded)


@intrinsic
def store16(typing_context, array, offset, value):
    """Write `LANES` numbers as bfloat16, rounded to the nearest, ties to even; NaN stays NaN."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        place = narrow_pointer(builder, pointer, _I16, index(builder, sig.args[1], args[1]), LANES)
        halves = ir.VectorType(_I16, LANES)
        if {"avx512bf16", "avx512vl"} <= features():
            text = "vcvtneps2bf16 $1, $0"
            builder.store(instruction(builder, text, halves, [args[2]], "=v,v"), place).align = 2
            return context.get_dummy_value()
        rounded = rounded_bits(builder, args[2])
        builder.store(builder.trunc(rounded, halves), place).align = 2
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


@intrinsic
def _store8(typing_context, array, offset, value):
    """Write `LANES` numbers as int8, rounded to the nearest, ties to even, in -127 .. 127; NaN as -127."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        place = narrow_pointer(builder, pointer, _I8, index(builder, sig.args[1], args[1]), LANES)
        inside = smaller(builder, larger(builder, args[2], constant(-MOST)), constant(MOST))
        whole = builder.fptosi(builder.call(llvm_function(builder, "llvm.rint", 1), [inside]), INTS)
        builder.store(builder.trunc(whole, ir.VectorType(_I8, LANES)), place).align = 1
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


@intrinsic
def vload_ints(typing_context, array, offset):
    """The `LANES` int32 numbers at array[offset:] as float32."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        start = builder.bitcast(pointer, I32.as_pointer())
        place = builder.gep(start, [index(builder, sig.args[1], args[1])])
        numbers = builder.load(builder.bitcast(place, INTS.as_pointer()))
        numbers.align = 4
        return builder.sitofp(numbers, VECTOR)

    return vector(array, offset), generate


@serial
def get(F, at, kind):
    """`LANES` numbers of a kind as float32; `at` counts numbers of that kind."""
    if kind == BFLOAT16:
        return load16(F, at)
    if kind == INT8:
        return _load8(F, at)
    return vload(F, at)


@serial
def put(F, at, kind, value):
    """Write `LANES` numbers as a kind; `at` counts numbers of that kind."""
    if kind == BFLOAT16:
        store16(F, at, value)
    elif kind == INT8:
        _store8(F, at, value)
    else:
        vstore(F, at, value)


# ---- kernels ------------------------------------------------------------------------------------


@intrinsic
def first_lanes(typing_context, value, count):
    """The first `count` lanes, then zeros."""

    def generate(context, builder, sig, args):
        lanes = ir.Constant(INTS, list(range(LANES)))
        limit = splat(builder, builder.trunc(index(builder, sig.args[1], args[1]), I32), INTS)
        return builder.select(builder.icmp_signed("<", lanes, limit), args[0], constant(0.0))

    return vector(value, count), generate


@parallel
def move(F, I, p, s):
    """y = x times each channel's factor, from kind to kind, every pixel repeated `repeat` times each way."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide, x_kind, y_kind, factors, repeat = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16],
    )  # fmt: skip
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            source = (x + image * x_image + row * x_row + i * x_step) * x_kind
            corner = y + image * y_image + row * repeat * y_row + i * repeat * y_step
            for c in range(0, wide, LANES):
                v = first_lanes(get(F, source + c, x_kind) * vload(F, factors + c), channels - c)
                for a in range(repeat):
                    for b in range(repeat):
                        put(F, (corner + a * y_row + b * y_step) * y_kind + c, y_kind, v)


@parallel
def narrow_max_pool(F, I, p, s):
    """The largest value of each window."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw, kind = p[14], p[15], p[16], p[17], p[18], p[19], p[20]
    for line in prange(n * outs_h):
        image, oy = line // outs_h, line % outs_h
        top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
        for ox in range(outs_w):
            left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
            corner = x + image * x_image + top * x_row + left * x_step
            target = (y + image * y_image + oy * y_row + ox * y_step) * kind
            for c in range(0, wide, LANES):
                best = get(F, corner * kind + c, kind)
                for i in range(bottom - top):
                    for j in range(right - left):
                        best = vpeak(get(F, (corner + i * x_row + j * x_step) * kind + c, kind), best)
                put(F, target + c, kind, best)


@serial
def _put_one(F, at, kind, value):
    """One number as a kind, rounded as `put` rounds."""
    if kind == BFLOAT16:
        bits = np.float32(value).view(np.uint32)
        rounded = (np.uint64(bits) + np.uint64(0x7FFF) + np.uint64((bits >> 16) & 1)) >> np.uint64(16)
        F.view(np.uint16)[at] = 0x7FC0 if value != value else rounded
    elif kind == INT8:
        inside = min(max(value, np.float32(-MOST)), np.float32(MOST)) if value == value else -MOST
        F.view(np.int8)[at] = np.int8(np.rint(inside))
    else:
        F[at] = value


@intrinsic
def _pixels(typing_context, numbers, offset):
    """The `LANES` uint8 or float32 numbers at numbers[offset:] as float32."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        place = builder.gep(pointer, [index(builder, sig.args[1], args[1])])
        given = ir.VectorType(pointer.type.pointee, LANES)
        value = builder.load(builder.bitcast(place, given.as_pointer()))
        value.align = 1
        return value if given == VECTOR else builder.uitofp(value, VECTOR)

    return vector(numbers, offset), generate


@intrinsic
def _spread(typing_context, value):
    """Pixels of three numbers with a zero behind each; the last quarter of the lanes falls out."""

    def generate(context, builder, sig, args):
        mask = [LANES if i % 4 == 3 else i // 4 * 3 + i % 4 for i in range(LANES)]
        return builder.shuffle_vector(args[0], constant(0.0), ir.Constant(INTS, mask))

    return vector(vector), generate


@parallel
def take_narrow_picture(F, I, p, s, pictures):
    """Pictures (N, H, W, C) of uint8 or float32 into a map of `wide` numbers a pixel: (x - mean) scale."""
    y, step, row, image, kind, wide = p[0], p[1], p[2], p[3], p[4], p[5]
    n, height, width, channels = pictures.shape
    numbers = pictures.reshape(-1)
    for line in prange(n * height):
        i, r = line // height, line % height
        mean, scale = vsplat(s[0]), vsplat(s[1])
        done = 0
        while (
            channels == 3 and done + LANES // 4 <= width and (line * width + done) * 3 + LANES <= numbers.size
        ):
            v = _spread((_pixels(numbers, (line * width + done) * 3) - mean) * scale)
            put(F, (y + i * image + r * row + done * step) * kind, kind, v)
            done += LANES // 4
        for x in range(done, width):
            at = (y + i * image + r * row + x * step) * kind
            for c in range(channels):
                _put_one(F, at + c, kind, (np.float32(pictures[i, r, x, c]) - s[0]) * s[1])
            for c in range(channels, wide):
                _put_one(F, at + c, kind, np.float32(0))


def move_call(x: Map, y: Map, factors: int, repeat: int = 1) -> Call:
    """One call of `move`; `factors` is the place of `grouped(x.c)` numbers."""
    kinds = (x.buffer.kind, y.buffer.kind)
    return call((*x.place, *y.place, *x.shape, spread(y), *kinds, factors, repeat))


def narrow_pool_call(x: Map, y: Map, kernel: Pair, stride: Pair, padding: Pair) -> Call:
    """One call of `narrow_max_pool`."""
    sizes = (*x.shape[:3], *y.shape[1:3], grouped(x.c))
    return call((*x.place, *y.place, *sizes, *kernel, *stride, *padding, x.buffer.kind))
