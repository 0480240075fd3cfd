"""Depthwise convolution of bfloat16 and int8 maps, computed in float32.

Weights lie as (tap, channel), float32, channels in whole groups.
"""

import numpy as np
from numpy.typing import NDArray

from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, call
from .narrow import get, grouped, put
from .simd import vexp, vfma, vload, vmax, vmin, vsplat

Pair = tuple[int, int]


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
def _row(F, at, next_, right, kind, w, wide, kw, v0, v1, v2, v3):
    """One row of the kernel for four neighbouring pixels, `next_` apart; its columns lie `right` apart."""
    if kw == 3 and right == next_:
        # Six pixels serve twelve products.
        u0, u1, u2 = vload(F, w), vload(F, w + wide), vload(F, w + 2 * wide)
        a, b, c = get(F, at, kind), get(F, at + next_, kind), get(F, at + 2 * next_, kind)
        v0 = vfma(c, u2, vfma(b, u1, vfma(a, u0, v0)))
        a = get(F, at + 3 * next_, kind)
        v1 = vfma(a, u2, vfma(c, u1, vfma(b, u0, v1)))
        b = get(F, at + 4 * next_, kind)
        v2 = vfma(b, u2, vfma(a, u1, vfma(c, u0, v2)))
        c = get(F, at + 5 * next_, kind)
        return v0, v1, v2, vfma(c, u2, vfma(b, u1, vfma(a, u0, v3)))
    for k in range(kw):
        u = vload(F, w + k * wide)
        v0 = vfma(get(F, at, kind), u, v0)
        v1 = vfma(get(F, at + next_, kind), u, v1)
        v2 = vfma(get(F, at + 2 * next_, kind), u, v2)
        v3 = vfma(get(F, at + 3 * next_, kind), u, v3)
        at += right
    return v0, v1, v2, v3


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
    for line in prange(n * height):
        slope, cap, factor = vsplat(s[0]), vsplat(s[1]), vsplat(s[2])
        image, row = line // height, line % height
        top = row * sh - ph
        corner = (x + image * x_image + top * x_row - pw * x_step) * x_kind
        target = (y + image * y_image + row * y_row) * y_kind
        shortcut = (r + image * r_image + row * r_row) * r_kind
        next_, to, past = sw * x_step * x_kind, y_step * y_kind, r_step * r_kind
        down, right = dh * x_row * x_kind, dw * x_step * x_kind
        for c in range(0, wide, LANES):
            b, i = vload(F, bias + c), 0
            while i < width:
                here, beside, at = target + i * to + c, shortcut + i * past + c, corner + i * next_ + c
                if first <= i and i + 4 <= stop:
                    v0, v1, v2, v3 = b, b, b, b
                    for a in range(kh):
                        if 0 <= top + a * dh < given_h:
                            u = w + a * kw * wide + c
                            v0, v1, v2, v3 = _row(
                                F, at + a * down, next_, right, x_kind, u, wide, kw, v0, v1, v2, v3
                            )
                    _finish(F, v0, slope, cap, factor, silu, mode, beside, r_kind, r_scale + c, here, y_kind)
                    _finish(F, v1, slope, cap, factor, silu, mode, beside + past, r_kind, r_scale + c,
                            here + to, y_kind)  # fmt: skip
                    _finish(F, v2, slope, cap, factor, silu, mode, beside + 2 * past, r_kind, r_scale + c,
                            here + 2 * to, y_kind)  # fmt: skip
                    _finish(F, v3, slope, cap, factor, silu, mode, beside + 3 * past, r_kind, r_scale + c,
                            here + 3 * to, y_kind)  # fmt: skip
                    i += 4
                else:
                    v = b
                    for a in range(kh):
                        for k in range(kw):
                            if 0 <= top + a * dh < given_h and 0 <= i * sw - pw + k * dw < given_w:
                                u = vload(F, w + (a * kw + k) * wide + c)
                                v = vfma(get(F, at + a * down + k * right, x_kind), u, v)
                    _finish(F, v, slope, cap, factor, silu, mode, beside, r_kind, r_scale + c, here, y_kind)
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
