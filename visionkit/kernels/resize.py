"""Bilinear resizing of uint8 pictures, antialiased when shrinking; serial, without the GIL.

Serial on purpose: loader threads each resize a picture of their own. Sampling is at half-pixel centres;
along an axis that shrinks, the triangle filter is as wide as the shrinking factor (as in Pillow and in
PyTorch's `antialias=True`), so no source pixel is skipped. Sums stay in float32 and are rounded once.
"""

import numpy as np

from .jit import serial


@serial
def taps(source, target, first, weights):
    """Filter of one axis: output i sums weights[i, k] * input[first[i] + k]; weights (target, K)."""
    scale = source / target
    support = max(scale, 1.0)
    for i in range(target):
        centre = (i + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), source)
        first[i] = low
        total = 0.0
        for k in range(high - low):
            weights[i, k] = max(1.0 - abs(low + k + 0.5 - centre) / support, 0.0)
            total += weights[i, k]
        for k in range(high - low):
            weights[i, k] /= total
        for k in range(high - low, weights.shape[1]):
            weights[i, k] = 0.0


@serial
def resize(src, rows, row_weights, columns, column_weights, line, dst):
    """dst (h, w, C) uint8 from src (H, W, C) uint8 and the taps of both axes; line (W * C,) is scratch.

    Each output row first gathers its source rows into `line`, then samples along it.
    """
    height, width, channels = dst.shape
    for y in range(height):
        line[:] = np.float32(0.0)
        for k in range(row_weights.shape[1]):
            weight = row_weights[y, k]
            if weight != 0.0:
                row = src[rows[y] + k].reshape(-1)
                for i in range(line.size):
                    line[i] += weight * np.float32(row[i])
        for x in range(width):
            for c in range(channels):
                total = np.float32(0.5)
                at = columns[x] * channels + c
                for k in range(column_weights.shape[1]):
                    weight = column_weights[x, k]
                    if weight != 0.0:
                        total += weight * line[at + k * channels]
                dst[y, x, c] = np.uint8(min(max(total, np.float32(0.0)), np.float32(255.0)))
