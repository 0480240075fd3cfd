"""Object keypoint similarity: for points what IoU is for boxes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..shapes import expect


def oks_matrix(
    truth: ArrayLike, labelled: ArrayLike, area: ArrayLike, found: ArrayLike, sigmas: ArrayLike
) -> NDArray[np.float64]:
    """OKS of every labelled object with every found one.

    The mean of exp(-d² / (2 area (2 sigma)²)) over the labelled points, d in pixels, as on COCO's page on
    keypoint evaluation; 1 where all points meet.

    Args:
        truth: (N, K, 2) points.
        labelled: (N, K), true where a point is known; only these count.
        area: (N,) square pixels of the objects.
        found: (M, K, 2) points.
        sigmas: (K,) tolerances, parts of the square root of the area.

    Returns:
        (N, M) float64 in 0..1; 0 for objects without a labelled point or without area.
    """
    points = np.asarray(expect(truth, "N K 2", name="truth"), np.float64)
    count, width = points.shape[:2]
    others = np.asarray(expect(found, "M K 2", name="found", K=width), np.float64)
    known = np.asarray(expect(labelled, "N K", name="labelled", N=count, K=width), bool)
    extent = np.asarray(expect(area, "N", name="area", N=count), np.float64)
    spread = 2 * np.asarray(expect(sigmas, "K", name="sigmas", K=width), np.float64)
    squared = ((points[:, None] - others[None]) ** 2).sum(-1)
    # np.spacing(1) is pycocotools' own guard against an area of 0
    near = np.exp(-squared / spread**2 / (extent[:, None, None] + np.spacing(1)) / 2)
    return np.asarray((near * known[:, None]).sum(-1) / np.maximum(known.sum(-1), 1)[:, None])
