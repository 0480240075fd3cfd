"""Depthwise convolution: every channel with its own small filter, both ways.

Weights lie as (tap, channel), channels padded to whole vectors.
"""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import FLOATS, LANES, address, invoke, parallel, prange, serial
from .memory import Call, Map, call, padded
from .simd import (
    I64,
    data_pointer,
    fma,
    index,
    larger,
    load,
    smaller,
    splat,
    store,
    vexp,
    vfma,
    vload,
    vmax,
    vmin,
    vsplat,
    vstore,
)

Pair = tuple[int, int]
_GROUPS = 32


def _strip(pixels: int, stride: int) -> Any:
    """A microkernel: 3x3 on one vector of channels, `pixels` neighbours in a row; every input is loaded once.

    The three input rows start at F[first], F[second], F[third], pixels `step` apart; tap t's weights stand at
    ``w + t wide``. Writes min(max(v, slope v), cap) to ``y``, pixels `y_step` apart.
    """
    names = ("F", "first", "second", "third", "step", "w", "wide", "bias", "y", "y_step", "slope", "cap")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        given = dict(zip(names, zip(sig.args, args, strict=True), strict=True))
        memory = data_pointer(context, builder, *given["F"])
        number = {name: index(builder, *given[name]) for name in names[1:-2]}
        slope, cap = (
            splat(builder, context.cast(builder, given[name][1], given[name][0], types.float32))
            for name in ("slope", "cap")
        )

        def place(start: str, step: str, count: int) -> Any:
            return builder.add(number[start], builder.mul(number[step], ir.Constant(I64, count)))

        sums = [load(builder, memory, number["bias"])] * pixels
        for a, row in enumerate(("first", "second", "third")):
            taps = [load(builder, memory, place("w", "wide", 3 * a + k)) for k in range(3)]
            for j in range((pixels - 1) * stride + 3):
                x = load(builder, memory, place(row, "step", j))
                for k in range(3):
                    if (j - k) % stride == 0 and 0 <= (j - k) // stride < pixels:
                        i = (j - k) // stride
                        sums[i] = fma(builder, x, taps[k], sums[i])
        for i, v in enumerate(sums):
            v = smaller(builder, cap, larger(builder, builder.fmul(v, slope), v))
            store(builder, v, memory, place("y", "y_step", i))
        return context.get_dummy_value()

    @intrinsic
    def kernel(typing_context, F, first, second, third, step, w, wide, bias, y, y_step, slope, cap):
        kinds = (F, first, second, third, step, w, wide, bias, y, y_step, slope, cap)
        return types.void(*kinds), generate

    return kernel


_eight1, _four1, _one = _strip(8, 1), _strip(4, 1), _strip(1, 1)
_eight2, _four2 = _strip(8, 2), _strip(4, 2)


@serial
def _row(F, first, second, third, step, stride, y, y_step, width, channels, w, bias, slope, cap):
    """One row of a 3x3 depthwise convolution of stride 1 or 2, from the three rows of its windows."""
    i = 0
    while i < width:
        at, to = i * stride * step, y + i * y_step
        if i + 8 <= width:
            for c in range(0, channels, LANES):
                a, b, d = first + at + c, second + at + c, third + at + c
                if stride == 1:
                    _eight1(F, a, b, d, step, w + c, channels, bias + c, to + c, y_step, slope, cap)
                else:
                    _eight2(F, a, b, d, step, w + c, channels, bias + c, to + c, y_step, slope, cap)
            i += 8
        elif i + 4 <= width:
            for c in range(0, channels, LANES):
                a, b, d = first + at + c, second + at + c, third + at + c
                if stride == 1:
                    _four1(F, a, b, d, step, w + c, channels, bias + c, to + c, y_step, slope, cap)
                else:
                    _four2(F, a, b, d, step, w + c, channels, bias + c, to + c, y_step, slope, cap)
            i += 4
        else:
            for c in range(0, channels, LANES):
                a, b, d = first + at + c, second + at + c, third + at + c
                _one(F, a, b, d, step, w + c, channels, bias + c, to + c, y_step, slope, cap)
            i += 1


@cache
def row_address() -> int:
    """Where the code of a 3x3 row stands, for the kernels that invoke it."""
    return address(_row, (FLOATS, *[types.int64] * 11, types.float32, types.float32))


@parallel
def depthwise(F, I, p, s):
    """y = activation(conv(x) + bias), four neighbouring pixels at a time; reads into the halo."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kh, kw, sh, sw, ph, pw, dh, dw = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19],
    )  # fmt: skip
    usual = kh == 3 and kw == 3 and dh == 1 and dw == 1 and sw <= 2
    w, bias, silu, mode, r, r_step, r_row, r_image = p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27]
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
        image, row = line // height, line % height
        top = x + image * x_image + (row * sh - ph) * x_row - pw * x_step
        target = y + image * y_image + row * y_row
        shortcut = r + image * r_image + row * r_row
        next_ = sw * x_step
        if usual:
            plain = silu == 0 and mode == 0
            slope_now, cap_now = (s[0], s[1]) if plain else (np.float32(1), np.float32(np.inf))
            invoke(p[28], (F, top, top + x_row, top + 2 * x_row, x_step, sw, target, y_step, width, wide, w,
                           bias, slope_now, cap_now))  # fmt: skip
            if plain:
                continue
        for c in range(0, wide, LANES):
            b = vload(F, bias + c)
            i = width if usual else 0
            while i + 4 <= width:
                v0, v1, v2, v3 = b, b, b, b
                for a in range(kh):
                    at = top + a * dh * x_row + i * next_ + c
                    for k in range(kw):
                        u = vload(F, w + (a * kw + k) * wide + c)
                        v0 = vfma(vload(F, at), u, v0)
                        v1 = vfma(vload(F, at + next_), u, v1)
                        v2 = vfma(vload(F, at + 2 * next_), u, v2)
                        v3 = vfma(vload(F, at + 3 * next_), u, v3)
                        at += dw * x_step
                to = target + i * y_step + c
                vstore(F, to, v0)
                vstore(F, to + y_step, v1)
                vstore(F, to + 2 * y_step, v2)
                vstore(F, to + 3 * y_step, v3)
                i += 4
            while i < width:
                v0 = b
                for a in range(kh):
                    at = top + a * dh * x_row + i * next_ + c
                    for k in range(kw):
                        v0 = vfma(vload(F, at), vload(F, w + (a * kw + k) * wide + c), v0)
                        at += dw * x_step
                vstore(F, target + i * y_step + c, v0)
                i += 1
            for i in range(width):
                v = vload(F, target + i * y_step + c)
                if mode == 1:
                    v = v + vload(F, shortcut + i * r_step + c)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(cap, vmax(v * slope, v))
                if mode == 2:
                    v = v + vload(F, shortcut + i * r_step + c)
                vstore(F, target + i * y_step + c, v)


@parallel
def depthwise_input_gradient(F, I, p, s):
    """t (+)= the sum over all taps whose window holds the pixel."""
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw, dh, dw, w, add = (
        p[14], p[15], p[16], p[17], p[18], p[19], p[20], p[21], p[22], p[23],
    )  # fmt: skip
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            at = t + image * t_image + row * t_row + i * t_step
            for c in range(0, wide, LANES):
                total = vload(F, at + c) if add == 1 else vsplat(np.float32(0))
                for a in range(kh):
                    oy = row + ph - a * dh
                    if oy >= 0 and oy % sh == 0 and oy // sh < outs_h:
                        for k in range(kw):
                            ox = i + pw - k * dw
                            if ox >= 0 and ox % sw == 0 and ox // sw < outs_w:
                                place = g + image * g_image + oy // sh * g_row + ox // sw * g_step + c
                                total = vfma(vload(F, place), vload(F, w + (a * kw + k) * wide + c), total)
                vstore(F, at + c, total)


@parallel
def depthwise_weight_gradient(F, I, p, s):
    """Gradient (tap, channel): partial sums by groups of rows, joined in order."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide, kh, kw, sh, sw, ph, pw, dh, dw = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19], p[20],
    )  # fmt: skip
    scratch, target, rows = p[21], p[22], p[23]
    lines = n * height
    groups = (lines + rows - 1) // rows
    taps = kh * kw
    for q in prange(groups):
        for tap in range(taps):
            a, k = tap // kw, tap % kw
            for c in range(0, wide, LANES):
                total = vsplat(np.float32(0))
                for line in range(q * rows, min((q + 1) * rows, lines)):
                    image, row = line // height, line % height
                    at = x + image * x_image + (row * sh - ph + a * dh) * x_row + (k * dw - pw) * x_step + c
                    place = g + image * g_image + row * g_row + c
                    for i in range(width):
                        total = vfma(vload(F, at + i * sw * x_step), vload(F, place + i * g_step), total)
                vstore(F, scratch + (q * taps + tap) * wide + c, total)
    for tap in prange(taps):
        for c in range(channels):
            total = 0.0
            for q in range(groups):
                total += F[scratch + (q * taps + tap) * wide + c]
            F[target + tap * channels + c] = total


def depthwise_call(
    x: Map, y: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, weights: int, bias: int,
    slope: float = 1.0, cap: float = np.inf, silu: bool = False, residual: Map | None = None,
    residual_mode: int = 0,
) -> Call:  # fmt: skip
    """One call of `depthwise`."""
    shortcut, mode = residual or y, residual_mode if residual else 0
    sizes = (*y.shape[:3], padded(y.c), *kernel, *stride, *padding, *dilation)
    places = (weights, bias, int(silu), mode, *shortcut.place, row_address())
    return call((*x.place, *y.place, *sizes, *places), (slope, cap))


def input_gradient_call(
    g: Map, target: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, weights: int, add: bool
) -> Call:
    """One call of `depthwise_input_gradient`."""
    sizes = (*target.shape[:3], *g.shape[1:3], padded(g.c), *kernel, *stride, *padding, *dilation)
    return call((*g.place, *target.place, *sizes, weights, int(add)))


def weight_gradient_call(
    x: Map, g: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, scratch: int, target: int
) -> Call:
    """One call of `depthwise_weight_gradient`; scratch needs `weight_scratch` numbers."""
    rows = -(-g.buffer.n * g.buffer.h // _GROUPS)
    sizes = (*g.shape, padded(g.c), *kernel, *stride, *padding, *dilation)
    return call((*x.place, *g.place, *sizes, scratch, target, rows))


def weight_scratch(g: Map, kernel: Pair) -> int:
    """Numbers of scratch memory that `weight_gradient_call` needs."""
    return _GROUPS * kernel[0] * kernel[1] * padded(g.c)
