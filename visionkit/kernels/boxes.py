"""IoU of boxes and non-maximum suppression, hard and soft, on arrays that are already checked.

All of it is serial: these kernels run in loader and server threads, where parallel ones must not meet.
"""

import math

from .jit import serial


@serial
def iou(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2):
    """IoU of two boxes in [0, 1]; 0 where their union has no area."""
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    if not (width > 0.0 and height > 0.0):
        return 0.0
    inter = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter
    return min(inter / union, 1.0) if union > 0.0 else 0.0


@serial
def iou_matrix(a, b, out):
    """out[i, j] = IoU of a[i] and b[j]; a (N, 4), b (M, 4), out (N, M)."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] = iou(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1], b[j, 2], b[j, 3])


@serial
def nms(boxes, class_id, order, threshold, limit, kept):
    """Greedy suppression within a class, best box first.

    Args:
        boxes: (N, 4) float64 xyxy.
        class_id: (N,) int64.
        order: (M,) int64 indices of the boxes to look at, high score to low; gets overwritten.
        threshold: a box goes when its IoU with a kept box of its class is greater.
        limit: stop after so many kept boxes.
        kept: (M,) int64, receives the indices.

    Returns:
        How many were kept.
    """
    count, left = 0, order.size
    while left > 0 and count < limit:
        best = order[0]
        kept[count] = best
        count += 1
        remaining = 0
        for k in range(1, left):
            i = order[k]
            if class_id[i] == class_id[best]:
                overlap = iou(
                    boxes[best, 0], boxes[best, 1], boxes[best, 2], boxes[best, 3],
                    boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3],
                )  # fmt: skip
                if overlap > threshold:
                    continue
            order[remaining] = i
            remaining += 1
        left = remaining
    return count


@serial
def soft_nms(boxes, class_id, scores, sigma, threshold, limit, kept):
    """Gaussian soft suppression: the best box lowers the others of its class by exp(-IoU^2 / sigma).

    `scores` (N,) float64 gets overwritten by the lowered ones; kept (N,) int64 receives the indices in
    the order of picking, which is high to low. A box that falls below `threshold` never comes back.

    Returns:
        How many were kept.
    """
    count = 0
    alive = scores >= threshold
    while count < limit:
        best = -1
        for i in range(scores.size):
            if alive[i] and (best < 0 or scores[i] > scores[best]):
                best = i
        if best < 0:
            break
        alive[best] = False
        kept[count] = best
        count += 1
        for i in range(scores.size):
            if alive[i] and class_id[i] == class_id[best]:
                overlap = iou(
                    boxes[best, 0], boxes[best, 1], boxes[best, 2], boxes[best, 3],
                    boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3],
                )  # fmt: skip
                scores[i] *= math.exp(-overlap * overlap / sigma)
                alive[i] = scores[i] >= threshold
    return count
