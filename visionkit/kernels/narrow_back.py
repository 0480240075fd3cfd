"""What passes between bfloat16 gradients, and into them from float32 ones: sums, pools, up-sampling."""

import numpy as np

from .jit import LANES, parallel, prange
from .memory import Call, Map, call
from .narrow import first_lanes, get, grouped, load16, put, spread, store16
from .simd import vsplat, vwhere_equal

Pair = tuple[int, int]


@parallel
def narrow_combine(F, I, p, s):
    """y = x or, where s[0] is not zero, y += x, from kind to kind; the spare channels of y get zero."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, channels, wide, x_kind, y_kind = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    for line in prange(n * height):
        source = (x + line // height * x_image + line % height * x_row) * x_kind
        target = (y + line // height * y_image + line % height * y_row) * y_kind
        for _ in range(width):
            for c in range(0, wide, LANES):
                v = first_lanes(get(F, source + c, x_kind), channels - c)
                if s[0] != 0:
                    v = v + get(F, target + c, y_kind)
                put(F, target + c, y_kind, v)
            source, target = source + x_step * x_kind, target + y_step * y_kind


@parallel
def narrow_pool_gradient(F, I, p, s):
    """As `pool.max_pool_gradient`, for windows that lie apart."""
    x, x_step, x_row, x_image, y, y_step, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = (
        p[8],
        p[9],
        p[10],
        p[11],
        p[12],
        p[13],
        p[14],
        p[15],
    )
    n, height, width, outs_h, outs_w, wide = p[16], p[17], p[18], p[19], p[20], p[21]
    kh, kw, sh, sw, ph, pw, add = p[22], p[23], p[24], p[25], p[26], p[27], p[28]
    for band in prange(n * outs_h):
        image, oy = band // outs_h, band % outs_h
        zero = vsplat(np.float32(0))
        # Pixels up to the next window's belong to this one, with those in front of the first.
        first = max(0, oy * sh - ph) if oy > 0 else 0
        stop = min(height, (oy + 1) * sh - ph) if oy + 1 < outs_h else height
        top, bottom = max(0, oy * sh - ph), min(height, oy * sh - ph + kh)
        for row in range(first, stop if add == 0 else first):
            at = (t + image * t_image + row * t_row) * 2
            inside = top <= row < bottom and sw == kw
            for i in range(max(0, min(width, outs_w * sw - pw)) if inside else 0, width):
                for c in range(0, wide, LANES):
                    store16(F, at + i * t_step * 2 + c, zero)
        for ox in range(outs_w):
            left, right = max(0, ox * sw - pw), min(width, ox * sw - pw + kw)
            best_at = (y + image * y_image + oy * y_row + ox * y_step) * 2
            rest_at = (g + image * g_image + oy * g_row + ox * g_step) * 2
            for c in range(0, wide, LANES):
                best, rest = load16(F, best_at + c), load16(F, rest_at + c)
                for i in range(top, bottom):
                    for j in range(left, right):
                        v = load16(F, (x + image * x_image + i * x_row + j * x_step) * 2 + c)
                        at = (t + image * t_image + i * t_row + j * t_step) * 2 + c
                        d = vwhere_equal(v, best, rest, zero)
                        store16(F, at, load16(F, at) + d if add == 1 else d)
                        rest = vwhere_equal(v, best, zero, rest)


@parallel
def narrow_upsample_gradient(F, I, p, s):
    """As `pool.upsample_gradient`."""
    g, g_step, g_row, g_image, t, t_step, t_row, t_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, wide, scale, add = p[8], p[9], p[10], p[11], p[12], p[13]
    for line in prange(n * height):
        image, row = line // height, line % height
        for i in range(width):
            target = (t + image * t_image + row * t_row + i * t_step) * 2
            corner = (g + image * g_image + row * scale * g_row + i * scale * g_step) * 2
            for c in range(0, wide, LANES):
                total = vsplat(np.float32(0))
                for a in range(scale):
                    for b in range(scale):
                        total = total + load16(F, corner + (a * g_row + b * g_step) * 2 + c)
                if add == 1:
                    total = total + load16(F, target + c)
                store16(F, target + c, total)


def clear_call(x: Map) -> Call:
    """One call of `pointwise.clear` for a map of any kind."""
    return call((*x.place, *x.shape[:3], spread(x) // x.buffer.kind))


def combine_call(x: Map, y: Map, add: bool) -> Call:
    """One call of `narrow_combine`."""
    return call((*x.place, *y.place, *x.shape, spread(y), x.buffer.kind, y.buffer.kind), (float(add),))


def pool_gradient_call(
    x: Map, y: Map, g: Map, target: Map, kernel: Pair, stride: Pair, padding: Pair, add: bool
) -> Call:
    """One call of `narrow_pool_gradient`, into `target` or added to it."""
    places = (*x.place, *y.place, *g.place, *target.place)
    sizes = (*x.shape[:3], *y.shape[1:3], grouped(x.c))
    return call((*places, *sizes, *kernel, *stride, *padding, int(add)))


def upsample_gradient_call(g: Map, target: Map, scale: int, add: bool) -> Call:
    """One call of `narrow_upsample_gradient`."""
    return call((*g.place, *target.place, *target.shape[:3], grouped(g.c), scale, int(add)))
