"""Heat maps and part affinity fields: rendered from poses, and the peaks found again.

Maps are (h, w, channels) float32 of one picture, points (x, y) in cells: cell (i, j) has its
centre at (j, i). All of it is serial: these kernels run in loader and server threads (see kernels/boxes.py).
"""

import math

import numpy as np

from .jit import serial

#: A Gaussian is drawn as far as so many sigmas, where it has fallen to 3e-4.
REACH = 4.0
#: Half the diagonal of a cell, rounded up: no point is further from the nearest centre.
END = 0.75
#: Neighbours count as at least this part of a peak, so that their logarithm exists.
FAINTEST = 1e-4


@serial
def gaussians(points, shown, sigma, maps):
    """Raise maps[..., k] to exp(-d^2 / 2 sigma^2), d the distance to points[n, k], wherever that is higher.

    Args:
        points: (N, K, 2) float64.
        shown: (N, K) bool; other points leave no mark.
        sigma: in cells.
        maps: (h, w, K or more) float32.
    """
    height, width, _ = maps.shape
    reach, scale = REACH * sigma, -0.5 / (sigma * sigma)
    for n in range(points.shape[0]):
        for k in range(points.shape[1]):
            if not shown[n, k]:
                continue
            u, v = points[n, k, 0], points[n, k, 1]
            if not (-reach < u < width + reach and -reach < v < height + reach):
                continue
            for y in range(max(math.ceil(v - reach), 0), min(math.floor(v + reach), height - 1) + 1):
                for x in range(max(math.ceil(u - reach), 0), min(math.floor(u + reach), width - 1) + 1):
                    value = np.float32(math.exp(((x - u) * (x - u) + (y - v) * (y - v)) * scale))
                    maps[y, x, k] = max(maps[y, x, k], value)


@serial
def cut(low, high, slope, offset, least, most):
    """The part of low..high where least <= slope x + offset <= most; empty where the first is the greater."""
    if abs(slope) < 1e-12:
        return (low, high) if least <= offset <= most else (1.0, 0.0)
    a, b = (least - offset) / slope, (most - offset) / slope
    return max(low, min(a, b)), min(high, max(a, b))


@serial
def columns(y, ax, ay, ux, uy, length, half, width):
    """First and last column of row y in the rectangle about a limb from a, `length` along the unit vector u.

    `END` is added at both ends, so that the cell nearest to any point of the limb lies inside, however short
    the limb.
    """
    low, high = cut(0.0, width - 1.0, uy, -ax * uy - (y - ay) * ux, -half, half)
    low, high = cut(low, high, ux, -ax * ux + (y - ay) * uy, -END, length + END)
    return math.ceil(low), math.floor(high)


@serial
def rows(ay, by, half, height):
    """First and last row that the rectangle about a limb can touch."""
    return (
        math.ceil(max(min(ay, by) - half - END, 0.0)),
        math.floor(min(max(ay, by) + half + END, height - 1.0)),
    )


@serial
def fields(points, shown, limbs, half, maps, count):
    """Unit vectors along limbs in maps[..., 2 l : 2 l + 2], averaged where limbs of a kind overlap (MPP-08).

    Args:
        points: (N, K, 2) float64.
        shown: (N, K) bool; a limb needs both ends. One without length has no direction and leaves no mark.
        limbs: (L, 2) int64.
        half: half the limb's width in cells.
        maps: (h, w, 2 L) float32 zeros.
        count: (h, w, L) uint16 zeros, receives how many limbs cover a cell.
    """
    height, width, _ = maps.shape
    for l in range(limbs.shape[0]):
        a, b = limbs[l, 0], limbs[l, 1]
        for n in range(points.shape[0]):
            if not (shown[n, a] and shown[n, b]):
                continue
            ax, ay, bx, by = points[n, a, 0], points[n, a, 1], points[n, b, 0], points[n, b, 1]
            length = math.hypot(bx - ax, by - ay)
            if length < 1e-9:
                continue
            ux, uy = (bx - ax) / length, (by - ay) / length
            top, bottom = rows(ay, by, half, height)
            for y in range(top, bottom + 1):
                left, right = columns(y, ax, ay, ux, uy, length, half, width)
                for x in range(left, right + 1):
                    maps[y, x, 2 * l] += np.float32(ux)
                    maps[y, x, 2 * l + 1] += np.float32(uy)
                    count[y, x, l] += 1
    for y in range(height):
        for x in range(width):
            for l in range(limbs.shape[0]):
                if count[y, x, l] > 1:
                    maps[y, x, 2 * l] /= np.float32(count[y, x, l])
                    maps[y, x, 2 * l + 1] /= np.float32(count[y, x, l])


@serial
def logarithm(value, peak):
    """ln(value / peak), of faint values that of `FAINTEST`."""
    return math.log(max(value / peak, FAINTEST))


@serial
def vertex(before, after):
    """Where the parabola through the logarithms of three neighbours has its top: a Gaussian's very centre.

    Measured from the peak in the middle, whose logarithm is 0; never further than half a cell.
    """
    bend = before + after
    return min(max((before - after) / (2.0 * bend), -0.5), 0.5) if bend < 0.0 else 0.0


@serial
def towards(inner, sigma):
    """The same at a border, where a neighbour is missing and the sigma known instead: -.5 is outwards."""
    return min(max(0.5 + sigma * sigma * inner, -0.5), 0.5)


@serial
def refined(maps, y, x, k, sigma):
    """The centre (x, y) of the bump whose highest cell is (y, x), to a fraction of a cell."""
    height, width, _ = maps.shape
    peak = np.float64(maps[y, x, k])
    left = logarithm(maps[y, x - 1, k], peak) if x > 0 else 0.0
    right = logarithm(maps[y, x + 1, k], peak) if x < width - 1 else 0.0
    above = logarithm(maps[y - 1, x, k], peak) if y > 0 else 0.0
    below = logarithm(maps[y + 1, x, k], peak) if y < height - 1 else 0.0
    if 0 < x < width - 1:
        dx = vertex(left, right)
    else:
        dx = 0.0 if width == 1 else towards(right, sigma) if x == 0 else -towards(left, sigma)
    if 0 < y < height - 1:
        dy = vertex(above, below)
    else:
        dy = 0.0 if height == 1 else towards(below, sigma) if y == 0 else -towards(above, sigma)
    return x + dx, y + dy


@serial
def is_peak(maps, y, x, k):
    """Whether no neighbour is higher; of equal ones the first in the order of rows is the peak."""
    height, width, _ = maps.shape
    value = maps[y, x, k]
    for j in range(max(y - 1, 0), min(y + 2, height)):
        for i in range(max(x - 1, 0), min(x + 2, width)):
            earlier = j < y or (j == y and i < x)
            if maps[j, i, k] > value or (earlier and maps[j, i, k] == value):
                return False
    return True


@serial
def peaks(maps, threshold, sigma, found, counts):
    """Local maxima above `threshold`, channel by channel (MPP-09), the highest first.

    Args:
        maps: (h, w, K or more) float32.
        threshold: positive; values that are not numbers are never above it.
        sigma: of the Gaussians in cells, for peaks at the border.
        found: (K, M, 3) float64, receives x, y and height of at most M peaks; the highest are kept.
        counts: (K,) int64, receives how many.
    """
    height, width, _ = maps.shape
    channels, most, _ = found.shape
    counts[:] = 0
    for y in range(height):
        for x in range(width):
            for k in range(channels):
                value = maps[y, x, k]
                if not (value > threshold and value < np.inf) or not is_peak(maps, y, x, k):
                    continue
                if counts[k] == most:
                    if value <= found[k, most - 1, 2]:
                        continue
                else:
                    counts[k] += 1
                at = counts[k] - 1
                while at > 0 and found[k, at - 1, 2] < value:
                    found[k, at] = found[k, at - 1]
                    at -= 1
                found[k, at, 0], found[k, at, 1] = refined(maps, y, x, k, sigma)
                found[k, at, 2] = value
