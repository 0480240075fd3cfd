"""Affine resampling of uint8 pictures: bilinear, on the loader's threads (serial: see kernels/boxes.py)."""

import numpy as np

from .jit import serial


@serial
def warp(src, inverse, fill, dst):
    """dst (h, w, C) uint8 from src (H, W, C) uint8: target point p shows the source at inverse (p, 1).

    Args:
        src: the picture, contiguous.
        inverse: (2, 3) float64, finite: from target points to source points; pixel (y, x) has its centre at
            (x + 0.5, y + 0.5) in both.
        fill: float32 grey of what lies outside; it blends with the outermost pixels over one pixel.
        dst: all of it is written.
    """
    height, width, channels = src.shape
    half, one = np.float32(0.5), np.float32(1)
    for y in range(dst.shape[0]):
        row_x = inverse[0, 1] * (y + 0.5) + inverse[0, 2] - 0.5
        row_y = inverse[1, 1] * (y + 0.5) + inverse[1, 2] - 0.5
        for x in range(dst.shape[1]):
            at_x = inverse[0, 0] * (x + 0.5) + row_x
            at_y = inverse[1, 0] * (x + 0.5) + row_y
            if not (-1.0 < at_x < width and -1.0 < at_y < height):
                for c in range(channels):
                    dst[y, x, c] = np.uint8(fill)
                continue
            left, top = int(np.floor(at_x)), int(np.floor(at_y))
            across, down = np.float32(at_x - left), np.float32(at_y - top)
            if 0 <= left < width - 1 and 0 <= top < height - 1:
                for c in range(channels):
                    a, b = np.float32(src[top, left, c]), np.float32(src[top, left + 1, c])
                    upper = a + across * (b - a)
                    a, b = np.float32(src[top + 1, left, c]), np.float32(src[top + 1, left + 1, c])
                    lower = a + across * (b - a)
                    dst[y, x, c] = np.uint8(upper + down * (lower - upper) + half)
                continue
            for c in range(channels):
                total = half
                for i in range(2):
                    weight = down if i else one - down
                    for j in range(2):
                        inside = 0 <= top + i < height and 0 <= left + j < width
                        value = np.float32(src[top + i, left + j, c]) if inside else fill
                        total += weight * (across if j else one - across) * value
                dst[y, x, c] = np.uint8(total)
