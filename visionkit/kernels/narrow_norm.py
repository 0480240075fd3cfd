"""Batch normalisation of bfloat16 maps, both ways: the kernels of `norm`, where only maps are bfloat16.

Statistics, sums and all that is computed are float32.
"""

import numpy as np

from .jit import LANES, parallel, prange
from .narrow import load16, store16
from .norm import COPIES, clear, join, settle_factors, settle_statistics, slope_at
from .simd import vexp, vfma, vload, vmax, vmin, vsplat, vstore


@parallel
def narrow_statistics(F, I, p, s):
    """As `norm.batch_statistics`."""
    x, step, row, image, n, height, width, channels = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    kept, scratch, gamma, beta, mean_at, variance_at, rows, wide = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15],
    )  # fmt: skip
    lines = n * height
    groups = (lines + rows - 1) // rows
    for q in prange(groups):
        start, end = q * rows, min((q + 1) * rows, lines)
        share = vsplat(np.float32(1.0 / ((end - start) * width)))
        at = scratch + q * 2 * COPIES * wide
        second = at + COPIES * wide
        clear(F, at, 2 * COPIES * wide)
        for line in range(start, end):
            place = (x + line // height * image + line % height * row) * 2
            for i in range(width):
                to = at + (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    vstore(F, to + c, vload(F, to + c) + load16(F, place + c))
                place += step * 2
        join(F, at, wide)
        for c in range(0, wide, LANES):
            vstore(F, at + c, vload(F, at + c) * share)
        for line in range(start, end):
            place = (x + line // height * image + line % height * row) * 2
            for i in range(width):
                to = second + (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    d = load16(F, place + c) - vload(F, at + c)
                    vstore(F, to + c, vfma(d, d, vload(F, to + c)))
                place += step * 2
        join(F, second, wide)
    for c in prange(wide):
        settle_statistics(F, c, channels, wide, lines, width, rows, scratch, kept, gamma, beta, mean_at,
                          variance_at, s[0], s[1])  # fmt: skip


@parallel
def narrow_normalise(F, I, p, s):
    """As `norm.normalise`."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kept, silu, mode, r, r_step, r_row, r_image = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18],
    )  # fmt: skip
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
        image, row = line // height, line % height
        source = (x + image * x_image + row * x_row) * 2
        target = (y + image * y_image + row * y_row) * 2
        shortcut = (r + image * r_image + row * r_row) * 2
        for _ in range(width):
            for c in range(0, wide, LANES):
                scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                v = vfma(load16(F, source + c), scale, shift)
                if mode == 1:
                    v = v + load16(F, shortcut + c)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(cap, vmax(v * slope, v))
                if mode == 2:
                    v = v + load16(F, shortcut + c)
                store16(F, target + c, v)
            source, target, shortcut = source + 2 * x_step, target + 2 * y_step, shortcut + 2 * r_step


@parallel
def narrow_sums(F, I, p, s):
    """As `norm.normalise_sums`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide, kept, silu = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    scratch, d_gamma, d_beta, factors, rows, frozen = p[15], p[16], p[17], p[18], p[19], p[20]
    lines = n * height
    groups = (lines + rows - 1) // rows
    for q in prange(groups):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        at = scratch + q * 2 * COPIES * wide
        products = at + COPIES * wide
        clear(F, at, 2 * COPIES * wide)
        for line in range(q * rows, min((q + 1) * rows, lines)):
            source = (x + line // height * x_image + line % height * x_row) * 2
            gradient = (g + line // height * g_image + line % height * g_row) * 2
            for i in range(width):
                to = (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    v, d = load16(F, source + c), load16(F, gradient + c)
                    scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                    d = slope_at(F, vfma(v, scale, shift), d, slope, cap, silu)
                    v = (v - vload(F, kept + c)) * vload(F, kept + wide + c)
                    vstore(F, at + to + c, vload(F, at + to + c) + d)
                    vstore(F, products + to + c, vfma(d, v, vload(F, products + to + c)))
                source, gradient = source + 2 * x_step, gradient + 2 * g_step
        join(F, at, wide)
        join(F, products, wide)
    for c in prange(wide):
        settle_factors(F, c, channels, wide, lines * width, groups, scratch, kept, d_gamma, d_beta, factors,
                       frozen)  # fmt: skip


@parallel
def narrow_gradient(F, I, p, s):
    """As `norm.normalise_gradient`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kept, silu, factors = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    t, t_step, t_row, t_image, add = p[15], p[16], p[17], p[18], p[19]
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        image, row = line // height, line % height
        source = (x + image * x_image + row * x_row) * 2
        gradient = (g + image * g_image + row * g_row) * 2
        target = (t + image * t_image + row * t_row) * 2
        for _ in range(width):
            for c in range(0, wide, LANES):
                scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                a, b = vload(F, factors + c), vload(F, factors + wide + c)
                v, d = load16(F, source + c), load16(F, gradient + c)
                d = slope_at(F, vfma(v, scale, shift), d, slope, cap, silu)
                d = vfma(a, d, vfma(b, v, vload(F, factors + 2 * wide + c)))
                if add == 1:
                    d = d + load16(F, target + c)
                store16(F, target + c, d)
            source, gradient, target = source + 2 * x_step, gradient + 2 * g_step, target + 2 * t_step
