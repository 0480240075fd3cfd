"""Non-maximum suppression: one box for one object."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..kernels import boxes as kernels
from ..shapes import expect

Indices = NDArray[np.int64]
Prepared = tuple[NDArray[np.float64], NDArray[np.float64], Indices]


def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    iou: float = 0.5,
    class_id: ArrayLike | None = None,
    *,
    limit: int | None = None,
) -> Indices:
    """Greedy, class-wise suppression (DET-11).

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        iou: a box goes when its IoU with a better kept box of its class is greater than this, in [0, 1].
        class_id: (N,) integers; without it all boxes are of one class.
        limit: keep at most so many.

    Returns:
        Indices of the kept boxes, high score to low; equal scores in the order given. Boxes whose score
        or corners are not finite are never kept.
    """
    if not 0.0 <= iou <= 1.0:
        raise UsageError("nms: iou must be in [0, 1]", value=iou)
    xyxy, score, label = _prepare(boxes, scores, class_id)
    usable = np.flatnonzero(np.isfinite(score) & np.isfinite(xyxy).all(axis=1))
    order = usable[np.argsort(-score[usable], kind="stable")]
    kept = np.empty(len(order), np.int64)
    count = kernels.nms(xyxy, label, order, float(iou), len(order) if limit is None else limit, kept)
    return kept[:count]


def soft_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    sigma: float = 0.5,
    threshold: float = 0.5,
    class_id: ArrayLike | None = None,
    *,
    limit: int | None = None,
) -> tuple[Indices, NDArray[np.float32]]:
    """Gaussian soft-NMS (Bodla et al. 2017; DET-28): overlap lowers a score instead of ending the box.

    The best box is taken, every other box of its class is multiplied by exp(-IoU^2 / sigma), and so on
    until the best left is below `threshold`.

    Returns:
        Indices of the kept boxes, and their lowered scores, both high to low.
    """
    if not sigma > 0.0:
        raise UsageError("soft_nms: sigma must be positive", value=sigma)
    xyxy, score, label = _prepare(boxes, scores, class_id)
    lowered = np.where(np.isfinite(score) & np.isfinite(xyxy).all(axis=1), score, -np.inf)
    kept = np.empty(len(lowered), np.int64)
    most = len(lowered) if limit is None else limit
    count = kernels.soft_nms(xyxy, label, lowered, float(sigma), float(threshold), most, kept)
    return kept[:count], lowered[kept[:count]].astype(np.float32)


def _prepare(boxes: ArrayLike, scores: ArrayLike, class_id: ArrayLike | None) -> Prepared:
    xyxy = np.asarray(expect(boxes, "N 4", name="boxes"), np.float64)
    count = len(xyxy)
    score = np.asarray(expect(scores, "N", name="scores", N=count), np.float64)
    if class_id is None:
        return xyxy, score, np.zeros(count, np.int64)
    return xyxy, score, np.asarray(expect(class_id, "N", name="class_id", N=count), np.int64)
