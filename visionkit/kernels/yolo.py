"""YOLO maps: decoding, and the loss with its gradient, straight on (B, h, w, A * depth) arrays.

A cell's channels are, anchor by anchor: tx, ty, tw, th, objectness, and one score a class if any. Two
forms of the box: `EXP` false is YOLOv5's, xy = (2 s(t) - .5 + cell) stride, wh = (2 s(t))^2 anchor;
true is YOLOv2's and v3's (DET-16), xy = (s(t) + cell) stride, wh = e^t anchor.
"""

import math

import numpy as np

from .boxes import iou
from .jit import parallel, prange, serial

CIOU, SMOOTH_L1, L2 = 0, 1, 2
NEGATIVE, IGNORED, POSITIVE = 0, 1, 2

_EPS = 1e-7  # keeps the ratios of CIoU finite for boxes without area


@serial
def sigmoid(t):
    """The logistic function, without overflow."""
    if t >= 0.0:
        return 1.0 / (1.0 + math.exp(-t))
    e = math.exp(t)
    return e / (1.0 + e)


@serial
def centre_and_size(tx, ty, tw, th, x, y, anchor_w, anchor_h, stride, exp_form):
    """Centre and size in pixels of one prediction."""
    if exp_form:
        return (
            (sigmoid(tx) + x) * stride,
            (sigmoid(ty) + y) * stride,
            math.exp(tw) * anchor_w,
            math.exp(th) * anchor_h,
        )
    w, h = 2.0 * sigmoid(tw), 2.0 * sigmoid(th)
    return (
        (2.0 * sigmoid(tx) - 0.5 + x) * stride,
        (2.0 * sigmoid(ty) - 0.5 + y) * stride,
        w * w * anchor_w,
        h * h * anchor_h,
    )


@serial
def candidates(
    maps, picture, anchors, stride, exp_form, softmax, classes, confidence, all_classes,
    boxes, scores, class_id,
):  # fmt: skip
    """Predictions of one picture whose score reaches `confidence`; returns how many.

    Fills boxes (M, 4), scores (M,) and class_id (M,) from the front; M must hold every prediction (times
    every class with `all_classes`). The objectness alone is tested first, as a logit, so that almost no
    cell costs an exponential.
    """
    _, height, width, _ = maps.shape
    depth = 5 + classes
    floor = (
        -np.inf
        if confidence <= 0.0
        else (np.inf if confidence >= 1.0 else math.log(confidence / (1.0 - confidence)))
    )
    floor -= 1e-4  # rounding: the exact test follows
    count = 0
    for y in range(height):
        for x in range(width):
            for a in range(anchors.shape[0]):
                at = a * depth
                if not maps[picture, y, x, at + 4] >= floor:
                    continue
                objectness = sigmoid(np.float64(maps[picture, y, x, at + 4]))
                first = count
                if classes == 0:
                    if objectness >= confidence:
                        scores[count], class_id[count] = objectness, 0
                        count += 1
                else:
                    high, best, total = np.float64(maps[picture, y, x, at + 5]), 0, 1.0
                    for c in range(1, classes):
                        value = np.float64(maps[picture, y, x, at + 5 + c])
                        if value > high:
                            high, best = value, c
                    if softmax:
                        total = 0.0
                        for c in range(classes):
                            total += math.exp(np.float64(maps[picture, y, x, at + 5 + c]) - high)
                    for c in range(classes):
                        if c != best and not all_classes:
                            continue
                        value = np.float64(maps[picture, y, x, at + 5 + c])
                        score = objectness * (math.exp(value - high) / total if softmax else sigmoid(value))
                        if score >= confidence:
                            scores[count], class_id[count] = score, c
                            count += 1
                if count > first:
                    cx, cy, w, h = centre_and_size(
                        np.float64(maps[picture, y, x, at]), np.float64(maps[picture, y, x, at + 1]),
                        np.float64(maps[picture, y, x, at + 2]), np.float64(maps[picture, y, x, at + 3]),
                        x, y, anchors[a, 0], anchors[a, 1], stride, exp_form,
                    )  # fmt: skip
                    for k in range(first, count):
                        boxes[k, 0], boxes[k, 1] = cx - w / 2, cy - h / 2
                        boxes[k, 2], boxes[k, 3] = cx + w / 2, cy + h / 2
    return count


@serial
def ciou_and_slopes(cx, cy, w, h, gx1, gy1, gx2, gy2):
    """1 - CIoU (Zheng et al. 2020), the plain IoU, and the slopes of the loss along cx, cy, w, h.

    The trade-off factor alpha is a constant for the slopes, as the authors have it.
    """
    px1, py1, px2, py2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    gw, gh = gx2 - gx1, gy2 - gy1
    iw = max(min(px2, gx2) - max(px1, gx1), 0.0)
    ih = max(min(py2, gy2) - max(py1, gy1), 0.0)
    inter = iw * ih
    union = w * h + gw * gh - inter + _EPS
    overlap = inter / union
    cw, ch = max(px2, gx2) - min(px1, gx1), max(py2, gy2) - min(py1, gy1)
    diagonal = cw * cw + ch * ch + _EPS
    dx, dy = cx - (gx1 + gx2) / 2, cy - (gy1 + gy2) / 2
    distance = dx * dx + dy * dy
    tall = h + _EPS
    twist = math.atan2(gw, gh + _EPS) - math.atan2(w, tall)
    shape = 4.0 / math.pi**2 * twist * twist
    alpha = shape / (1.0 - overlap + shape + _EPS)
    loss = 1.0 - overlap + distance / diagonal + alpha * shape

    by_inter = -(union + inter) / (union * union)
    by_area = inter / (union * union)
    by_diagonal = -distance / (diagonal * diagonal)
    x1 = -ih * by_inter if (px1 > gx1 and inter > 0.0) else 0.0
    x2 = ih * by_inter if (px2 < gx2 and inter > 0.0) else 0.0
    y1 = -iw * by_inter if (py1 > gy1 and inter > 0.0) else 0.0
    y2 = iw * by_inter if (py2 < gy2 and inter > 0.0) else 0.0
    x1 -= by_diagonal * 2.0 * cw if px1 < gx1 else 0.0
    x2 += by_diagonal * 2.0 * cw if px2 > gx2 else 0.0
    y1 -= by_diagonal * 2.0 * ch if py1 < gy1 else 0.0
    y2 += by_diagonal * 2.0 * ch if py2 > gy2 else 0.0
    turn = alpha * 8.0 / math.pi**2 * twist / (w * w + tall * tall)
    return (
        loss,
        overlap,
        x1 + x2 + 2.0 * dx / diagonal,
        y1 + y2 + 2.0 * dy / diagonal,
        (x2 - x1) / 2 + by_area * h - turn * tall,
        (y2 - y1) / 2 + by_area * w + turn * w,
    )


@serial
def positives(
    maps, cells, boxes, offsets, class_id, anchors, stride, exp_form, softmax, classes, box_kind,
    box_scale, class_scale, soft_target, grad, target, state, sums,
):  # fmt: skip
    """Box and class loss of the positive places, their gradient, and the objectness targets.

    Args:
        maps, grad: (B, h, w, A * depth); the gradient is added.
        cells: (P, 4) int: picture, y, x, anchor.
        boxes: (P, 4) xyxy pixels; offsets (P, 4): the same as tx, ty, tw, th, for the losses on those.
        box_kind: CIOU, SMOOTH_L1 or L2.
        box_scale, class_scale: factors of each place's loss.
        soft_target: the objectness target is the IoU of the prediction, else 1.
        target, state: (B, h, w, A), set at the positive places; of several the largest IoU stays.
        sums: (2,) float64 receives the scaled box and class loss.
    """
    depth = 5 + classes
    sums[0] = sums[1] = 0.0
    slope = np.empty(4)
    for p in range(cells.shape[0]):
        b, y, x, a = cells[p, 0], cells[p, 1], cells[p, 2], cells[p, 3]
        at = a * depth
        tx, ty = np.float64(maps[b, y, x, at]), np.float64(maps[b, y, x, at + 1])
        tw, th = np.float64(maps[b, y, x, at + 2]), np.float64(maps[b, y, x, at + 3])
        cx, cy, w, h = centre_and_size(
            tx, ty, tw, th, x, y, anchors[a, 0], anchors[a, 1], stride, exp_form
        )  # fmt: skip
        loss, overlap, by_cx, by_cy, by_w, by_h = ciou_and_slopes(
            cx, cy, w, h,
            np.float64(boxes[p, 0]), np.float64(boxes[p, 1]),
            np.float64(boxes[p, 2]), np.float64(boxes[p, 3]),
        )  # fmt: skip
        if box_kind == CIOU:
            sx, sy = cx / stride - x, cy / stride - y
            if exp_form:
                slope[0], slope[1] = by_cx * sx * (1.0 - sx) * stride, by_cy * sy * (1.0 - sy) * stride
                slope[2], slope[3] = by_w * w, by_h * h
            else:
                sx, sy = (sx + 0.5) / 2, (sy + 0.5) / 2
                slope[0], slope[1] = (
                    by_cx * 2 * sx * (1.0 - sx) * stride,
                    by_cy * 2 * sy * (1.0 - sy) * stride,
                )
                slope[2], slope[3] = by_w * 2.0 * w * sigmoid(-tw), by_h * 2.0 * h * sigmoid(-th)
        else:
            loss = 0.0
            for k in range(4):
                d = np.float64(maps[b, y, x, at + k]) - offsets[p, k]
                if box_kind == L2:
                    loss += d * d
                    slope[k] = 2.0 * d
                elif abs(d) < 1.0:
                    loss += 0.5 * d * d
                    slope[k] = d
                else:
                    loss += abs(d) - 0.5
                    slope[k] = 1.0 if d > 0.0 else -1.0
        sums[0] += box_scale * loss
        for k in range(4):
            grad[b, y, x, at + k] += box_scale * slope[k]
        goal = overlap if soft_target else 1.0
        if state[b, y, x, a] != POSITIVE or goal > target[b, y, x, a]:
            target[b, y, x, a] = goal
        state[b, y, x, a] = POSITIVE
        if softmax:
            high = -np.inf
            for c in range(classes):
                high = max(high, np.float64(maps[b, y, x, at + 5 + c]))
            total = 0.0
            for c in range(classes):
                total += math.exp(np.float64(maps[b, y, x, at + 5 + c]) - high)
            for c in range(classes):
                value = np.float64(maps[b, y, x, at + 5 + c])
                wanted = 1.0 if c == class_id[p] else 0.0
                sums[1] += class_scale * wanted * (math.log(total) + high - value)
                grad[b, y, x, at + 5 + c] += class_scale * (math.exp(value - high) / total - wanted)
        else:
            for c in range(classes):
                value = np.float64(maps[b, y, x, at + 5 + c])
                wanted = 1.0 if c == class_id[p] else 0.0
                sums[1] += class_scale * (
                    max(value, 0.0) - value * wanted + math.log1p(math.exp(-abs(value)))
                )
                grad[b, y, x, at + 5 + c] += class_scale * (sigmoid(value) - wanted)


@parallel
def ignore_overlapping(maps, truths, starts, anchors, stride, exp_form, classes, threshold, state):
    """Set state to IGNORED where a prediction's IoU with a ground truth of its picture is > threshold.

    truths (N, 4) xyxy in the order of the pictures, starts (B + 1,) where each picture's begin. A
    prediction above the threshold t has its centre within w (1/2 + max(0, 1/2 - t) / t) of the truth's,
    along either axis (w: the truth's side), so only the cells that can reach there are decoded.
    """
    depth = 5 + classes
    pictures, height, width, _ = maps.shape
    reach = 0.5 + max(0.0, 0.5 - threshold) / threshold
    margin = 1.0 if exp_form else 1.5
    for b in prange(pictures):
        for n in range(starts[b], starts[b + 1]):
            x1, y1 = np.float64(truths[n, 0]), np.float64(truths[n, 1])
            x2, y2 = np.float64(truths[n, 2]), np.float64(truths[n, 3])
            room = (x2 - x1) * (y2 - y1)
            mid_x, mid_y = (x1 + x2) / 2, (y1 + y2) / 2
            near_x, near_y = reach * (x2 - x1), reach * (y2 - y1)
            first_x = max(math.floor((mid_x - near_x) / stride - margin), 0)
            first_y = max(math.floor((mid_y - near_y) / stride - margin), 0)
            last_x = min(math.ceil((mid_x + near_x) / stride + margin), width)
            last_y = min(math.ceil((mid_y + near_y) / stride + margin), height)
            for y in range(first_y, last_y):
                for x in range(first_x, last_x):
                    for a in range(anchors.shape[0]):
                        if state[b, y, x, a] != NEGATIVE:
                            continue
                        at = a * depth
                        cx, cy, w, h = centre_and_size(
                            maps[b, y, x, at], maps[b, y, x, at + 1],
                            maps[b, y, x, at + 2], maps[b, y, x, at + 3],
                            x, y, anchors[a, 0], anchors[a, 1], stride, exp_form,
                        )  # fmt: skip
                        if w * h < threshold * room or w * h * threshold > room:
                            continue
                        overlap = iou(
                            cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, x1, y1, x2, y2
                        )  # fmt: skip
                        if overlap > threshold:
                            state[b, y, x, a] = IGNORED


@parallel
def objectness(maps, target, state, classes, focal, gamma, alpha, scale, grad, sums):
    """Binary cross-entropy or focal loss of every prediction that is not ignored, and its gradient.

    target, state (B, h, w, A); `alpha` below 0 leaves the classes unbalanced; sums (B,) float64 receives
    each picture's scaled loss, so that the order of adding never depends on the threads.
    """
    depth = 5 + classes
    pictures, height, width, anchors = target.shape
    for b in prange(pictures):
        total = 0.0
        for y in range(height):
            for x in range(width):
                for a in range(anchors):
                    if state[b, y, x, a] == IGNORED:
                        continue
                    at = a * depth + 4
                    value, goal = maps[b, y, x, at], target[b, y, x, a]
                    e = math.exp(-abs(value))
                    p = (1.0 if value >= 0.0 else e) / (1.0 + e)
                    loss = max(value, 0.0) - value * goal + math.log1p(e)
                    slope = p - goal
                    if focal:
                        # FL = bce (1 - p_t)^gamma; 1 - p_t = p + goal - 2 p goal
                        miss = p + goal - 2.0 * p * goal
                        power = miss**gamma
                        bend = 0.0 if miss <= 0.0 else gamma * power / miss
                        slope = slope * power + loss * bend * (1.0 - 2.0 * goal) * p * (1.0 - p)
                        loss *= power
                        if alpha >= 0.0:
                            weight = alpha * goal + (1.0 - alpha) * (1.0 - goal)
                            loss *= weight
                            slope *= weight
                    total += loss
                    grad[b, y, x, at] += scale * slope
        sums[b] = total * scale
