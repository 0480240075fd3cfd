"""Which anchors of which cells answer for a ground-truth box: four rules, one question.

A rule looks at boxes and anchors, never at predictions, and says which (level, cell, anchor) become
positive, which are left out by shape, what the objectness of a positive should be, and above which IoU
with a ground truth the other *predictions* are left out of the loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownNameError
from .boxes import shape_iou

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Objectness = Literal["iou", "one"]


class Cells(NamedTuple):
    """P places in the maps: five (P,) integer arrays."""

    box: Ints
    level: Ints
    y: Ints
    x: Ints
    anchor: Ints

    @classmethod
    def joined(cls, parts: Sequence["Cells"]) -> "Cells":
        """All places of `parts`, in their order."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True)
class Grid:
    """Where anchors sit: `anchors` (L, A, 2) width and height in pixels, strides, map sizes (h, w)."""

    anchors: Floats
    strides: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]

    def centre_cells(self, boxes: Floats, level: int) -> tuple[Floats, Floats, Ints, Ints]:
        """Centres of boxes (N, 4) in cells of a level, and the cells they lie in (DET-06), kept inside."""
        height, width = self.sizes[level]
        cx = (boxes[:, 0] + boxes[:, 2]) / (2 * self.strides[level])
        cy = (boxes[:, 1] + boxes[:, 3]) / (2 * self.strides[level])
        x = np.clip(np.floor(cx), 0, width - 1).astype(np.int64)
        y = np.clip(np.floor(cy), 0, height - 1).astype(np.int64)
        return cx, cy, x, y

    def at_centres(self, boxes: Floats, pairs: NDArray[np.bool_]) -> Cells:
        """The centre cells of the pairs marked in (N, L, A)."""
        parts = []
        for level in range(len(self.strides)):
            _, _, x, y = self.centre_cells(boxes, level)
            box, anchor = np.nonzero(pairs[:, level])
            parts.append(Cells(box, np.full(len(box), level), y[box], x[box], anchor))
        return Cells.joined(parts)

    def shape_iou(self, boxes: Floats) -> Floats:
        """IoU of box and anchor on one centre: (N, L, A)."""
        flat = shape_iou(boxes[:, 2:] - boxes[:, :2], self.anchors.reshape(-1, 2))
        return flat.reshape(len(boxes), *self.anchors.shape[:2]).astype(np.float64)


class Assignment(Protocol):
    """What the codec asks of a rule."""

    @property
    def objectness(self) -> Objectness:
        """The target of a positive: the IoU of its prediction, or one."""

    @property
    def ignore_iou(self) -> float | None:
        """Other predictions above this IoU with a ground truth count neither way; None: all count."""

    def match(self, boxes: Floats, grid: Grid, image: Ints) -> tuple[Cells, Cells | None]:
        """Positive places of boxes (N, 4) of pictures `image` (N,), and those left out by shape."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """YOLOv5's rule "v5": all anchors of like shape, in the centre cell and its two nearest neighbours.

    An anchor is of like shape when no side is `ratio` times longer or shorter than the box's.
    """

    ratio: float = 3.0
    objectness: Objectness = "iou"
    ignore_iou: float | None = None

    def match(self, boxes: Floats, grid: Grid, image: Ints) -> tuple[Cells, Cells | None]:
        """See `Assignment.match`."""
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None, None]  # (N, 1, 1, 2)
        ratios = np.maximum(sides / grid.anchors, grid.anchors / sides).max(axis=3)  # (N, L, A)
        parts = []
        for level, (height, width) in enumerate(grid.sizes):
            cx, cy, x, y = grid.centre_cells(boxes, level)
            left, up = cx - x < 0.5, cy - y < 0.5
            beside_x, beside_y = np.where(left, x - 1, x + 1), np.where(up, y - 1, y + 1)
            for near_x, near_y, inside in (
                (x, y, np.ones(len(boxes), bool)),
                (beside_x, y, (beside_x >= 0) & (beside_x < width)),
                (x, beside_y, (beside_y >= 0) & (beside_y < height)),
            ):
                box, anchor = np.nonzero((ratios[:, level] < self.ratio) & inside[:, None])
                parts.append(Cells(box, np.full(len(box), level), near_y[box], near_x[box], anchor))
        return Cells.joined(parts), None


@dataclass(frozen=True, slots=True)
class AllAbove:
    """The rule "hy": every anchor with shape IoU above `iou`, and always the best one; centre cell."""

    iou: float = 0.5
    objectness: Objectness = "iou"
    ignore_iou: float | None = 0.5

    def match(self, boxes: Floats, grid: Grid, image: Ints) -> tuple[Cells, Cells | None]:
        """See `Assignment.match`."""
        overlap = grid.shape_iou(boxes)
        return grid.at_centres(boxes, (overlap > self.iou) | _best(overlap)), None


@dataclass(frozen=True, slots=True)
class BestOnly:
    """YOLOv3's rule "v3": the one best anchor of all levels, whatever its IoU; centre cell; target 1."""

    objectness: Objectness = "one"
    ignore_iou: float | None = 0.5

    def match(self, boxes: Floats, grid: Grid, image: Ints) -> tuple[Cells, Cells | None]:
        """See `Assignment.match`."""
        return grid.at_centres(boxes, _best(grid.shape_iou(boxes))), None


@dataclass(frozen=True, slots=True)
class ByShape:
    """Shape matching with its ignore rule, "shape" (DET-13): best anchor of the centre cell if alike.

    A box takes its best anchor when their shape IoU is above `iou`; the other anchors above it are left
    out of the loss. When two boxes of a picture want one place, the better fit gets it and the other box
    takes its next best anchor above `iou` (DET-15). With no anchor above `iou` the match fails and the
    best anchor counts as background, as the source has it (ERR-37; the default, `best_always=False`);
    `best_always=True` takes the best free anchor all the same, as YOLOv3 does.
    """

    iou: float = 0.5
    best_always: bool = False
    objectness: Objectness = "one"
    ignore_iou: float | None = None

    def match(self, boxes: Floats, grid: Grid, image: Ints) -> tuple[Cells, Cells | None]:
        """See `Assignment.match`."""
        overlap = grid.shape_iou(boxes)
        alike = overlap > self.iou
        wanted = grid.at_centres(boxes, np.ones_like(alike) if self.best_always else alike)
        fit = overlap[wanted.box, wanted.level, wanted.anchor]
        chosen = np.zeros_like(alike)
        served, taken = set[int](), set[tuple[int, ...]]()
        for k in np.argsort(-fit, kind="stable").tolist():
            box = int(wanted.box[k])
            place = (int(image[box]), *(int(column[k]) for column in wanted[1:]))
            if box not in served and place not in taken:
                served.add(box)
                taken.add(place)
                chosen[box, wanted.level[k], wanted.anchor[k]] = True
        return grid.at_centres(boxes, chosen), grid.at_centres(boxes, alike & ~chosen)


def _best(overlap: Floats) -> NDArray[np.bool_]:
    """(N, L, A) marks of the first largest of each box."""
    flat = overlap.reshape(len(overlap), overlap.shape[1] * overlap.shape[2])
    marks = np.zeros(flat.shape, bool)
    if len(flat):
        marks[np.arange(len(flat)), flat.argmax(axis=1)] = True
    return marks.reshape(overlap.shape)


#: The rules by the names that `--assignment` takes.
ASSIGNMENTS: dict[str, Assignment] = {
    "v5": Neighbours(),
    "hy": AllAbove(),
    "v3": BestOnly(),
    "shape": ByShape(),
}


def resolve(rule: str | Assignment) -> Assignment:
    """The rule itself, or the one of that name."""
    if not isinstance(rule, str):
        return rule
    try:
        return ASSIGNMENTS[rule]
    except KeyError:
        known = ", ".join(ASSIGNMENTS)
        raise UnknownNameError("no such assignment", value=rule, remedy=f"choose one of {known}") from None
