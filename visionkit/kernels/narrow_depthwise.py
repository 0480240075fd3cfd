"""Depthwise convolution of bfloat16 and int8 maps, computed in float32.

Weights lie as (tap, channel), float32, channels in whole groups.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, call
from .microkernel import Arguments, loop, number, repeat, when
from .narrow import BFLOAT16, INT8, get, grouped, put, widened
from .simd import constant, fma, load, vector, vexp, vfma, vload, vmax, vmin, vsplat

Pair = tuple[int, int]

#: Channels taken from one pixel to the next, so that windows and weights stay in the first-level cache.
_CHANNELS = 256


@serial
def _finish(F, v, slope, cap, factor, silu, mode, r, r_kind, r_scale, target, kind):
    """Residual, activation and rounding of one vector."""
    one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
    if mode == 1:
        v = vfma(get(F, r, r_kind), vload(F, r_scale), v)
    v = v / (one + vexp(zero - v)) if silu == 1 else vmin(cap, vmax(v * slope, v))
    if mode == 2:
        v = vfma(get(F, r, r_kind), vload(F, r_scale), v)
    put(F, target, kind, v * factor)


@serial
def _inside(start, apart, count, size):
    """The first of `count` places, `apart` from `start` on, that lies in 0 .. size, and the first beyond."""
    first = (max(0, -start) + apart - 1) // apart
    return first, max(first, min(count, (size - 1 - start) // apart + 1))


def _rows(builder: Any, given: Arguments, kind: int, apart: int) -> list[Any]:
    """The sums over the rows of a kernel; `apart` is 0, or as in `window` for three columns."""
    memory, right, wide = given.pointer("F"), given.integer("right"), given.integer("wide")
    steps = [builder.mul(given.integer("next"), number(i)) for i in range(4)]
    bias = load(builder, memory, given.integer("bias"))

    def row(_: Any, carried: list[Any]) -> list[Any]:
        values, at, w = list(carried[:4]), carried[4], carried[5]
        if apart:
            places = [builder.add(at, builder.mul(right, number(j))) for j in range(3 * apart + 3)]
            pixels = [widened(builder, memory, place, kind) for place in places]
            for k in range(3):
                weight = load(builder, memory, builder.add(w, builder.mul(wide, number(k))))
                values = [fma(builder, pixels[i * apart + k], weight, values[i]) for i in range(4)]
        else:

            def column(_: Any, carried: list[Any]) -> list[Any]:
                at, w = carried[4], carried[5]
                weight = load(builder, memory, w)
                pixels = [widened(builder, memory, builder.add(at, step), kind) for step in steps]
                new = [fma(builder, pixel, weight, v) for pixel, v in zip(pixels, carried, strict=False)]
                return [*new, builder.add(at, right), builder.add(w, wide)]

            values = loop(builder, given.integer("columns"), "column", [*values, at, w], column)[:4]
        further = builder.mul(wide, given.integer("columns"))
        return [*values, builder.add(at, given.integer("down")), builder.add(w, further)]

    start = [*[bias] * 4, given.integer("at"), given.integer("w")]
    return repeat(builder, given.integer("rows"), "row", start, row)[:4]


@intrinsic
def window(typing_context, F, kind, at, next, right, down, rows, columns, w, wide, bias):  # noqa: A002
    """Bias and products of four neighbouring pixels over rows of a kernel, for one vector of channels.

    Pixel i and column k meet at number ``at + i next + k right`` of F, their weights lie at ``w + k wide``;
    the next row lies `down` and ``columns wide`` further. Where three columns lie as far apart as the
    pixels, or half as far, a pixel that serves several products is read once.
    """
    four = types.UniTuple(vector, 4)

    def generate(context, builder, sig, args):
        names = "F kind at next right down rows columns w wide bias"
        given = Arguments(context, builder, names, sig, args)

        def equal(a: Any, b: Any) -> Any:
            return builder.icmp_signed("==", a, b)

        three, right = equal(given.integer("columns"), number(3)), given.integer("right")
        shared = [
            builder.and_(three, equal(given.integer("next"), builder.mul(right, number(apart))))
            for apart in (1, 2)
        ]
        cases = [builder.not_(builder.or_(*shared)), *shared]
        values = [constant(0.0)] * 4
        for kind in (BFLOAT16, INT8):
            for apart, case in enumerate(cases):
                here = builder.and_(case, equal(given.integer("kind"), number(kind)))
                values = when(
                    builder, here, values,
                    lambda _, kind=kind, apart=apart: _rows(builder, given, kind, apart),
                )  # fmt: skip
        return context.make_tuple(builder, four, values)

    return four(F, kind, at, next, right, down, rows, columns, w, wide, bias), generate


@parallel
def narrow_depthwise(F, I, p, s):
    """y = factor activation(conv(x) + bias + residual); windows are cut to the picture."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kh, kw, sh, sw, ph, pw, dh, dw = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19],
    )  # fmt: skip
    w, bias, silu, mode, r, r_step, r_row, r_image = p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27]
    x_kind, y_kind, r_kind, r_scale, given_h, given_w = p[28], p[29], p[30], p[31], p[32], p[33]
    # Pixels whose windows lie between the picture's left and right edges.
    first = min(width, (pw + sw - 1) // sw)
    stop = max(first, min(width, (given_w - 1 + pw - (kw - 1) * dw) // sw + 1))
    next_, to, past = sw * x_step * x_kind, y_step * y_kind, r_step * r_kind
    down, right = dh * x_row * x_kind, dw * x_step * x_kind
    for line in prange(n * height):
        slope, cap, factor = vsplat(s[0]), vsplat(s[1]), vsplat(s[2])
        image, row = line // height, line % height
        top = row * sh - ph
        high, low = _inside(top, dh, kh, given_h)
        corner = (x + image * x_image + top * x_row - pw * x_step) * x_kind
        target = (y + image * y_image + row * y_row) * y_kind
        shortcut = (r + image * r_image + row * r_row) * r_kind
        for c0 in range(0, wide, _CHANNELS):
            i = 0
            while i < width:
                here, beside, at = target + i * to, shortcut + i * past, corner + i * next_
                if first <= i and i + 4 <= stop:
                    for c in range(c0, min(wide, c0 + _CHANNELS), LANES):
                        first_at, u = at + high * down + c, w + high * kw * wide + c
                        v0, v1, v2, v3 = window(
                            F, x_kind, first_at, next_, right, down, low - high, kw, u, wide, bias + c
                        )
                        to0, from0 = here + c, beside + c
                        if mode == 0 and silu == 0:
                            put(F, to0, y_kind, vmin(cap, vmax(v0 * slope, v0)) * factor)
                            put(F, to0 + to, y_kind, vmin(cap, vmax(v1 * slope, v1)) * factor)
                            put(F, to0 + 2 * to, y_kind, vmin(cap, vmax(v2 * slope, v2)) * factor)
                            put(F, to0 + 3 * to, y_kind, vmin(cap, vmax(v3 * slope, v3)) * factor)
                            continue
                        _finish(
                            F, v0, slope, cap, factor, silu, mode, from0, r_kind, r_scale + c, to0, y_kind
                        )
                        _finish(F, v1, slope, cap, factor, silu, mode, from0 + past, r_kind, r_scale + c,
                                to0 + to, y_kind)  # fmt: skip
                        _finish(F, v2, slope, cap, factor, silu, mode, from0 + 2 * past, r_kind, r_scale + c,
                                to0 + 2 * to, y_kind)  # fmt: skip
                        _finish(F, v3, slope, cap, factor, silu, mode, from0 + 3 * past, r_kind, r_scale + c,
                                to0 + 3 * to, y_kind)  # fmt: skip
                    i += 4
                else:
                    start, end = _inside(i * sw - pw, dw, kw, given_w)
                    for c in range(c0, min(wide, c0 + _CHANNELS), LANES):
                        v = vload(F, bias + c)
                        for a in range(high, low):
                            for k in range(start, end):
                                u = vload(F, w + (a * kw + k) * wide + c)
                                v = vfma(get(F, at + a * down + k * right + c, x_kind), u, v)
                        _finish(F, v, slope, cap, factor, silu, mode, beside + c, r_kind, r_scale + c,
                                here + c, y_kind)  # fmt: skip
                    i += 1


def depthwise_weights(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, 1, KH, KW) as (tap, `grouped(C)`) numbers."""
    channels = len(weights)
    rows = np.zeros((weights[0].size, grouped(channels)), np.float32)
    rows[:, :channels] = weights.reshape(channels, -1).T
    return rows.ravel()


def narrow_depthwise_call(
    x: Map, y: Map, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, weights: int, bias: int,
    slope: float = 1.0, cap: float = np.inf, factor: float = 1.0, silu: bool = False,
    residual: Map | None = None, residual_mode: int = 0, residual_scale: int = 0,
) -> Call:  # fmt: skip
    """One call of `narrow_depthwise`; the arguments are those of `narrow_conv_call`."""
    shortcut = residual or y
    return call(
        (
            *x.place, *y.place, *y.shape[:3], grouped(y.c), *kernel, *stride, *padding, *dilation,
            weights, bias, int(silu), residual_mode if residual else 0, *shortcut.place,
            x.buffer.kind, y.buffer.kind, shortcut.buffer.kind, residual_scale, *x.shape[1:3],
        ),
        (slope, cap, factor),
    )  # fmt: skip
