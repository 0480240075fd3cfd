"""Colour changes of uint8 pictures, in place, on the loader's threads (serial: see kernels/boxes.py)."""

import numpy as np

from .jit import serial


@serial
def hsv_gains(image, hue, saturation, value):
    """Multiply hue, saturation and value of every pixel; saturation and value saturate, hue wraps round.

    Args:
        image: (H, W, 3) uint8 RGB, changed in place.
        hue, saturation, value: float32 gains, 1 changes nothing.
    """
    zero, one, four, six = np.float32(0), np.float32(1), np.float32(4), np.float32(6)
    full, half = np.float32(255), np.float32(0.5)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            r, g, b = np.float32(image[y, x, 0]), np.float32(image[y, x, 1]), np.float32(image[y, x, 2])
            top = max(r, g, b)
            chroma = top - min(r, g, b)
            bright = min(top * value, full)
            # Hue in sixths of the circle; a grey pixel has none, and no saturation either.
            inverse = one / max(chroma, one)
            if top == r:
                h = (g - b) * inverse
            elif top == g:
                h = np.float32(2) + (b - r) * inverse
            else:
                h = four + (r - g) * inverse
            h = (h + six if h < zero else h) * hue
            depth = bright * min(chroma / max(top, one) * saturation, one)
            for c in range(3):
                # Channel c falls from its top by `depth` times a trapezoid over the circle.
                k = np.float32(5 - 2 * c) + h
                k -= six * np.float32(np.int32(k / six))
                image[y, x, c] = np.uint8(bright - depth * max(zero, min(k, four - k, one)) + half)
