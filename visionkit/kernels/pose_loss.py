"""The squared error of pose maps and its gradient, in one pass over map and target.

Pictures are the units of work and their sums are added in order, so that the bits do not depend on the number
of threads.
"""

import numpy as np

from .jit import parallel, prange, serial

#: What a map holds: heat maps, such with the background as last channel, or fields of two channels a limb.
HEAT, BACKGROUND, FIELDS = 0, 1, 2


@serial
def picture(found, target, weight, kind, focus, gradient, sums):
    """Errors of one picture, of every channel into `sums` (C,) float64; gradients into (h, w, C).

    Args:
        found, target: (h, w, C).
        weight: (h, w), of a cell; where it is 0 nothing is asked.
        kind: HEAT, BACKGROUND or FIELDS.
        focus: additional weight of joints and limbs.
    """
    height, width, channels = found.shape
    real = found.dtype.type
    one, two = real(1), real(2)
    row = np.empty(
        channels, found.dtype
    )  # weights of the channels, a loop of its own so that both are vectors
    for y in range(height):
        for x in range(width):
            w = weight[y, x]
            if w == 0:
                for c in range(channels):
                    gradient[y, x, c] = 0
                continue
            if kind == FIELDS:
                for c in range(0, channels, 2):
                    a, b = real(target[y, x, c]), real(target[y, x, c + 1])
                    row[c] = row[c + 1] = w * (one + focus * (a * a + b * b))
            else:
                for c in range(channels):
                    row[c] = w * (one + focus * target[y, x, c])
                if kind == BACKGROUND:
                    row[channels - 1] = w * (one + focus * (one - target[y, x, channels - 1]))
            for c in range(channels):
                error = found[y, x, c] - target[y, x, c]
                slope = row[c] * error
                gradient[y, x, c] = two * slope
                sums[c] += np.float64(slope * error)


@parallel
def squared(found, target, weight, kind, focus, gradient):
    """The sum of (1 + focus * shape) * weight * (found - target)^2; its gradient along `found`.

    The shape is the target itself on heat maps, 1 minus it on the background, and on fields the squared
    length of the vector. See `picture`, with a batch axis in front.
    """
    batch, _, _, channels = found.shape
    sums = np.zeros((batch, channels), np.float64)
    for b in prange(batch):
        picture(found[b], target[b], weight[b], kind, focus, gradient[b], sums[b])
    total = 0.0
    for b in range(batch):
        for c in range(channels):
            total += sums[b, c]
    return total
