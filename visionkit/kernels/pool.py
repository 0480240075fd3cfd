"""Pooling and nearest up-sampling, both ways, on haloed maps.

A window is cut to the picture, so padding never takes part (max) or only in the divisor (average).
Max pooling has one winner per window, the first in reading order (ERR-10): backward gives it everything.
"""

import numpy as np

from .jit import LANES, parallel, prange
from .memory import Call, Map, call, padded
from .simd import vfma, vload, vpeak, vsplat, vstore, vwhere_equal

Pair = tuple[int, int]


@parallel
def max_pool(F, I, p, s):
    """The largest value of each window."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw = p[14], p[15], p[16], p[17], p[18], p[19]
    for line in prange(n * outs_h):
        image, oy = line // outs_h, line % outs_h
        top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
        for ox in range(outs_w):
            left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
            corner = x + image * x_image + top * x_row + left * x_step
            target = y + image * y_image + oy * y_row + ox * y_step
            for c in range(0, wide, LANES):
                best = vload(F, corner + c)
                for i in range(bottom - top):
                    for j in range(right - left):
                        best = vpeak(vload(F, corner + i * x_row + j * x_step + c), best)
                vstore(F, target + c, best)


@parallel
def max_pool_gradient(F, I, p, s):
    """Each window's gradient, added to its first largest input."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw = p[14], p[15], p[16], p[17], p[18], p[19]
    g, g_step, g_row, g_image, t, t_step, t_row, t_image, add = (
        p[20], p[21], p[22], p[23], p[24], p[25], p[26], p[27], p[28],
    )  # fmt: skip
    blocks = wide // LANES
    apart = sh >= kh and sw >= kw
    tight = sh == kh and sw == kw
    bands = outs_h if apart else 1
    # Where windows overlap, one task owns all windows of its picture and channels; else those of a row.
    for task in prange(n * blocks * bands):
        image, band, c = task // (blocks * bands), task // blocks % bands, (task % blocks) * LANES
        zero = vsplat(np.float32(0))
        first = band * sh - ph if band > 0 and apart else 0
        stop = (band + 1) * sh - ph if band + 1 < bands else height
        if add == 0:
            # Windows side by side write every pixel they cover; what lies outside them has no gradient.
            covered = min(height, outs_h * sh - ph) if tight else 0
            for row in range(max(0, first), min(height, stop)):
                at = t + image * t_image + row * t_row + c
                for i in range(min(width, outs_w * sw - pw) if tight and row < covered else 0, width):
                    vstore(F, at + i * t_step, zero)
        for oy in range(band if apart else 0, band + 1 if apart else outs_h):
            top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
            for ox in range(outs_w):
                left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
                best = vload(F, y + image * y_image + oy * y_row + ox * y_step + c)
                rest = vload(F, g + image * g_image + oy * g_row + ox * g_step + c)
                for i in range(top, bottom):
                    for j in range(left, right):
                        v = vload(F, x + image * x_image + i * x_row + j * x_step + c)
                        at = t + image * t_image + i * t_row + j * t_step + c
                        d = vwhere_equal(v, best, rest, zero)
                        vstore(F, at, d if tight and add == 0 else vload(F, at) + d)
                        rest = vwhere_equal(v, best, zero, rest)


@parallel
def average_pool(F, I, p, s):
    """The mean of each window; padding counts in the divisor only if asked for."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw, count_padding = p[14], p[15], p[16], p[17], p[18], p[19], p[20]
    for line in prange(n * outs_h):
        image, oy = line // outs_h, line % outs_h
        top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
        tall = min(oy * sh - ph + kh, height + ph) - (oy * sh - ph)
        for ox in range(outs_w):
            left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
            long = min(ox * sw - pw + kw, width + pw) - (ox * sw - pw)
            size = tall * long if count_padding == 1 else (bottom - top) * (right - left)
            share = vsplat(np.float32(1.0 / size))
            corner = x + image * x_image + top * x_row + left * x_step
            target = y + image * y_image + oy * y_row + ox * y_step
            for c in range(0, wide, LANES):
                total = vsplat(np.float32(0))
                for i in range(bottom - top):
                    for j in range(right - left):
                        total = total + vload(F, corner + i * x_row + j * x_step + c)
                vstore(F, target + c, total * share)


@parallel
def average_pool_gradient(F, I, p, s):
    """Each window's gradient, shared out equally."""
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, outs_h, outs_w, wide = p[8], p[9], p[10], p[11], p[12], p[13]
    kh, kw, sh, sw, ph, pw, count_padding, add = p[14], p[15], p[16], p[17], p[18], p[19], p[20], p[21]
    blocks = wide // LANES
    for task in prange(n * blocks):
        image, c = task // blocks, (task % blocks) * LANES
        zero = vsplat(np.float32(0))
        if add == 0:
            for row in range(height):
                at = t + image * t_image + row * t_row + c
                for i in range(width):
                    vstore(F, at + i * t_step, zero)
        for oy in range(outs_h):
            top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
            tall = min(oy * sh - ph + kh, height + ph) - (oy * sh - ph)
            for ox in range(outs_w):
                left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
                long = min(ox * sw - pw + kw, width + pw) - (ox * sw - pw)
                size = tall * long if count_padding == 1 else (bottom - top) * (right - left)
                share = vload(F, g + image * g_image + oy * g_row + ox * g_step + c)
                share = share * vsplat(np.float32(1.0 / size))
                for i in range(top, bottom):
                    for j in range(left, right):
                        at = t + image * t_image + i * t_row + j * t_step + c
                        vstore(F, at, vload(F, at) + share)


@parallel
def upsample(F, I, p, s):
    """Every pixel repeated `scale` times each way."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, scale = p[8], p[9], p[10], p[11], p[12]
    for line in prange(n * height * scale):
        image, row = line // (height * scale), line % (height * scale)
        for i in range(width * scale):
            source = x + image * x_image + row // scale * x_row + i // scale * x_step
            target = y + image * y_image + row * y_row + i * y_step
            for c in range(0, wide, LANES):
                vstore(F, target + c, vload(F, source + c))


@parallel
def upsample_gradient(F, I, p, s):
    """The sum of each block of `scale` x `scale` gradients."""
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, scale, add = p[8], p[9], p[10], p[11], p[12], p[13]
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            target = t + image * t_image + row * t_row + i * t_step
            corner = g + image * g_image + row * scale * g_row + i * scale * g_step
            for c in range(0, wide, LANES):
                total = vsplat(np.float32(0))
                for a in range(scale):
                    for b in range(scale):
                        total = total + vload(F, corner + a * g_row + b * g_step + c)
                if add == 1:
                    total = total + vload(F, target + c)
                vstore(F, target + c, total)


@parallel
def global_average(F, I, p, s):
    """The mean of each channel over the picture."""
    x, step, row, image, y, y_image, n, height, width, wide = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9],
    )  # fmt: skip
    blocks = wide // LANES
    for task in prange(n * blocks):
        i, c = task // blocks, (task % blocks) * LANES
        total = vsplat(np.float32(0))
        for line in range(height):
            at = x + i * image + line * row + c
            part = vsplat(np.float32(0))
            for column in range(width):
                part = part + vload(F, at + column * step)
            total = total + part
        vstore(F, y + i * y_image + c, total * vsplat(np.float32(1.0 / (height * width))))


@parallel
def global_average_gradient(F, I, p, s):
    """The gradient of the mean, on every pixel."""
    g, g_image, t, step, row, image, n, height, width, wide, add = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10],
    )  # fmt: skip
    for line in prange(n * height):
        i, r = line // height, line % height
        share = vsplat(np.float32(1.0 / (height * width)))
        for column in range(width):
            at = t + i * image + r * row + column * step
            for c in range(0, wide, LANES):
                v = vload(F, g + i * g_image + c)
                vstore(F, at + c, vfma(v, share, vload(F, at + c)) if add == 1 else v * share)


def pool_call(x: Map, y: Map, kernel: Pair, stride: Pair, padding: Pair, *more: int) -> Call:
    """One call of `max_pool` or, with count_padding behind, of `average_pool`."""
    sizes = (*x.shape[:3], *y.shape[1:3], padded(x.c))
    return call((*x.place, *y.place, *sizes, *kernel, *stride, *padding, *more))


def max_pool_gradient_call(
    x: Map, y: Map, g: Map, target: Map, kernel: Pair, stride: Pair, padding: Pair, add: bool
) -> Call:
    """One call of `max_pool_gradient`, into `target` or added to it."""
    return pool_call(x, y, kernel, stride, padding, *g.place, *target.place, int(add))


def average_pool_gradient_call(
    g: Map, target: Map, kernel: Pair, stride: Pair, padding: Pair, count_padding: bool, add: bool
) -> Call:
    """One call of `average_pool_gradient`."""
    sizes = (*target.shape[:3], *g.shape[1:3], padded(g.c))
    return call((*g.place, *target.place, *sizes, *kernel, *stride, *padding, int(count_padding), int(add)))


def upsample_call(x: Map, y: Map, scale: int) -> Call:
    """One call of `upsample`."""
    return call((*x.place, *y.place, *x.shape[:3], padded(x.c), scale))


def upsample_gradient_call(g: Map, target: Map, scale: int, add: bool) -> Call:
    """One call of `upsample_gradient`."""
    return call((*g.place, *target.place, *target.shape[:3], padded(g.c), scale, int(add)))


def global_average_call(x: Map, y: Map) -> Call:
    """One call of `global_average`; y is (N, 1, 1, C)."""
    return call((*x.place, y.origin, y.buffer.image, *x.shape[:3], padded(x.c)))


def global_average_gradient_call(g: Map, target: Map, add: bool) -> Call:
    """One call of `global_average_gradient`."""
    sizes = (*target.shape[:3], padded(g.c), int(add))
    return call((g.origin, g.buffer.image, *target.place, *sizes))
