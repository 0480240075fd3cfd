"""Affine maps of pictures, points and boxes: one resampling turns, scales, shifts, mirrors and crops.

A map is a (2, 3) float64 matrix from the points of a picture to those of another, both (x, y) in pixels, with
the centre of pixel (j, i) at (j + 0.5, i + 0.5). The sums are written out, for a BLAS rounds them as the
processor pleases, and a training must not depend on that.
"""

from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..kernels import warp as kernels
from ..shapes import expect
from .boxes import Floats, as_boxes
from .letterbox import PADDING, Picture, Size, resize_bilinear, target_of

Matrix = NDArray[np.float64]

#: Pictures that shrink more are made smaller by a wide filter first: two taps would skip pixels.
_SHRINKS = 1.5


def similarity(
    centre: ArrayLike, to: ArrayLike, scale: float, *, degrees: float = 0.0, mirror: bool = False
) -> Matrix:
    """The map that takes `centre` to `to`, mirrors left and right, turns clockwise and scales about it."""
    c, s, side = scale * cos(radians(degrees)), scale * sin(radians(degrees)), -1.0 if mirror else 1.0
    (x, y), (u, v) = (np.asarray(point, np.float64).tolist() for point in (centre, to))
    return np.array([[c * side, -s, u - (c * side * x - s * y)], [s * side, c, v - (s * side * x + c * y)]])


def crop_matrix(box: ArrayLike, size: Size, padding: float = 1.25) -> Matrix:
    """The map that shows one person to a network for one person.

    Args:
        box: (4,) xyxy; a side below 1 pixel counts as 1.
        size: (height, width) of the network's input.
        padding: the box with so many times its sides just fits into the input, centred.

    Raises:
        ShapeError, UsageError: no box of finite numbers, a size or padding that is not positive.
    """
    x1, y1, x2, y2 = (float(v) for v in expect(box, "4", name="box", dtype=np.float64))
    if not np.isfinite([x1, y1, x2, y2]).all() or min(*size, padding) <= 0:
        raise UsageError("a crop needs a box of finite numbers and sizes above 0", value=(box, size, padding))
    scale = min(size[1] / max(x2 - x1, 1.0), size[0] / max(y2 - y1, 1.0)) / padding
    return similarity(((x1 + x2) / 2, (y1 + y2) / 2), (size[1] / 2, size[0] / 2), scale)


def invert(matrix: Matrix) -> Matrix:
    """The map back.

    Raises:
        UsageError: the map has none, or numbers that are not finite.
    """
    (a, b, c), (d, e, f) = expect(matrix, "2 3", name="matrix", dtype=np.float64).tolist()
    area = a * e - b * d
    inverse = np.array([[e, -b, b * f - c * e], [-d, a, c * d - a * f]]) / (area or np.nan)
    if not np.isfinite(inverse).all():
        raise UsageError("an affine map must be finite and have an inverse", value=[[a, b, c], [d, e, f]])
    return inverse


def mirrors(matrix: Matrix) -> bool:
    """Whether the map swaps left and right."""
    return bool(matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0])


def move_points(matrix: Matrix, xy: ArrayLike) -> NDArray[np.floating[Any]]:
    """Points (..., 2) where the map takes them; float32 stays float32."""
    points = np.asarray(xy)
    expect(points, "... 2", name="points")
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    moved = np.stack([row[0] * x + row[1] * y + row[2] for row in matrix], axis=-1)
    return moved.astype(np.float32) if points.dtype == np.float32 else moved


def move_keypoints(matrix: Matrix, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Key-points (..., 3), x, y, v, where the map takes them; those without label become 0, 0, 0."""
    moved = np.concatenate([move_points(matrix, keypoints[..., :2]), keypoints[..., 2:]], axis=-1)
    return np.where(keypoints[..., 2:] > 0, moved, np.float32(0))


def move_boxes(matrix: Matrix, xyxy: ArrayLike) -> Floats:
    """The smallest boxes (..., 4) around the moved corners: exact where the map does not turn."""
    boxes = as_boxes(xyxy)
    corners = move_points(matrix, boxes[..., [[0, 1], [2, 1], [2, 3], [0, 3]]])
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)


def warp_affine(source: Picture, matrix: Matrix, target: Picture | Size) -> Picture:
    """A picture (H, W, C) uint8 resampled by a map: bilinear, antialiased when it shrinks, grey 114 around.

    Args:
        source: (H, W, C) uint8 with at least one pixel.
        matrix: from points of the source to points of the target.
        target: (height, width), or a writable uint8 array (h, w, C) to fill.

    Returns:
        The target array.

    Raises:
        ShapeError: not such pictures.
        UsageError: a map without an inverse.
    """
    target = target_of(source, target)
    inverse = invert(matrix)
    scales = np.linalg.norm(matrix[:, :2], axis=0)
    if (scales * _SHRINKS < 1).any():
        source, inverse = _smaller(source, inverse, scales, (target.shape[0], target.shape[1]))
    kernels.warp(np.ascontiguousarray(source), inverse, np.float32(PADDING), target)
    return target


def _smaller(source: Picture, inverse: Matrix, scales: NDArray[Any], size: Size) -> tuple[Picture, Matrix]:
    """The part of a picture that a target of `size` shows, made smaller, and the map from target to part."""
    height, width = source.shape[:2]
    corners = move_points(inverse, np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]]))
    reach = 3 / scales  # two taps, and half of the filter
    low = np.clip(np.floor(corners.min(axis=0) - reach), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + reach), low + 1, [width, height]).astype(int)
    sides = [
        max(1, round(side * scale)) if scale * _SHRINKS < 1 else side
        for side, scale in zip((high - low).tolist(), scales.tolist(), strict=True)
    ]
    shifted = inverse - np.column_stack([np.zeros((2, 2)), low])
    part = resize_bilinear(source[low[1] : high[1], low[0] : high[0]], (sides[1], sides[0]))
    return part, shifted * (np.array(sides) / (high - low))[:, None]
