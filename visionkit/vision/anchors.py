"""Anchors: typical box sizes, found by k-means with the distance 1 - IoU (DET-14)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..shapes import expect
from .boxes import shape_iou

Sizes = NDArray[np.float32]

#: YOLOv3's nine sizes for COCO at 416 x 416, (L, A, 2) width and height, strides 8, 16, 32 (DET-22).
COCO_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def kmeans_anchors(wh: ArrayLike, k: int, rng: np.random.Generator, iterations: int = 300) -> Sizes:
    """`k` typical sizes of boxes: (k, 2) float32 width and height, small area to large.

    Lloyd's algorithm with the distance 1 - IoU of boxes on one centre and medians as centres, from `k`
    different boxes picked at random, until nothing moves.

    Args:
        wh: (N, 2) widths and heights in input pixels.
        k: how many.
        rng: picks the first centres.
        iterations: at most so many rounds.

    Raises:
        DataError: fewer than `k` different boxes, or sides that are not positive.
    """
    sizes = np.asarray(expect(wh, "N 2", name="wh"), np.float64)
    if k < 1:
        raise UsageError("k must be 1 or more", value=k)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise DataError("box sides must be positive numbers", remedy="leave such boxes out")
    different = np.unique(sizes, axis=0)
    if len(different) < k:
        raise DataError(f"{k} anchors need at least {k} different boxes", value=len(different))
    centres = rng.permutation(different)[:k]
    nearest = np.full(len(sizes), -1)
    for _ in range(iterations):
        before, nearest = nearest, shape_iou(sizes, centres).argmax(axis=1)
        if (nearest == before).all():
            break
        # a centre that lost all its boxes stays where it is
        centres = np.array(
            [np.median(sizes[nearest == c], axis=0) if (nearest == c).any() else centres[c] for c in range(k)]
        )
    return centres[np.argsort(centres.prod(axis=1), kind="stable")].astype(np.float32)


def mean_best_iou(wh: ArrayLike, anchors: ArrayLike) -> float:
    """How well anchors (..., 2) fit boxes (N, 2): the mean over boxes of the best shape IoU, in [0, 1]."""
    overlap = shape_iou(wh, np.reshape(np.asarray(anchors), (-1, 2)))
    return float(overlap.max(axis=1).mean()) if len(overlap) else 0.0


def balanced(
    wh: ArrayLike, class_id: ArrayLike, per_class: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`per_class` boxes (with repetition) of every class, lest a common class take all anchors."""
    sizes = np.asarray(expect(wh, "N 2", name="wh"), np.float64)
    labels = np.asarray(expect(class_id, "N", name="class_id", N=len(sizes)))
    chosen = [rng.choice(np.flatnonzero(labels == label), per_class) for label in np.unique(labels)]
    return sizes[np.concatenate(chosen)] if chosen else sizes
