"""Batch normalisation with its activation, both ways.

Forward: mean and variance of every channel by groups of rows, each group in two passes while it is in
the cache, joined exactly (Chan, Golub and LeVeque 1979); then scale, shift, activation and shortcut in
one pass. Backward: the two sums of Ioffe and Szegedy 2015 in one pass, the gradient in another.
"""

import numpy as np

from .jit import LANES, parallel, prange, serial
from .memory import Call, Map, call
from .narrow import spread
from .simd import vexp, vfma, vload, vmax, vmin, vsplat, vstore, vwhere_positive

_GROUPS = 32  # of rows, at least, where there are as many
_NUMBERS = 65_536  # of one group, at most: the second pass finds them in the cache
#: What of one channel is kept from forward to backward: mean, 1/deviation, scale, shift.
KEPT = 4
COPIES = 4  # of every sum, for the pixels in turn (a power of two): no addition waits for the one before


@serial
def clear(F, at, size):
    """Zero `size` numbers, whole vectors."""
    for c in range(0, size, LANES):
        vstore(F, at + c, vsplat(np.float32(0)))


@serial
def join(F, at, wide):
    """The copies of a group's sums, added up in the first."""
    for c in range(0, wide, LANES):
        total = vload(F, at + c)
        for k in range(1, COPIES):
            total = total + vload(F, at + k * wide + c)
        vstore(F, at + c, total)


@serial
def settle_statistics(
    F, c, channels, wide, lines, width, rows, scratch, kept, gamma, beta, mean_at, variance_at, epsilon,
    momentum,
):  # fmt: skip
    """What is kept of channel c, from the groups' means and squares; its running averages move."""
    if c < channels:
        mean, squares, seen = 0.0, 0.0, 0.0
        for q in range((lines + rows - 1) // rows):
            size = float((min((q + 1) * rows, lines) - q * rows) * width)
            at = scratch + q * 2 * COPIES * wide + c
            d = F[at] - mean
            both = seen + size
            mean += d * size / both
            squares += F[at + COPIES * wide] + d * d * seen * size / both
            seen = both
        count = lines * width
        variance = squares / count
        inverse = 1.0 / np.sqrt(variance + epsilon)
        scale = F[gamma + c] * inverse
        F[kept + c] = mean
        F[kept + wide + c] = inverse
        F[kept + 2 * wide + c] = scale
        F[kept + 3 * wide + c] = F[beta + c] - mean * scale
        unbiased = squares / max(count - 1, 1)
        F[mean_at + c] += momentum * (mean - F[mean_at + c])
        F[variance_at + c] += momentum * (unbiased - F[variance_at + c])
    else:
        for k in range(4):
            F[kept + k * wide + c] = 0.0


@serial
def settle_factors(
    F, c, channels, wide, count, groups, scratch, kept, d_gamma, d_beta, factors, frozen
):  # fmt: skip
    """Gradients of channel c's scale and shift and the factors of its own, from the groups' sums."""
    total, product = 0.0, 0.0
    for q in range(groups):
        total += F[scratch + q * 2 * COPIES * wide + c]
        product += F[scratch + (q * 2 + 1) * COPIES * wide + c]
    if c < channels:
        F[d_gamma + c] = product
        F[d_beta + c] = total
    # dx = scale (d - mean(d) - x̂ mean(d x̂)) = a d + b x + e, one multiply-add per term.
    scale, inverse = F[kept + 2 * wide + c], F[kept + wide + c]
    b = -scale * product / count * inverse
    e = -scale * total / count - b * F[kept + c]
    F[factors + c] = scale
    F[factors + wide + c] = 0.0 if frozen == 1 else b
    F[factors + 2 * wide + c] = 0.0 if frozen == 1 else e


@parallel
def batch_statistics(F, I, p, s):
    """Mean, deviation, scale and shift of a batch, and the running averages moved towards it."""
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
            place = x + line // height * image + line % height * row
            for i in range(width):
                to = at + (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    vstore(F, to + c, vload(F, to + c) + vload(F, place + c))
                place += step
        join(F, at, wide)
        for c in range(0, wide, LANES):
            vstore(F, at + c, vload(F, at + c) * share)
        for line in range(start, end):
            place = x + line // height * image + line % height * row
            for i in range(width):
                to = second + (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    d = vload(F, place + c) - vload(F, at + c)
                    vstore(F, to + c, vfma(d, d, vload(F, to + c)))
                place += step
        join(F, second, wide)
    for c in prange(wide):
        settle_statistics(F, c, channels, wide, lines, width, rows, scratch, kept, gamma, beta, mean_at,
                          variance_at, s[0], s[1])  # fmt: skip


@serial
def running_statistics(F, I, p, s):
    """Scale and shift from the running averages, for normalisation that is frozen."""
    channels, kept, gamma, beta, mean_at, variance_at, wide = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    for c in range(channels):
        inverse = 1.0 / np.sqrt(F[variance_at + c] + s[0])
        F[kept + c] = F[mean_at + c]
        F[kept + wide + c] = inverse
        F[kept + 2 * wide + c] = F[gamma + c] * inverse
        F[kept + 3 * wide + c] = F[beta + c] - F[mean_at + c] * F[gamma + c] * inverse
    for c in range(channels, wide):
        for k in range(4):
            F[kept + k * wide + c] = 0.0


@parallel
def normalise(F, I, p, s):
    """y = activation(scale x + shift), with a shortcut added before (1) or after (2) the activation."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kept, silu, mode, r, r_step, r_row, r_image = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18],
    )  # fmt: skip
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        one, zero = vsplat(np.float32(1)), vsplat(np.float32(0))
        image, row = line // height, line % height
        source = x + image * x_image + row * x_row
        target = y + image * y_image + row * y_row
        shortcut = r + image * r_image + row * r_row
        for _ in range(width):
            for c in range(0, wide, LANES):
                scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                v = vfma(vload(F, source + c), scale, shift)
                if mode == 1:
                    v = v + vload(F, shortcut + c)
                v = v / (one + vexp(zero - v)) if silu == 1 else vmin(cap, vmax(v * slope, v))
                if mode == 2:
                    v = v + vload(F, shortcut + c)
                vstore(F, target + c, v)
            source, target, shortcut = source + x_step, target + y_step, shortcut + r_step


@serial
def slope_at(F, v, d, slope, cap, silu):
    """d times the activation's derivative at v; at a kink the left derivative."""
    zero, one = vsplat(np.float32(0)), vsplat(np.float32(1))
    if silu == 1:
        share = one / (one + vexp(zero - v))
        return d * (share + v * share * (one - share))
    return vwhere_positive(v, vwhere_positive(v - cap, zero, d), d * slope)


@parallel
def normalise_sums(F, I, p, s):
    """Sums of d and d x̂ over the batch (d: gradient before the activation), and from them dγ, dβ."""
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
            source = x + line // height * x_image + line % height * x_row
            gradient = g + line // height * g_image + line % height * g_row
            for i in range(width):
                to = (i & (COPIES - 1)) * wide
                for c in range(0, wide, LANES):
                    v, d = vload(F, source + c), vload(F, gradient + c)
                    scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                    d = slope_at(F, vfma(v, scale, shift), d, slope, cap, silu)
                    v = (v - vload(F, kept + c)) * vload(F, kept + wide + c)
                    vstore(F, at + to + c, vload(F, at + to + c) + d)
                    vstore(F, products + to + c, vfma(d, v, vload(F, products + to + c)))
                source, gradient = source + x_step, gradient + g_step
        join(F, at, wide)
        join(F, products, wide)
    for c in prange(wide):
        settle_factors(F, c, channels, wide, lines * width, groups, scratch, kept, d_gamma, d_beta, factors,
                       frozen)  # fmt: skip


@parallel
def normalise_gradient(F, I, p, s):
    """dx = a d + b x + e with the factors of `normalise_sums`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, kept, silu, factors = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    t, t_step, t_row, t_image, add = p[15], p[16], p[17], p[18], p[19]
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        image, row = line // height, line % height
        source = x + image * x_image + row * x_row
        gradient = g + image * g_image + row * g_row
        target = t + image * t_image + row * t_row
        for _ in range(width):
            for c in range(0, wide, LANES):
                scale, shift = vload(F, kept + 2 * wide + c), vload(F, kept + 3 * wide + c)
                a, b = vload(F, factors + c), vload(F, factors + wide + c)
                v, d = vload(F, source + c), vload(F, gradient + c)
                d = slope_at(F, vfma(v, scale, shift), d, slope, cap, silu)
                d = vfma(a, d, vfma(b, v, vload(F, factors + 2 * wide + c)))
                if add == 1:
                    d = d + vload(F, target + c)
                vstore(F, target + c, d)
            source, gradient, target = source + x_step, gradient + g_step, target + t_step


def _rows(x: Map) -> int:
    """Rows of a group: as many as the cache holds, and groups enough for all threads."""
    lines = x.buffer.n * x.buffer.h
    return max(1, min(_NUMBERS // (x.buffer.w * spread(x)), lines // _GROUPS))


def norm_scratch(x: Map) -> int:
    """Numbers of scratch memory for the statistics and sums of a map."""
    return 2 * COPIES * -(-x.buffer.n * x.buffer.h // _rows(x)) * spread(x)


def statistics_call(
    x: Map, *, kept: int, scratch: int, gamma: int, beta: int, mean: int, variance: int,
    epsilon: float, momentum: float,
) -> Call:  # fmt: skip
    """One call of `batch_statistics`; `kept` takes KEPT * spread(x) numbers."""
    integers = (*x.place, *x.shape, kept, scratch, gamma, beta, mean, variance, _rows(x), spread(x))
    return call(integers, (epsilon, momentum))


def frozen_call(
    x: Map, *, kept: int, gamma: int, beta: int, mean: int, variance: int, epsilon: float
) -> Call:
    """One call of `running_statistics`."""
    return call((x.c, kept, gamma, beta, mean, variance, spread(x)), (epsilon,))


def normalise_call(
    x: Map, y: Map, *, kept: int, slope: float, cap: float, silu: bool,
    residual: Map | None = None, residual_mode: int = 0,
) -> Call:  # fmt: skip
    """One call of `normalise`."""
    shortcut = residual or y
    mode = residual_mode if residual else 0
    integers = (
        *x.place, *y.place, *x.shape[:3], spread(x), kept, int(silu), mode, *shortcut.place,
    )  # fmt: skip
    return call(integers, (slope, cap))


def sums_call(
    x: Map, g: Map, *, kept: int, scratch: int, d_gamma: int, d_beta: int, factors: int, slope: float,
    cap: float, silu: bool, frozen: bool,
) -> Call:  # fmt: skip
    """One call of `normalise_sums`; `factors` takes 3 * spread(x) numbers."""
    integers = (
        *x.place, *g.place, *x.shape, spread(x), kept, int(silu), scratch, d_gamma, d_beta, factors,
        _rows(x), int(frozen),
    )  # fmt: skip
    return call(integers, (slope, cap))


def gradient_call(
    x: Map, g: Map, target: Map, *, kept: int, factors: int, slope: float, cap: float, silu: bool, add: bool
) -> Call:
    """One call of `normalise_gradient`, into `target` or added to it."""
    integers = (
        *x.place, *g.place, *x.shape[:3], spread(x), kept, int(silu), factors, *target.place, int(add),
    )  # fmt: skip
    return call(integers, (slope, cap))
