"""Depthwise convolution: every channel with its own small filter, both ways.

Weights lie as (tap, channel), channels padded to whole vectors.
"""

import numpy as np

from .jit import LANES, parallel, prange
from .memory import Call, Map, call, padded
from .simd import vexp, vfma, vload, vmax, vmin, vsplat, vstore

Pair = tuple[int, int]
_GROUPS = 32


@parallel
def depthwise(F, I, p, s):
    """y = activation(conv(x) + bias), four neighbouring pixels at a time; reads into the halo."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kh, kw, sh, sw, ph, pw, dh, dw = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19],
    )  # fmt: skip
    w, bias, silu, mode, r, r_step, r_row, r_image = p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27]
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
        image, row = line // height, line % height
        top = x + image * x_image + (row * sh - ph) * x_row - pw * x_step
        target = y + image * y_image + row * y_row
        shortcut = r + image * r_image + row * r_row
        next_ = sw * x_step
        for c in range(0, wide, LANES):
            b = vload(F, bias + c)
            i = 0
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
    return call((*x.place, *y.place, *sizes, weights, bias, int(silu), mode, *shortcut.place), (slope, cap))


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
