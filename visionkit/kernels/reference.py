"""Plain loops for convolution and pooling over NHWC maps: the reference that fast kernels are held to.

All arrays are C-contiguous; pairs are (height, width). Sums run in float64 whatever the dtype. The channel is
the innermost loop, so that these loops vectorise without reordering a sum.
"""

import numpy as np

from .jit import parallel, prange, serial


@serial
def _taps(out_at, size, kernel, stride, padding, dilation):
    """First and one-past-last tap of the window of output `out_at` that lies inside the map."""
    start = out_at * stride - padding
    first = 0 if start >= 0 else (-start + dilation - 1) // dilation
    last = min(kernel, (size - start + dilation - 1) // dilation)
    return start, first, last


@parallel
def conv_forward(out, x, w, bias, stride, padding, dilation, groups):
    """Fill `out` (B, OH, OW, O) from `x` (B, H, W, I), `w` (KH, KW, I/g, O) and `bias` (O,)."""
    batch, height, width, _ = x.shape
    _, rows, columns, outputs = out.shape
    kh, kw, inner, _ = w.shape
    group_out = outputs // groups
    for row in prange(batch * rows):
        b, y = row // rows, row % rows
        total = np.empty(outputs, np.float64)
        top, ky0, ky1 = _taps(y, height, kh, stride[0], padding[0], dilation[0])
        for x_out in range(columns):
            left, kx0, kx1 = _taps(x_out, width, kw, stride[1], padding[1], dilation[1])
            total[:] = bias
            for ky in range(ky0, ky1):
                for kx in range(kx0, kx1):
                    pixel = x[b, top + ky * dilation[0], left + kx * dilation[1]]
                    for g in range(groups):
                        for i in range(inner):
                            value = np.float64(pixel[g * inner + i])
                            for o in range(g * group_out, (g + 1) * group_out):
                                total[o] += value * w[ky, kx, i, o]
            out[b, y, x_out] = total


@parallel
def conv_backward_data(dx, grad, w, stride, padding, dilation, groups):
    """Fill `dx` (B, H, W, I) from `grad` (B, OH, OW, O) and `w` (KH, KW, O, I/g)."""
    batch, height, width, channels = dx.shape
    _, rows, columns, outputs = grad.shape
    kh, kw, _, inner = w.shape
    group_out = outputs // groups
    for row in prange(batch * height):
        b, y = row // height, row % height
        total = np.empty(channels, np.float64)
        for x_in in range(width):
            total[:] = 0
            for ky in range(kh):
                up = y + padding[0] - ky * dilation[0]
                if up < 0 or up % stride[0] != 0 or up // stride[0] >= rows:
                    continue
                for kx in range(kw):
                    along = x_in + padding[1] - kx * dilation[1]
                    if along < 0 or along % stride[1] != 0 or along // stride[1] >= columns:
                        continue
                    pixel = grad[b, up // stride[0], along // stride[1]]
                    for o in range(outputs):
                        value = np.float64(pixel[o])
                        base = o // group_out * inner
                        for i in range(inner):
                            total[base + i] += value * w[ky, kx, o, i]
            dx[b, y, x_in] = total


@parallel
def conv_backward_weights(dw, x, grad, stride, padding, dilation, groups):
    """Fill `dw` (KH, KW, I/g, O) from `x` (B, H, W, I) and `grad` (B, OH, OW, O)."""
    batch, height, width, _ = x.shape
    _, rows, columns, outputs = grad.shape
    kh, kw, inner, _ = dw.shape
    group_out = outputs // groups
    for tap in prange(kh * kw * inner):
        ky, kx, i = tap // (kw * inner), tap // inner % kw, tap % inner
        total = np.zeros(outputs, np.float64)
        for b in range(batch):
            for y in range(rows):
                y_in = y * stride[0] - padding[0] + ky * dilation[0]
                if y_in < 0 or y_in >= height:
                    continue
                for x_out in range(columns):
                    x_in = x_out * stride[1] - padding[1] + kx * dilation[1]
                    if x_in < 0 or x_in >= width:
                        continue
                    for g in range(groups):
                        value = np.float64(x[b, y_in, x_in, g * inner + i])
                        for o in range(g * group_out, (g + 1) * group_out):
                            total[o] += value * grad[b, y, x_out, o]
        dw[ky, kx, i] = total


@parallel
def max_pool_forward(out, winners, x, kernel, stride, padding):
    """Fill `out` (B, OH, OW, C) and `winners`, the flat index y * W + x of each maximum; NaN wins."""
    batch, height, width, channels = x.shape
    _, rows, columns, _ = out.shape
    for row in prange(batch * rows):
        b, y = row // rows, row % rows
        top, ky0, ky1 = _taps(y, height, kernel[0], stride[0], padding[0], 1)
        for x_out in range(columns):
            left, kx0, kx1 = _taps(x_out, width, kernel[1], stride[1], padding[1], 1)
            for c in range(channels):
                best = x[b, top + ky0, left + kx0, c]
                at = (top + ky0) * width + left + kx0
                for ky in range(ky0, ky1):
                    for kx in range(kx0, kx1):
                        value = x[b, top + ky, left + kx, c]
                        if value > best or (value != value and best == best):
                            best = value
                            at = (top + ky) * width + left + kx
                out[b, y, x_out, c] = best
                winners[b, y, x_out, c] = at


@parallel
def max_pool_backward(dx, grad, winners):
    """Add each gradient of `grad` (B, OH, OW, C) to its winner in `dx` (B, H, W, C), zeroed before."""
    batch, rows, columns, channels = grad.shape
    width = dx.shape[2]
    for b in prange(batch):
        for y in range(rows):
            for x_out in range(columns):
                for c in range(channels):
                    at = winners[b, y, x_out, c]
                    dx[b, at // width, at % width, c] += grad[b, y, x_out, c]


@serial
def _share(out_at, size, kernel, stride, padding, taps, include_pad):
    """How many elements a window counts along one axis."""
    if not include_pad:
        return taps
    start = out_at * stride - padding
    return min(start + kernel, size + padding) - start


@parallel
def avg_pool_forward(out, x, kernel, stride, padding, include_pad):
    """Fill `out` (B, OH, OW, C) with the means of the windows; padding counts if `include_pad`."""
    batch, height, width, channels = x.shape
    _, rows, columns, _ = out.shape
    for row in prange(batch * rows):
        b, y = row // rows, row % rows
        total = np.empty(channels, np.float64)
        top, ky0, ky1 = _taps(y, height, kernel[0], stride[0], padding[0], 1)
        tall = _share(y, height, kernel[0], stride[0], padding[0], ky1 - ky0, include_pad)
        for x_out in range(columns):
            left, kx0, kx1 = _taps(x_out, width, kernel[1], stride[1], padding[1], 1)
            wide = _share(x_out, width, kernel[1], stride[1], padding[1], kx1 - kx0, include_pad)
            total[:] = 0
            for ky in range(ky0, ky1):
                for kx in range(kx0, kx1):
                    for c in range(channels):
                        total[c] += x[b, top + ky, left + kx, c]
            out[b, y, x_out] = total / (tall * wide)


@parallel
def avg_pool_backward(dx, grad, kernel, stride, padding, include_pad):
    """Spread `grad` (B, OH, OW, C) evenly over the windows in `dx` (B, H, W, C), zeroed before."""
    batch, rows, columns, channels = grad.shape
    _, height, width, _ = dx.shape
    for b in prange(batch):
        for y in range(rows):
            top, ky0, ky1 = _taps(y, height, kernel[0], stride[0], padding[0], 1)
            tall = _share(y, height, kernel[0], stride[0], padding[0], ky1 - ky0, include_pad)
            for x_out in range(columns):
                left, kx0, kx1 = _taps(x_out, width, kernel[1], stride[1], padding[1], 1)
                wide = _share(x_out, width, kernel[1], stride[1], padding[1], kx1 - kx0, include_pad)
                for ky in range(ky0, ky1):
                    for kx in range(kx0, kx1):
                        for c in range(channels):
                            dx[b, top + ky, left + kx, c] += grad[b, y, x_out, c] / (tall * wide)
