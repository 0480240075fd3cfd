"""Losses of detectors: CIoU and the composite YOLO criterion.

`YoloLoss` says the same thing twice. Calling it composes Tensors: the readable definition, any dtype, on
the tape. `value_and_gradients` is the fast path that training takes: fused kernels with the analytic
gradient. A test holds the two together in float64.
"""

from collections.abc import Sequence
from math import pi
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import functional as F
from ..errors import UsageError
from ..kernels import yolo as kernels
from ..nn.losses import bce_with_logits, focal_loss, smooth_l1
from ..tensor import Tensor
from .boxes import iou_matrix
from .yolo import LevelTargets, Targets, YoloCodec

_EPS = 1e-7
_BOX_KINDS = {"ciou": kernels.CIOU, "smooth_l1": kernels.SMOOTH_L1, "l2": kernels.L2}


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes `a` (N, 4) with `b` (N, 4), xyxy, row by row: (N,) in (-2, 1].

    CIoU = IoU - distance^2 / diagonal^2 - alpha v (Zheng et al. 2020, eq. 10): centre distance over the
    diagonal of the enclosing box, and the mismatch of aspect ratios v; alpha carries no gradient.
    """
    aw, ah, bw, bh = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1], b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    iw = F.relu(F.minimum(a[:, 2], b[:, 2]) - F.maximum(a[:, 0], b[:, 0]))
    ih = F.relu(F.minimum(a[:, 3], b[:, 3]) - F.maximum(a[:, 1], b[:, 1]))
    inter = iw * ih
    iou = inter / (aw * ah + bw * bh - inter + _EPS)
    cw = F.maximum(a[:, 2], b[:, 2]) - F.minimum(a[:, 0], b[:, 0])
    ch = F.maximum(a[:, 3], b[:, 3]) - F.minimum(a[:, 1], b[:, 1])
    dx = (a[:, 0] + a[:, 2] - b[:, 0] - b[:, 2]) / 2
    dy = (a[:, 1] + a[:, 3] - b[:, 1] - b[:, 3]) / 2
    distance = (dx * dx + dy * dy) / (cw * cw + ch * ch + _EPS)
    twist = F.atan(bw / (bh + _EPS)) - F.atan(aw / (ah + _EPS))
    v = twist * twist * (4 / pi**2)
    alpha = (v / (1 - iou + v + _EPS)).detach()
    return iou - distance - alpha * v


class YoloLoss:
    """The composite criterion: box, objectness and class losses, weighted (LOS-12, DET-07).

    box   = w_box * sum over levels of the mean over positives of 1 - CIoU (or smooth L1, L2 of t-values)
    objectness = w_obj * sum over levels of balance * mean over all places of BCE (or focal loss); places
        that the assignment or an ignored region leaves out add 0 to that mean
    class = w_cls * sum over levels of the mean over positives (and classes) of BCE, or softmax
        cross-entropy if the codec says so

    The objectness target of a positive is the IoU of its prediction (a constant for the gradient) or one,
    as the assignment says; where several boxes share a place the largest counts.

    Args:
        codec: the codec whose targets are given.
        box, objectness, classes: weights.
        balance: weight of each level's objectness; None means 4, 1, .4 for strides 8, 16, 32.
        box_loss: "ciou", "smooth_l1" (LOS-10) or "l2" (LOS-11), the latter two on tx, ty, tw, th.
        objectness_loss: "bce", or "focal" (LOS-09) with gamma and alpha.
        gamma, alpha: of the focal loss; alpha weighs positives, 1 - alpha the rest; None: unbalanced.
    """

    def __init__(
        self,
        codec: YoloCodec,
        box: float = 0.05,
        objectness: float = 0.25,
        classes: float = 0.1,
        balance: Sequence[float] | None = None,
        box_loss: Literal["ciou", "smooth_l1", "l2"] = "ciou",
        objectness_loss: Literal["bce", "focal"] = "bce",
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
    ) -> None:
        if box_loss not in _BOX_KINDS:
            raise UsageError(
                "no such box loss", value=box_loss, remedy=f"choose one of {', '.join(_BOX_KINDS)}"
            )
        if objectness_loss not in ("bce", "focal"):
            raise UsageError("no such objectness loss", value=objectness_loss, remedy="choose bce or focal")
        if balance is None:
            balance = [{8: 4.0, 16: 1.0, 32: 0.4}.get(stride, 1.0) for stride in codec.strides]
        if len(balance) != len(codec.strides):
            raise UsageError(f"balance needs {len(codec.strides)} numbers", value=tuple(balance))
        self.codec, self.balance = codec, tuple(balance)
        self.weights = {"box": box, "objectness": objectness, "class": classes}
        self.box_loss, self.objectness_loss = box_loss, objectness_loss
        self.gamma, self.alpha = gamma, alpha

    def value_and_gradients(
        self, maps: Sequence[NDArray[np.floating[Any]]], targets: Targets
    ) -> tuple[dict[str, float], tuple[NDArray[np.floating[Any]], ...]]:
        """Losses by name ("box", "objectness", "class"), and the gradient of their sum along each map."""
        codec, rule = self.codec, self.codec.assignment
        codec.check(maps)
        exp_form, softmax = codec.form == "exp", codec.class_scores == "softmax"
        box, objectness, classes = 0.0, 0.0, 0.0
        gradients = []
        for level, (values, wanted) in enumerate(zip(maps, targets.levels, strict=True)):
            stride, anchors = float(codec.strides[level]), codec.anchors[level]
            count = max(len(wanted.cells), 1)
            grad = np.zeros(values.shape, values.dtype)
            state, goal = wanted.ignore.astype(np.uint8), np.zeros(wanted.ignore.shape, values.dtype)
            per_class = count if softmax else count * max(codec.class_channels, 1)
            offsets = np.zeros((len(wanted.cells), 4))
            if self.box_loss != "ciou":
                offsets = codec.offsets(level, wanted)
            sums, by_picture = np.zeros(2), np.zeros(values.shape[0])
            kernels.positives(
                values, wanted.cells, wanted.boxes, offsets, wanted.class_id, anchors, stride, exp_form,
                softmax, codec.class_channels, _BOX_KINDS[self.box_loss], self.weights["box"] / count,
                self.weights["class"] / per_class, rule.objectness == "iou", grad, goal, state, sums,
            )  # fmt: skip
            if rule.ignore_iou is not None:
                kernels.ignore_overlapping(
                    values, targets.truths, targets.starts, anchors, stride, exp_form, codec.class_channels,
                    float(rule.ignore_iou), state,
                )  # fmt: skip
            kernels.objectness(
                values, goal, state, codec.class_channels, self.objectness_loss == "focal", float(self.gamma),
                -1.0 if self.alpha is None else float(self.alpha),
                self.weights["objectness"] * self.balance[level] / goal.size, grad, by_picture,
            )  # fmt: skip
            box, classes = box + float(sums[0]), classes + float(sums[1])
            objectness += float(by_picture.sum())
            gradients.append(grad)
        return {"box": box, "objectness": objectness, "class": classes}, tuple(gradients)

    def __call__(self, maps: Sequence[Tensor], targets: Targets) -> dict[str, Tensor]:
        """The losses as Tensors ("box", "objectness", "class"); their sum is what training lowers."""
        self.codec.check(maps)
        totals = {name: Tensor(np.zeros((), maps[0].dtype)) for name in self.weights}
        for level, (values, wanted) in enumerate(zip(maps, targets.levels, strict=True)):
            places = values.reshape(*wanted.ignore.shape, 5 + self.codec.class_channels)
            goal = np.zeros(wanted.ignore.shape, values.dtype)
            counts = 1.0 - self._left_out(level, places.data, wanted.ignore, targets)
            if len(wanted.cells):
                at = tuple(wanted.cells.T)
                rows = places[at]  # (P, 5 + C)
                predicted = self._boxes(level, rows, wanted)
                totals["box"] += self._box_loss(level, rows, predicted, wanted)
                if self.codec.assignment.objectness == "iou":
                    np.maximum.at(goal, at, _row_iou(predicted.data, wanted.boxes.astype(rows.dtype)))
                else:
                    goal[at] = 1.0
                counts[at] = 1.0
                if self.codec.class_channels:
                    totals["class"] += self._class_loss(rows[:, 5:], wanted.class_id)
            logits = places[..., 4]
            if self.objectness_loss == "focal":
                each = focal_loss(logits, Tensor(goal), gamma=self.gamma, alpha=self.alpha, reduction="none")
            else:
                each = bce_with_logits(logits, Tensor(goal), reduction="none")
            totals["objectness"] += (each * Tensor(counts.astype(goal.dtype))).mean() * self.balance[level]
        return {name: total * self.weights[name] for name, total in totals.items()}

    def _boxes(self, level: int, rows: Tensor, wanted: LevelTargets) -> Tensor:
        """Boxes (P, 4) xyxy that rows of maps decode to at their places."""
        stride, cell = self.codec.strides[level], wanted.cells[:, 2:0:-1].astype(rows.dtype)
        anchor = self.codec.anchors[level][wanted.cells[:, 3]].astype(rows.dtype)
        if self.codec.form == "exp":
            centre = (F.sigmoid(rows[:, :2]) + Tensor(cell)) * stride
            size = F.exp(rows[:, 2:4]) * Tensor(anchor)
        else:
            centre = (F.sigmoid(rows[:, :2]) * 2 - 0.5 + Tensor(cell)) * stride
            size = (F.sigmoid(rows[:, 2:4]) * 2) ** 2 * Tensor(anchor)
        return F.concat([centre - size / 2, centre + size / 2], axis=1)

    def _box_loss(self, level: int, rows: Tensor, predicted: Tensor, wanted: LevelTargets) -> Tensor:
        if self.box_loss == "ciou":
            return (1 - ciou(predicted, Tensor(wanted.boxes.astype(rows.dtype)))).mean()
        aim = Tensor(self.codec.offsets(level, wanted).astype(rows.dtype))
        if self.box_loss == "l2":
            return ((rows[:, :4] - aim) ** 2).sum() / len(wanted.cells)
        return smooth_l1(rows[:, :4], aim, reduction="sum") / len(wanted.cells)

    def _class_loss(self, logits: Tensor, class_id: NDArray[np.int64]) -> Tensor:
        if self.codec.class_scores == "softmax":
            return F.cross_entropy(logits, class_id)
        hot = np.eye(self.codec.classes, dtype=logits.dtype)[class_id]
        return bce_with_logits(logits, Tensor(hot))

    def _left_out(
        self, level: int, places: NDArray[np.floating[Any]], ignore: NDArray[np.bool_], targets: Targets
    ) -> NDArray[np.float64]:
        """1 at the places (B, h, w, A) whose objectness is not taught, positives not yet excepted."""
        out = ignore.astype(np.float64)
        limit = self.codec.assignment.ignore_iou
        if limit is None:
            return out
        index = np.indices(ignore.shape).reshape(4, -1).T
        everywhere = LevelTargets(index, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), ignore)
        boxes = self._boxes(level, Tensor(places.reshape(-1, places.shape[-1])), everywhere).data
        boxes = boxes.reshape(len(ignore), -1, 4)
        for b, (first, last) in enumerate(zip(targets.starts, targets.starts[1:], strict=False)):
            near = iou_matrix(boxes[b], targets.truths[first:last]).max(axis=1, initial=0.0) > limit
            out[b] = np.maximum(out[b], near.reshape(ignore.shape[1:]))
        return out


def _row_iou(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """IoU of boxes (P, 4) row by row, with the small epsilon of `ciou` in the union."""
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    inter = sides.prod(axis=1)
    areas = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1)
    return np.asarray(inter / (areas - inter + _EPS))
