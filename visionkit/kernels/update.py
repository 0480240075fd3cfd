"""Fused updates over flat arrays, one pass each: optimisers, moving averages, the norm of gradients.

Arrays are one-dimensional, contiguous and of one dtype, scalars are of that dtype. Work is cut into chunks of
`CHUNK` elements whatever the thread count, so the bits do not depend on it. Each kernel has a serial form
for small arrays, where starting threads would cost more than the work.
"""

import math

import numpy as np

from .jit import parallel, prange, serial

#: Elements per chunk: several arrays of one chunk fit the second-level cache.
CHUNK = 16384

# Partial sums of a chunk: enough for the vector units, fixed so that every processor adds in one order.
_PARTS = 32


@serial
def sgd(p, g, v, lr, momentum, decay, nesterov):
    """SGD with momentum: updates `p` and the velocity `v` from gradient `g` (OPT-05, OPT-06)."""
    for i in range(p.size):
        d = g[i] + decay * p[i]
        v[i] = momentum * v[i] + d
        p[i] -= lr * (d + momentum * v[i] if nesterov else v[i])


@parallel
def sgd_chunks(p, g, v, lr, momentum, decay, nesterov):
    """`sgd` on all threads."""
    for c in prange((p.size + CHUNK - 1) // CHUNK):
        s = slice(c * CHUNK, min(p.size, (c + 1) * CHUNK))
        sgd(p[s], g[s], v[s], lr, momentum, decay, nesterov)


@serial
def adam(p, g, m, v, lr, beta1, beta2, eps, decay, shrink, root):
    """Adam: updates `p`, the mean `m` and the square `v` from gradient `g` (OPT-09).

    `lr` carries the correction of the mean, `root` is sqrt(1 - beta2^t); `decay` enters the gradient (L2),
    `shrink` multiplies `p` first (AdamW).
    """
    one = p.dtype.type(1)
    for i in range(p.size):
        w = p[i] * shrink
        d = g[i] + decay * w
        m[i] = beta1 * m[i] + (one - beta1) * d
        v[i] = beta2 * v[i] + (one - beta2) * d * d
        p[i] = w - lr * m[i] / (np.sqrt(v[i]) / root + eps)


@parallel
def adam_chunks(p, g, m, v, lr, beta1, beta2, eps, decay, shrink, root):
    """`adam` on all threads."""
    for c in prange((p.size + CHUNK - 1) // CHUNK):
        s = slice(c * CHUNK, min(p.size, (c + 1) * CHUNK))
        adam(p[s], g[s], m[s], v[s], lr, beta1, beta2, eps, decay, shrink, root)


@serial
def scaled(p, g, v, lr, keep, add, eps, decay):
    """AdaGrad and RMSProp: `v` = keep * v + add * g², `p` -= lr * g / (sqrt(v) + eps) (OPT-07, OPT-08)."""
    for i in range(p.size):
        d = g[i] + decay * p[i]
        v[i] = keep * v[i] + add * d * d
        p[i] -= lr * d / (np.sqrt(v[i]) + eps)


@parallel
def scaled_chunks(p, g, v, lr, keep, add, eps, decay):
    """`scaled` on all threads."""
    for c in prange((p.size + CHUNK - 1) // CHUNK):
        s = slice(c * CHUNK, min(p.size, (c + 1) * CHUNK))
        scaled(p[s], g[s], v[s], lr, keep, add, eps, decay)


@serial
def average(shadow, value, rate):
    """Moving average: `shadow` += rate * (value - shadow)."""
    for i in range(shadow.size):
        shadow[i] += rate * (value[i] - shadow[i])


@parallel
def average_chunks(shadow, value, rate):
    """`average` on all threads."""
    for c in prange((shadow.size + CHUNK - 1) // CHUNK):
        s = slice(c * CHUNK, min(shadow.size, (c + 1) * CHUNK))
        average(shadow[s], value[s], rate)


@serial
def _chunk_squares(x):
    parts = np.zeros(_PARTS, np.float64)
    whole = x.size // _PARTS * _PARTS
    for start in range(0, whole, _PARTS):
        for j in range(_PARTS):
            value = np.float64(x[start + j])
            parts[j] += value * value
    for j in range(x.size - whole):
        value = np.float64(x[whole + j])
        parts[j] += value * value
    total = 0.0
    for j in range(_PARTS):
        total += parts[j]
    return total


@serial
def squares(x):
    """The sum of squares of `x`, in float64, chunk by chunk."""
    total = 0.0
    for start in range(0, x.size, CHUNK):
        total += _chunk_squares(x[start : min(x.size, start + CHUNK)])
    return total


@parallel
def squares_chunks(x):
    """`squares` on all threads, the same bits."""
    count = (x.size + CHUNK - 1) // CHUNK
    sums = np.empty(count, np.float64)
    for c in prange(count):
        sums[c] = _chunk_squares(x[c * CHUNK : min(x.size, (c + 1) * CHUNK)])
    total = 0.0
    for c in range(count):
        total += sums[c]
    return total


def small(size: int) -> bool:
    """Whether an array of `size` elements is faster on one thread."""
    return size <= CHUNK


def correction(beta: float, count: int) -> float:
    """1 - beta^count, without cancellation."""
    return -math.expm1(count * math.log(beta)) if beta > 0 else 1.0
