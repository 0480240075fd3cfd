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
    ``w + t wide``; the sums start from ``start``, pixels `start_step` apart (a bias: 0). Writes
    min(max(v, slope v), cap) to ``y``, pixels `y_step` apart.
    """
    names = (
        "F", "first", "second", "third", "step", "w", "wide", "start", "start_step", "y", "y_step", "slope",
        "cap",
    )  # fmt: skip

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

        sums = [load(builder, memory, place("start", "start_step", i)) for i in range(pixels)]
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
    def kernel(
        typing_context, F, first, second, third, step, w, wide, start, start_step, y, y_step, slope, cap
    ):  # fmt: skip
        kinds = (F, first, second, third, step, w, wide, start, start_step, y, y_step, slope, cap)
        return types.void(*kinds), generate

    return kernel


_eight1, _four1, _one = _strip(8, 1), _strip(4, 1), _strip(1, 1)
_eight2, _four2 = _strip(8, 2), _strip(4, 2)


@serial
def _row(
    F, first, second, third, step, stride, y, y_step, width, channels, w, start, start_step, slope, cap
):  # fmt: skip
    """One row of a 3x3 depthwise convolution of stride 1 or 2, from the three rows of its windows."""
    i = 0
    while i < width:
        at, to, given = i * stride * step, y + i * y_step, start + i * start_step
        pixels = 8 if i + 8 <= width else 4 if i + 4 <= width else 1
        for c in range(0, channels, LANES):
            a, b, d, e, o = first + at + c, second + at + c, third + at + c, given + c, to + c
            if pixels == 1:
                _one(F, a, b, d, step, w + c, channels, e, start_step, o, y_step, slope, cap)
            elif pixels == 4 and stride == 1:
                _four1(F, a, b, d, step, w + c, channels, e, start_step, o, y_step, slope, cap)
            elif pixels == 4:
                _four2(F, a, b, d, step, w + c, channels, e, start_step, o, y_step, slope, cap)
            elif stride == 1:
                _eight1(F, a, b, d, step, w + c, channels, e, start_step, o, y_step, slope, cap)
            else:
                _eight2(F, a, b, d, step, w + c, channels, e, start_step, o, y_step, slope, cap)
        i += pixels


@cache
def row_address() -> int:
    """Where the code of a 3x3 row stands, for the kernels that invoke it."""
    return address(_row, (FLOATS, *[types.int64] * 12, types.float32, types.float32))


@serial
def _window(
    F, x, next_, x_row, x_step, kh, kw, dh, dw, c, w, wide, start, start_step, slope, cap, y, y_step, pixels
):  # fmt: skip
    """One or four neighbouring pixels of one vector of channels, any filter."""
    v0 = vload(F, start + c)
    v1, v2, v3 = v0, v0, v0
    if pixels == 4:
        v1, v2 = vload(F, start + start_step + c), vload(F, start + 2 * start_step + c)
        v3 = vload(F, start + 3 * start_step + c)
    for a in range(kh):
        at = x + a * dh * x_row + c
        for k in range(kw):
            u = vload(F, w + (a * kw + k) * wide + c)
            v0 = vfma(vload(F, at), u, v0)
            if pixels == 4:
                v1 = vfma(vload(F, at + next_), u, v1)
                v2 = vfma(vload(F, at + 2 * next_), u, v2)
                v3 = vfma(vload(F, at + 3 * next_), u, v3)
            at += dw * x_step
    low, high = vsplat(slope), vsplat(cap)
    vstore(F, y + c, vmin(high, vmax(v0 * low, v0)))
    if pixels == 4:
        vstore(F, y + y_step + c, vmin(high, vmax(v1 * low, v1)))
        vstore(F, y + 2 * y_step + c, vmin(high, vmax(v2 * low, v2)))
        vstore(F, y + 3 * y_step + c, vmin(high, vmax(v3 * low, v3)))


@parallel
def depthwise(F, I, p, s):
    """y = activation(conv(x) + bias), neighbouring pixels together; reads into the halo.

    A shortcut is added before (mode 1) or after (2) the activation; mode 3 adds to what y holds.
    """
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kh, kw, sh, sw, ph, pw, dh, dw = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19],
    )  # fmt: skip
    usual = kh == 3 and kw == 3 and (sw == 1 or (sw == 2 and dw == 1))
    w, bias, silu, mode, r, r_step, r_row, r_image = p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27]
    plain = silu == 0 and (mode == 0 or mode == 3)
    slope_now, cap_now = (s[0], s[1]) if plain else (np.float32(1), np.float32(np.inf))
    for line in prange(n * height):
        image, row = line // height, line % height
        top = x + image * x_image + (row * sh - ph) * x_row - pw * x_step
        target = y + image * y_image + row * y_row
        next_ = sw * x_step
        start, start_step = (target, y_step) if mode == 3 else (bias, 0)
        if usual:
            # With a dilation of d, every d-th pixel is a row without one.
            for k in range(min(dw, width)):
                at, to, count = top + k * x_step, target + k * y_step, (width - k + dw - 1) // dw
                invoke(p[28], (F, at, at + dh * x_row, at + 2 * dh * x_row, dw * x_step, sw, to, dw * y_step,
                               count, wide, w, start + k * start_step, dw * start_step, slope_now, cap_now)
                )  # fmt: skip
        else:
            i = 0
            while i < width:
                pixels = 4 if i + 4 <= width else 1
                for c in range(0, wide, LANES):
                    _window(F, top + i * next_, next_, x_row, x_step, kh, kw, dh, dw, c, w, wide,
                            start + i * start_step, start_step, slope_now, cap_now, target + i * y_step,
                            y_step, pixels)  # fmt: skip
                i += pixels
        if plain:
            continue
        slope, cap = vsplat(s[0]), vsplat(s[1])
        one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
        shortcut = r + image * r_image + row * r_row
        for i in range(width):
            for c in range(0, wide, LANES):
                v = vload(F, target + i * y_step + c)
                if mode == 1:
                    v = v + vload(F, shortcut + i * r_step + c)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(cap, vmax(v * slope, v))
                if mode == 2:
                    v = v + vload(F, shortcut + i * r_step + c)
                vstore(F, target + i * y_step + c, v)


@serial
def _add_product(F, g, w, t, wide, first):
    """t (+)= g w, vector by vector; `first` starts anew."""
    for c in range(0, wide, LANES):
        total = vsplat(np.float32(0)) if first else vload(F, t + c)
        vstore(F, t + c, vfma(vload(F, g + c), vload(F, w + c), total))


@parallel
def depthwise_input_gradient(F, I, p, s):
    """t (+)= the sum over all taps whose window holds the pixel, for any stride."""
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw, dh, dw, w, add = (
        p[14], p[15], p[16], p[17], p[18], p[19], p[20], p[21], p[22], p[23],
    )  # fmt: skip
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            at = t + image * t_image + row * t_row + i * t_step
            first = add == 0
            for a in range(kh):
                oy = row + ph - a * dh
                if oy >= 0 and oy % sh == 0 and oy // sh < outs_h:
                    for k in range(kw):
                        ox = i + pw - k * dw
                        if ox >= 0 and ox % sw == 0 and ox // sw < outs_w:
                            place = g + image * g_image + oy // sh * g_row + ox // sw * g_step
                            _add_product(F, place, w + (a * kw + k) * wide, at, wide, first)
                            first = False
            if first:
                for c in range(0, wide, LANES):
                    vstore(F, at + c, vsplat(np.float32(0)))


@serial
def _add_taps(F, x, next_, x_row, x_step, g, g_step, kh, kw, dh, dw, sums, wide, pixels):
    """Add the shares of one or four neighbouring pixels to the sums (tap, channel)."""
    for c in range(0, wide, LANES):
        g0 = vload(F, g + c)
        g1, g2, g3 = g0, g0, g0
        if pixels == 4:
            g1, g2, g3 = vload(F, g + g_step + c), vload(F, g + 2 * g_step + c), vload(F, g + 3 * g_step + c)
        to = sums + c
        for a in range(kh):
            at = x + a * dh * x_row + c
            for _ in range(kw):
                total = vfma(vload(F, at), g0, vload(F, to))
                if pixels == 4:
                    total = vfma(vload(F, at + next_), g1, total)
                    total = vfma(vload(F, at + 2 * next_), g2, total)
                    total = vfma(vload(F, at + 3 * next_), g3, total)
                vstore(F, to, total)
                at += dw * x_step
                to += wide


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
        sums = scratch + q * taps * wide
        for at in range(sums, sums + taps * wide, LANES):
            vstore(F, at, vsplat(np.float32(0)))
        for line in range(q * rows, min((q + 1) * rows, lines)):
            image, row = line // height, line % height
            top = x + image * x_image + (row * sh - ph) * x_row - pw * x_step
            place = g + image * g_image + row * g_row
            i = 0
            while i < width:
                pixels = 4 if i + 4 <= width else 1
                _add_taps(F, top + i * sw * x_step, sw * x_step, x_row, x_step, place + i * g_step, g_step,
                          kh, kw, dh, dw, sums, wide, pixels)  # fmt: skip
                i += pixels
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
