"""Pixel by pixel: activations both ways, sums, copies, cleared halos, and pictures on their way in."""

import numpy as np

from .jit import LANES, parallel, prange, serial
from .memory import Buffer, Call, Map, call, padded
from .simd import vexp, vload, vmax, vmin, vsplat, vstore, vwhere_positive

#: Kinds of activation: min(max(x, slope x), cap), x sigmoid(x), sigmoid(x), tanh(x); PRELU is x or, where it
#: is not positive, slope x with one slope a channel, and SLOPES its derivative by the slope.
LINEAR, SILU, SIGMOID, TANH, PRELU, SLOPES = 0, 1, 2, 3, 4, 5


@serial
def value(F, kind, v, slope, cap):
    """An activation of one vector."""
    one, two, zero = vsplat(np.float32(1)), vsplat(np.float32(2)), vsplat(np.float32(0))
    if kind == SILU:
        return v / (one + vexp(zero - v))
    if kind == SIGMOID:
        return one / (one + vexp(zero - v))
    if kind == TANH:
        return two / (one + vexp(zero - two * v)) - one
    if kind == PRELU:
        return vwhere_positive(v, v, v * slope)
    return vmin(cap, vmax(v * slope, v))


@serial
def _gradient(F, kind, v, d, slope, cap):
    one, two, zero = vsplat(np.float32(1)), vsplat(np.float32(2)), vsplat(np.float32(0))
    if kind == SILU:
        share = one / (one + vexp(zero - v))
        return d * (share + v * share * (one - share))
    if kind == SIGMOID:
        share = one / (one + vexp(zero - v))
        return d * share * (one - share)
    if kind == TANH:
        y = two / (one + vexp(zero - two * v)) - one
        return d * (one - y * y)
    if kind == PRELU:
        return vwhere_positive(v, d, d * slope)
    if kind == SLOPES:
        return vwhere_positive(v, zero, d * v)
    return vwhere_positive(v, vwhere_positive(v - cap, zero, d), d * slope)


@parallel
def activate(F, I, p, s):
    """y = activation(x), on the real channels; the vector's spare lanes are set to zero."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide, kind, slopes = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        for i in range(width):
            source = x + line // height * x_image + line % height * x_row + i * x_step
            target = y + line // height * y_image + line % height * y_row + i * y_step
            for c in range(0, wide, LANES):
                if kind == PRELU:
                    slope = vload(F, slopes + c)
                vstore(F, target + c, value(F, kind, vload(F, source + c), slope, cap))
            for c in range(channels, wide):
                F[target + c] = 0.0


@parallel
def activate_gradient(F, I, p, s):
    """t (+)= g activation'(x)."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    t, t_step, t_row, t_image, n, height, width, wide, kind, add, slopes = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18],
    )  # fmt: skip
    for line in prange(n * height):
        slope, cap = vsplat(s[0]), vsplat(s[1])
        image, row = line // height, line % height
        for i in range(width):
            source = x + image * x_image + row * x_row + i * x_step
            gradient = g + image * g_image + row * g_row + i * g_step
            target = t + image * t_image + row * t_row + i * t_step
            for c in range(0, wide, LANES):
                if kind == PRELU:
                    slope = vload(F, slopes + c)
                d = _gradient(F, kind, vload(F, source + c), vload(F, gradient + c), slope, cap)
                if add == 1:
                    d = d + vload(F, target + c)
                vstore(F, target + c, d)


@parallel
def combine(F, I, p, s):
    """y = x, y = a x, y += x: y = s[0] x + s[1] y where the second factor is not zero."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide = p[8], p[9], p[10], p[11]
    for line in prange(n * height):
        a, b = vsplat(s[0]), vsplat(s[1])
        for i in range(width):
            source = x + line // height * x_image + line % height * x_row + i * x_step
            target = y + line // height * y_image + line % height * y_row + i * y_step
            for c in range(0, wide, LANES):
                v = vload(F, source + c) * a
                if s[1] != 0:
                    v = v + vload(F, target + c) * b
                vstore(F, target + c, v)


@parallel
def copy(F, I, p, s):
    """Copy (s[0] 0) or add (1) channel by channel, between maps that vectors do not fit."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels = p[8], p[9], p[10], p[11]
    for line in prange(n * height):
        for i in range(width):
            source = x + line // height * x_image + line % height * x_row + i * x_step
            target = y + line // height * y_image + line % height * y_row + i * y_step
            if s[0] == 0:
                for c in range(channels):
                    F[target + c] = F[source + c]
            else:
                for c in range(channels):
                    F[target + c] += F[source + c]


@parallel
def clear(F, I, p, s):
    """Zero a map."""
    y, step, row, image, n, height, width, wide = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    for line in prange(n * height):
        for i in range(width):
            target = y + line // height * image + line % height * row + i * step
            for c in range(wide):
                F[target + c] = 0.0


@parallel
def add_numbers(F, I, p, s):
    """Add `size` numbers at `source` to those at `target`."""
    source, target, size = p[0], p[1], p[2]
    for part in prange((size + 16383) // 16384):
        for i in range(part * 16384, min(size, (part + 1) * 16384)):
            F[target + i] += F[source + i]


@parallel
def clear_halo(F, I, p, s):
    """Zero the frame of every picture of a buffer whose memory another buffer has used."""
    base, row, image, n, height, halo, step = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    for i in prange(n):
        start = base + i * image
        for at in range(start, start + halo * row):
            F[at] = 0.0
        for y in range(height):
            left = start + (halo + y) * row
            for at in range(left, left + halo * step):
                F[at] = 0.0
            for at in range(left + row - halo * step, left + row):
                F[at] = 0.0
        for at in range(start + (halo + height) * row, start + image):
            F[at] = 0.0


@parallel
def take_picture(F, I, p, s, pictures):
    """Pictures (N, H, W, C) of uint8 or float32 into a map: (x - mean) scale."""
    y, step, row, image = p[0], p[1], p[2], p[3]
    n, height, width, channels = pictures.shape
    flat = pictures.reshape(-1)
    for line in prange(n * height):
        i, r = line // height, line % height
        mean, scale = s[0], s[1]
        # A row without gaps is one loop over all its numbers, which becomes vectors.
        parts, length = (1, width * channels) if step == channels else (width, channels)
        for x in range(parts):
            at, start = y + i * image + r * row + x * step, (line * parts + x) * length
            for c in range(length):
                F[at + c] = (np.float32(flat[start + c]) - mean) * scale


@serial
def _hash(key):
    """A well-mixed 64-bit number of a counter (Steele, Lea and Flood 2014: SplitMix64)."""
    z = key * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@parallel
def dropout(F, I, p, s):
    """y (+)= x / keep with probability `keep`, else 0; decided by (layer, step, position) alone."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, add, layer, step = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    drop = s[0]
    start = _hash(np.uint64(step) * np.uint64(65537) + np.uint64(layer))
    for line in prange(n * height):
        for i in range(width):
            source = x + line // height * x_image + line % height * x_row + i * x_step
            target = y + line // height * y_image + line % height * y_row + i * y_step
            for c in range(channels):
                counter = np.uint64((line * width + i) * channels + c)
                chance = np.float64(_hash(start + counter) >> np.uint64(11)) * (1.0 / 9007199254740992.0)
                v = np.float32(0) if chance < drop else F[source + c] / (np.float32(1) - drop)
                F[target + c] = F[target + c] + v if add == 1 else v


@parallel
def softmax(F, I, p, s):
    """exp(x - max) / sum over the channels of each pixel."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide = p[8], p[9], p[10], p[11], p[12]
    for line in prange(n * height):
        for i in range(width):
            source = x + line // height * x_image + line % height * x_row + i * x_step
            target = y + line // height * y_image + line % height * y_row + i * y_step
            best = F[source]
            for c in range(1, channels):
                best = max(best, F[source + c])
            for c in range(0, wide, LANES):
                vstore(F, target + c, vexp(vload(F, source + c) - vsplat(best)))
            total = np.float32(0)
            for c in range(channels):
                total += F[target + c]
            for c in range(channels):
                F[target + c] /= total
            for c in range(channels, wide):
                F[target + c] = 0.0


@parallel
def softmax_gradient(F, I, p, s):
    """t (+)= y (g - sum of g y) over the channels of each pixel."""
    y, y_step, y_row, y_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    t, t_step, t_row, t_image, n, height, width, channels, add = (
        p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16],
    )  # fmt: skip
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            source = y + image * y_image + row * y_row + i * y_step
            gradient = g + image * g_image + row * g_row + i * g_step
            target = t + image * t_image + row * t_row + i * t_step
            total = np.float32(0)
            for c in range(channels):
                total += F[source + c] * F[gradient + c]
            for c in range(channels):
                d = F[source + c] * (F[gradient + c] - total)
                F[target + c] = F[target + c] + d if add == 1 else d


def activate_call(x: Map, y: Map, kind: int, slope: float, cap: float, slopes: int = 0) -> Call:
    """One call of `activate`; `slopes` is where those of PRELU stand, padded."""
    return call((*x.place, *y.place, *x.shape, padded(x.c), kind, slopes), (slope, cap))


def activate_gradient_call(
    x: Map, g: Map, target: Map, kind: int, slope: float, cap: float, add: bool, slopes: int = 0
) -> Call:
    """One call of `activate_gradient`."""
    sizes = (*x.shape[:3], padded(x.c), kind, int(add), slopes)
    return call((*x.place, *g.place, *target.place, *sizes), (slope, cap))


def clear_call(x: Map) -> Call:
    """One call of `clear`."""
    return call((*x.place, *x.shape[:3], padded(x.c)))


def combine_call(x: Map, y: Map, factor: float = 1.0, keep: float = 0.0) -> Call:
    """One call of `combine`: y = factor x + keep y."""
    return call((*x.place, *y.place, *x.shape[:3], padded(x.c)), (factor, keep))


def copy_call(x: Map, y: Map, add: bool = False) -> Call:
    """One call of `copy`."""
    return call((*x.place, *y.place, *x.shape), (float(add),))


def halo_call(buffer: Buffer) -> Call:
    """One call of `clear_halo`."""
    return call(
        (buffer.base, buffer.row, buffer.image, buffer.n, buffer.h, buffer.halo, buffer.step)
    )  # fmt: skip


def dropout_call(x: Map, y: Map, drop: float, layer: int, add: bool = False) -> Call:
    """One call of `dropout`; its last integer is the training step, which the plan sets before each run."""
    return call((*x.place, *y.place, *x.shape, int(add), layer, 0), (drop,))


def softmax_call(x: Map, y: Map) -> Call:
    """One call of `softmax`."""
    return call((*x.place, *y.place, *x.shape, padded(x.c)))


def softmax_gradient_call(y: Map, g: Map, target: Map, add: bool) -> Call:
    """One call of `softmax_gradient`."""
    return call((*y.place, *g.place, *target.place, *y.shape, int(add)))
