"""Boxes: conversions, areas, clipping and IoU.

A box is `x1 y1 x2 y2` in half-open real pixels: its width is x2 - x1, with no "+ 1" anywhere. Other
forms live only at the borders, and here are their named inverses. All functions take (..., 4) arrays,
keep float32 and float64, turn anything else into float32, and return new arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError
from ..kernels import boxes as kernels

Floats = NDArray[np.floating[Any]]


def as_boxes(array: ArrayLike) -> Floats:
    """`array` as float boxes (..., 4): float32 and float64 as they are, the rest as float32.

    Raises:
        ShapeError: the last axis is not 4.
    """
    found = np.asarray(array)
    if found.ndim == 0 or found.shape[-1] != 4:
        raise ShapeError(f"boxes: expected shape (..., 4), got {found.shape}")
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float32)


def xyxy_to_xywh(boxes: ArrayLike) -> Floats:
    """Corners to COCO's `x1 y1 width height`."""
    b = as_boxes(boxes)
    return np.concatenate([b[..., :2], b[..., 2:] - b[..., :2]], axis=-1)


def xywh_to_xyxy(boxes: ArrayLike) -> Floats:
    """COCO's `x1 y1 width height` to corners."""
    b = as_boxes(boxes)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], axis=-1)


def xyxy_to_cxcywh(boxes: ArrayLike) -> Floats:
    """Corners to `centre-x centre-y width height`."""
    b = as_boxes(boxes)
    return np.concatenate([(b[..., :2] + b[..., 2:]) / 2, b[..., 2:] - b[..., :2]], axis=-1)


def cxcywh_to_xyxy(boxes: ArrayLike) -> Floats:
    """`centre-x centre-y width height` to corners."""
    b = as_boxes(boxes)
    half = b[..., 2:] / 2
    return np.concatenate([b[..., :2] - half, b[..., :2] + half], axis=-1)


def xyxy_to_bxbybhbw(boxes: ArrayLike, image_size: tuple[int, int]) -> Floats:
    """Corners in pixels to the textbook vector (DET-01): centre x, centre y, height, width, in [0, 1].

    Mind the order: the height comes before the width. `image_size` is (height, width).
    """
    height, width = image_size
    cx, cy, w, h = np.moveaxis(xyxy_to_cxcywh(boxes), -1, 0)
    return np.stack([cx / width, cy / height, h / height, w / width], axis=-1)


def bxbybhbw_to_xyxy(vectors: ArrayLike, image_size: tuple[int, int]) -> Floats:
    """The inverse of `xyxy_to_bxbybhbw`."""
    height, width = image_size
    bx, by, bh, bw = np.moveaxis(as_boxes(vectors), -1, 0)
    return cxcywh_to_xyxy(np.stack([bx * width, by * height, bw * width, bh * height], axis=-1))


def area(boxes: ArrayLike) -> Floats:
    """Areas (...,) in square pixels; a box whose corners are swapped has none."""
    b = as_boxes(boxes)
    sides = np.maximum(b[..., 2:] - b[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip_boxes(boxes: ArrayLike, image_size: tuple[int, int]) -> Floats:
    """Boxes cut at the borders of a picture of (height, width)."""
    height, width = image_size
    b = as_boxes(boxes)
    return np.clip(b, np.zeros(4, b.dtype), np.array([width, height, width, height], b.dtype))


def iou_matrix(a: ArrayLike, b: ArrayLike) -> Floats:
    """IoU of every box of `a` (N, 4) with every box of `b` (M, 4): (N, M) in [0, 1] (DET-10).

    Touching boxes give 0, identical ones 1, and a box without area gives 0, never NaN.
    """
    first, second = as_boxes(a), as_boxes(b)
    if first.ndim != 2 or second.ndim != 2:
        raise ShapeError(f"iou_matrix: expected (N, 4) and (M, 4), got {first.shape} and {second.shape}")
    kind = np.result_type(first, second)
    out = np.empty((len(first), len(second)), kind)
    kernels.iou_matrix(first.astype(np.float64), second.astype(np.float64), out)
    return out


def shape_iou(a: ArrayLike, b: ArrayLike) -> Floats:
    """IoU of boxes of sizes (N, 2) and (M, 2) `width height` laid on one centre: (N, M) in [0, 1]."""
    first, second = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    if first.shape[2:] != (2,) or second.shape[2:] != (2,):
        raise ShapeError(f"shape_iou: expected (N, 2) and (M, 2), got {np.shape(a)} and {np.shape(b)}")
    inter = np.minimum(first, second).prod(axis=2)
    union = first.prod(axis=2) + second.prod(axis=2) - inter
    return np.divide(inter, union, out=np.zeros_like(union), where=union > 0)
