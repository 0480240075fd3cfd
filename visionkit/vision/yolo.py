"""The YOLO codec: ground truth to targets, maps to detections, two named inverses.

Map layout, one map a level: (B, h, w, A * (5 + C)), channels anchor by anchor: tx, ty, tw, th,
objectness, C class logits; C is 0 when there is one class, whose score is then the objectness alone. (The
source's vector has th before tw, DET-16; every weight file in use has tw first, and so have we.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ShapeError, UsageError
from ..kernels import yolo as kernels
from ..shapes import expect
from .assign import Assignment, Grid, Neighbours, resolve
from .boxes import Floats
from .nms import nms as hard_nms
from .nms import soft_nms
from .results import Detections

Form = Literal["v5", "exp"]
Size = tuple[int, int]

#: How far from 0 and 1 a fraction is kept before its logit is taken (ERR-38).
FRACTION_MARGIN = 1e-4
#: Boxes that enter the suppression, best first.
MOST_CANDIDATES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class LevelTargets:
    """What one map of a batch should say, at its P positive places.

    Attributes:
        cells: (P, 4) int64: picture, y, x, anchor; a place may occur more than once.
        boxes: (P, 4) float32 xyxy, input pixels.
        class_id: (P,) int64.
        ignore: (B, h, w, A) bool: places whose objectness is not taught, unless positive.
    """

    cells: NDArray[np.int64]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    ignore: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What the maps of a batch should say.

    Attributes:
        levels: one `LevelTargets` a map.
        truths: (N, 4) float32, all taught boxes in the order of the pictures.
        starts: (B + 1,) int64: where each picture's boxes begin in `truths`.
    """

    levels: tuple[LevelTargets, ...]
    truths: NDArray[np.float32]
    starts: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """The number of positive places of all levels."""
        return sum(len(level.cells) for level in self.levels)


class YoloCodec:
    """Targets from ground truth, detections from maps.

    Args:
        anchors: (L, A, 2) width and height in input pixels, one row of A a level.
        strides: input pixels a cell, one a level, in the order of the maps.
        classes: number of classes.
        form: the box parameterisation. "v5": xy = (2 s(t) - .5 + cell) stride, wh = (2 s(t))^2 anchor,
            which reaches 4 times the anchor. "exp" (DET-16): xy = (s(t) + cell) stride, wh = e^t anchor.
        assignment: "v5", "hy", "v3", "shape" (see `assign`), or a rule of your own; None is "v5" for the
            form "v5" and "v3" for "exp", which cannot reach into neighbouring cells.
        class_scores: "sigmoid" or "softmax" over the class logits.
        min_side: boxes with a side shorter than this many input pixels are not taught: ignore regions.
        class_logit_of_one: a single class has a logit all the same, as in Darknet's files.
    """

    def __init__(
        self,
        anchors: ArrayLike,
        strides: Sequence[int],
        classes: int,
        form: Form = "v5",
        assignment: str | Assignment | None = None,
        *,
        class_scores: Literal["sigmoid", "softmax"] = "sigmoid",
        min_side: float = 3.0,
        class_logit_of_one: bool = False,
    ) -> None:
        self.anchors = np.asarray(expect(anchors, "L A 2", name="anchors", L=len(strides)), np.float64)
        self.strides = tuple(strides)
        self.classes = classes
        if classes < 1:
            raise UsageError("classes must be 1 or more", value=classes)
        if form not in ("v5", "exp"):
            raise UsageError("no such box form", value=form, remedy="choose v5 or exp")
        if not (self.anchors > 0).all():
            raise UsageError("anchors must be positive", value=self.anchors.tolist())
        self.form = form
        self.assignment = resolve(assignment or ("v5" if form == "v5" else "v3"))
        if form == "exp" and isinstance(self.assignment, Neighbours):
            raise UsageError(
                "the box form exp cannot say a centre in a neighbouring cell",
                value=self.assignment,
                remedy="use the form v5, or the assignment hy, v3 or shape",
            )
        self.class_scores = class_scores
        self.min_side = min_side
        #: Class logits of an anchor: none for a single class, unless asked for.
        self.class_channels = classes if classes > 1 or class_logit_of_one else 0

    @property
    def channels(self) -> int:
        """Channels of each map."""
        return self.anchors.shape[1] * (5 + self.class_channels)

    def map_sizes(self, input_size: Size) -> tuple[Size, ...]:
        """(h, w) of each map for an input of (height, width)."""
        height, width = input_size
        if any(height % stride or width % stride for stride in self.strides):
            raise ShapeError(
                f"the input size must be a multiple of {max(self.strides)}, got {height}x{width}"
            )
        return tuple((height // stride, width // stride) for stride in self.strides)

    def encode(
        self,
        boxes: Sequence[ArrayLike],
        class_id: Sequence[ArrayLike],
        ignore: Sequence[ArrayLike] | None,
        input_size: Size,
    ) -> Targets:
        """Targets of a batch.

        Args:
            boxes: one (N, 4) xyxy array in input pixels a picture, cut at the input's borders.
            class_id: one (N,) integer array a picture, each in [0, classes).
            ignore: one (N,) boolean array a picture: crowds and the like, which are left out of the
                loss; None if there are none.
            input_size: (height, width) of the network's input.

        Raises:
            ShapeError, UsageError, DataError: sizes that do not fit the strides, lists of different
                lengths, classes out of range, boxes that are not finite.
        """
        sizes = self.map_sizes(input_size)
        count = np.array([len(np.asarray(labels)) for labels in class_id], np.int64)
        image = np.repeat(np.arange(len(count)), count)
        total = int(count.sum())
        xyxy = np.concatenate([np.zeros((0, 4)), *(np.reshape(b, (-1, 4)) for b in boxes)]).astype(np.float64)
        label = np.concatenate([np.zeros(0, np.int64), *(np.ravel(c) for c in class_id)]).astype(np.int64)
        if len(xyxy) != total:
            raise ShapeError(f"encode: {len(xyxy)} boxes but {total} classes")
        if not np.isfinite(xyxy).all():
            raise DataError(
                "encode: boxes must be finite", value=xyxy[~np.isfinite(xyxy).all(axis=1)][0].tolist()
            )
        if total and not 0 <= label.min() <= label.max() < self.classes:
            raise UsageError(f"encode: class_id must be in [0, {self.classes})", value=int(label.max()))
        skipped = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1, initial=np.inf) < max(self.min_side, 1e-6)
        if ignore is not None:
            skipped |= np.concatenate([np.zeros(0, bool), *(np.ravel(i) for i in ignore)]).astype(bool)
        taught = ~skipped
        truths, owner, label = xyxy[taught], image[taught], label[taught]
        grid = Grid(self.anchors, self.strides, sizes)
        found, unsure = self.assignment.match(truths, grid, owner)
        masks = self._regions(xyxy[skipped], image[skipped], len(count), sizes)
        levels = []
        for level, mask in enumerate(masks):
            at = found.level == level
            box = found.box[at]
            cells = np.stack([owner[box], found.y[at], found.x[at], found.anchor[at]], axis=1)
            if unsure is not None:
                k = unsure.level == level
                mask[owner[unsure.box[k]], unsure.y[k], unsure.x[k], unsure.anchor[k]] = True
            levels.append(LevelTargets(cells, truths[box].astype(np.float32), label[box], mask))
        starts = np.searchsorted(owner, np.arange(len(count) + 1))
        return Targets(tuple(levels), truths.astype(np.float32), starts)

    def _regions(
        self, boxes: Floats, image: NDArray[np.int64], pictures: int, sizes: Sequence[Size]
    ) -> list[NDArray[np.bool_]]:
        """Masks (B, h, w, A) of every cell that an ignored box touches, one a level."""
        masks = []
        for (height, width), stride in zip(sizes, self.strides, strict=True):
            mask = np.zeros((pictures, height, width, self.anchors.shape[1]), bool)
            first = np.floor(boxes[:, :2] / stride).astype(int).clip(0, [width - 1, height - 1])
            last = np.ceil(boxes[:, 2:] / stride).astype(int).clip(first + 1, None)
            for b, (x1, y1), (x2, y2) in zip(image.tolist(), first.tolist(), last.tolist(), strict=True):
                mask[b, y1:y2, x1:x2] = True
            masks.append(mask)
        return masks

    def offsets(self, level: int, targets: LevelTargets) -> NDArray[np.float64]:
        """(P, 4) the tx, ty, tw, th that decode to the boxes of `targets`: the inverse of `boxes_at`.

        Fractions are kept `FRACTION_MARGIN` away from 0 and 1, where the logit is infinite (ERR-38), and
        sizes that the form cannot reach are cut likewise.
        """
        boxes = targets.boxes.astype(np.float64)
        cell = targets.cells[:, 2:0:-1]
        offset = (boxes[:, :2] + boxes[:, 2:]) / (2 * self.strides[level]) - cell
        ratio = (boxes[:, 2:] - boxes[:, :2]) / self.anchors[level][targets.cells[:, 3]]
        if self.form == "exp":
            return np.concatenate([_logit(offset), np.log(ratio)], axis=1)
        return np.concatenate([_logit((offset + 0.5) / 2), _logit(np.sqrt(ratio) / 2)], axis=1)

    def ideal_maps(self, targets: Targets) -> tuple[NDArray[np.float32], ...]:
        """The maps that decode to the ground truth: what a perfect network would say.

        Where several boxes want one place the last one has it.
        """
        maps = []
        for level, wanted in enumerate(targets.levels):
            b, h, w, anchors = wanted.ignore.shape
            values = np.full((b, h, w, anchors, 5 + self.class_channels), -12.0, np.float32)
            values[..., :4] = 0.0
            at = tuple(wanted.cells.T)
            values[(*at, slice(0, 4))] = self.offsets(level, wanted)
            values[(*at, 4)] = 12.0
            if self.class_channels:
                # Whole rows, so that a shared place says one class: the last box's, like its offsets.
                hot = np.eye(self.class_channels, dtype=np.float32)[wanted.class_id]
                values[(*at, slice(5, None))] = 24.0 * hot - 12.0
            maps.append(values.reshape(b, h, w, -1))
        return tuple(maps)

    def decode(
        self,
        maps: Sequence[NDArray[np.floating[Any]]],
        confidence: float = 0.25,
        iou: float = 0.5,
        max_detections: int = 100,
        nms: Literal["hard", "soft"] = "hard",
        *,
        all_classes: bool = False,
    ) -> list[Detections]:
        """Detections of every picture of the batch, in input pixels, high confidence to low.

        Args:
            maps: one (B, h, w, channels) array a level.
            confidence: least score, s(objectness) times the class score.
            iou: overlap above which the lower of two boxes of a class goes (hard suppression).
            max_detections: at most so many a picture.
            nms: "hard", or "soft" for Gaussian soft-NMS, which lowers confidences instead.
            all_classes: let one prediction give several detections, one a class above `confidence`;
                else its best class speaks.
        """
        self.check(maps)
        per_anchor = self.class_channels if all_classes and self.class_channels else 1
        most = sum(m.shape[1] * m.shape[2] for m in maps) * self.anchors.shape[1] * per_anchor
        boxes, scores = np.empty((most, 4), np.float32), np.empty(most, np.float32)
        class_id = np.empty(most, np.int64)
        size = (maps[0].shape[1] * self.strides[0], maps[0].shape[2] * self.strides[0])
        found = []
        for picture in range(maps[0].shape[0]):
            count = 0
            for level, values in enumerate(maps):
                count += kernels.candidates(
                    values, picture, self.anchors[level], float(self.strides[level]), self.form == "exp",
                    self.class_scores == "softmax", self.class_channels, float(confidence), all_classes,
                    boxes[count:], scores[count:], class_id[count:],
                )  # fmt: skip
            b, s, c = boxes[:count], scores[:count], class_id[:count]
            if count > MOST_CANDIDATES:
                best = np.sort(np.argpartition(-s, MOST_CANDIDATES)[:MOST_CANDIDATES])
                b, s, c = b[best], s[best], c[best]
            if nms == "soft":
                kept, s = soft_nms(b, s, threshold=confidence, class_id=c, limit=max_detections)
            else:
                kept = hard_nms(b, s, iou, c, limit=max_detections)
                s = s[kept]
            found.append(Detections(b[kept], s, c[kept], (), size))
        return found

    def check(self, maps: Sequence[Any]) -> None:
        """Complain unless `maps` have the shapes that this codec reads.

        Raises:
            ShapeError: another number of maps, other channels, or sizes that do not fit the strides.
        """
        if len(maps) != len(self.strides):
            raise ShapeError(f"expected {len(self.strides)} maps, got {len(maps)}")
        shapes = [tuple(m.shape) for m in maps]
        if any(len(shape) != 4 for shape in shapes):
            raise ShapeError(f"maps must be (B, h, w, C), got {shapes}")
        inputs = {(s[0], s[1] * k, s[2] * k) for s, k in zip(shapes, self.strides, strict=True)}
        if len(inputs) > 1 or {s[3] for s in shapes} != {self.channels}:
            raise ShapeError(
                f"maps {shapes} do not fit {self.anchors.shape[1]} anchors, {self.classes} classes "
                f"({self.channels} channels) and strides {self.strides}"
            )


def _logit(p: Floats) -> Floats:
    clamped = np.clip(p, FRACTION_MARGIN, 1 - FRACTION_MARGIN)
    return np.log(clamped / (1 - clamped))
