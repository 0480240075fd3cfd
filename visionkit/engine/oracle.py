"""The best score that any network could reach: ground truth through the real encoding and decoding.

Ground truth -> codec.encode -> codec.ideal_maps -> codec.decode with the real suppression -> pycocotools.
What is lost on the way no training can bring back, so it is counted by cause before training starts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..errors import DataError
from ..vision.boxes import iou_matrix
from ..vision.letterbox import Letterbox
from ..vision.results import Detections
from .evaluator import evaluate
from .info import DetectorInfo
from .scores import Scores

#: Training is refused below the first ceiling of AP50, and warned about below the second.
REFUSED, DOUBTFUL = 0.5, 0.9
_BATCH = 16
_CAUSES = {
    "small": "have a side below the codec's minimum at this input size",
    "unassigned": "fit no anchor",
    "merged": "share cell and anchor with another box",
    "suppressed": "overlap a box of their class so much that suppression removes them",
    "distorted": "have a shape that the anchors cannot reach",
}
_EXTRAS = {
    "repeated": "repeat a box that is found already",
    "misnamed": "lie on a box of another class",
    "stray": "lie where no box is, as the anchors cannot reach its shape",
}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The ceiling of the scores and where the rest went.

    Attributes:
        scores: of the decoded ground truth.
        lost: boxes lost, by class name and cause: small, unassigned, merged, suppressed, distorted.
        boxes: boxes to find.
        extra: detections beyond the ground truth, by cause: repeated, misnamed, stray. A codec without
            faults makes none but strays; they cost precision although every box is found.
    """

    scores: Scores
    lost: dict[str, dict[str, int]]
    boxes: int
    extra: dict[str, int]

    @property
    def AP50(self) -> float:
        """The ceiling of AP50; 0 without boxes."""
        return self.scores["AP50"] or 0.0

    def explain(self) -> str:
        """The ceiling and its causes in a few sentences."""
        ap, ap50 = (100 * (self.scores[name] or 0.0) for name in ("AP", "AP50"))
        text = f"a perfect network would reach AP {ap:.1f} %, AP50 {ap50:.1f} %"
        causes: Counter[str] = Counter()
        for counts in self.lost.values():
            causes.update(counts)
        if causes:
            listed = "; ".join(f"{n} {_CAUSES[cause]}" for cause, n in causes.most_common())
            text += f"; of {self.boxes} boxes {causes.total()} cannot be found: {listed}"
        if self.extra:
            listed = "; ".join(f"{n} {_EXTRAS[cause]}" for cause, n in self.extra.items())
            text += f"; {sum(self.extra.values())} detections beyond the ground truth: {listed}"
        low = [c for c in self.scores.classes if c.AP50 is not None and c.AP50 < DOUBTFUL]
        if low and len(self.scores.classes) > 1:
            text += "; low classes: " + ", ".join(f"{c.name} {100 * (c.AP50 or 0):.0f} %" for c in low[:10])
        return text


def ceiling(
    dataset: DetectionDataset,
    info: DetectorInfo,
    *,
    most: int = 500,
    iou: float = 0.6,
    max_detections: int = 100,
) -> Ceiling:
    """Measure the ceiling on the first `most` pictures; no picture is read, annotations are enough.

    Args:
        dataset: its classes are the detector's, in the same order.
        info: anchors, strides, assignment and input size to judge.
        iou, max_detections: of the decoding, as in the evaluation.
    """
    codec, size = info.codec(), info.input_size
    records = dataset.records[:most]
    entries: list[dict[str, Any]] = []
    lost: dict[str, dict[str, int]] = {}
    extra: Counter[str] = Counter()
    total = 0
    for start in range(0, len(records), _BATCH):
        part = records[start : start + _BATCH]
        letterboxes = [Letterbox(record.size, size) for record in part]
        boxes = [box.boxes(_clipped(r)).astype(np.float32) for box, r in zip(letterboxes, part, strict=True)]
        crowds = [record.crowd for record in part]
        targets = codec.encode(boxes, [record.class_id for record in part], crowds, size)
        maps = codec.ideal_maps(targets)
        found = codec.decode(maps, 0.25, iou, max_detections)
        unsuppressed = codec.decode(maps, 0.25, 1.0, 100_000)
        for k, record in enumerate(part):
            placed = replace(found[k], xyxy=letterboxes[k].undo(found[k].xyxy))
            entries += placed.to_coco(record.image_id, dataset.category_ids)
            taught = ~record.crowd
            total += int(taught.sum())
            causes = _causes(
                boxes[k][taught],
                record.class_id[taught],
                found[k],
                unsuppressed[k],
                _places(targets, k),
                codec.min_side,
            )
            for class_id, cause in causes:
                counts = lost.setdefault(dataset.names[class_id], {})
                counts[cause] = counts.get(cause, 0) + 1
            extra.update(_extras(boxes[k][taught], record.class_id[taught], found[k]))
    scores = evaluate(dataset.to_coco(), entries, image_ids=[record.image_id for record in records])
    return Ceiling(scores, lost, total, dict(extra.most_common()))


def gate(
    dataset: DetectionDataset, info: DetectorInfo, *, most: int = 500, least: float = REFUSED
) -> list[str]:
    """Refuse to train what cannot succeed; returns warnings.

    Raises:
        DataError: the data has no boxes, or the ceiling of AP50 is below `least`; the message says why.
    """
    found = ceiling(dataset, info, most=most)
    if not found.boxes:
        raise DataError(
            "the training data has no boxes", remedy="check the annotation file with `visionkit data check`"
        )
    if least > found.AP50:
        raise DataError(
            f"training cannot succeed: {found.explain()}",
            remedy="use a larger --size, anchors made from this data, or another --assignment",
        )
    return [found.explain()] if found.AP50 < DOUBTFUL else []


def _clipped(record: Any) -> NDArray[np.float32]:
    height, width = record.size
    return np.clip(record.boxes, 0, np.array([width, height, width, height], np.float32))


def _places(targets: Any, picture: int) -> list[tuple[tuple[int, ...], NDArray[np.float32]]]:
    """Every positive place of a picture, as (level, y, x, anchor), with its box."""
    places = []
    for number, level in enumerate(targets.levels):
        for cell, box in zip(level.cells, level.boxes, strict=True):
            if cell[0] == picture:
                places.append(((number, *map(int, cell[1:])), box))
    return places


def _causes(
    boxes: NDArray[np.float32],
    class_id: NDArray[np.int64],
    found: Detections,
    unsuppressed: Detections,
    places: Sequence[tuple[tuple[int, ...], NDArray[np.float32]]],
    min_side: float,
) -> list[tuple[int, str]]:
    """(class, cause) of each box without a detection of its own."""
    owner = dict(places)  # the last box has a shared place
    lost = []
    kept, _ = _matched(boxes, class_id, found)
    there, _ = _matched(boxes, class_id, unsuppressed)
    for k in np.flatnonzero(~kept):
        own = [place for place, box in places if np.array_equal(box, boxes[k])]
        if (boxes[k, 2:] - boxes[k, :2]).min() < min_side:
            cause = "small"
        elif not own:
            cause = "unassigned"
        elif all(not np.array_equal(owner[place], boxes[k]) for place in own):
            cause = "merged"
        else:
            cause = "suppressed" if there[k] else "distorted"
        lost.append((int(class_id[k]), cause))
    return lost


def _extras(boxes: NDArray[np.float32], class_id: NDArray[np.int64], found: Detections) -> list[str]:
    """The cause of each detection that no box needs."""
    _, needed = _matched(boxes, class_id, found)
    extra = found[~needed]
    near = iou_matrix(boxes, extra.xyxy) >= 0.5
    same = near & (class_id[:, None] == extra.class_id[None])
    causes = np.where(same.any(axis=0), "repeated", np.where(near.any(axis=0), "misnamed", "stray"))
    return [str(cause) for cause in causes]


def _matched(
    boxes: NDArray[np.float32], class_id: NDArray[np.int64], found: Detections
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which boxes and which detections have a partner of the same class, IoU >= .5: best pairs first."""
    covered, used = np.zeros(len(boxes), bool), np.zeros(len(found), bool)
    overlap = iou_matrix(boxes, found.xyxy) * (class_id[:, None] == found.class_id[None])
    pairs = np.argwhere(overlap >= 0.5)
    for box, detection in pairs[np.argsort(-overlap[tuple(pairs.T)], kind="stable")]:
        if not covered[box] and not used[detection]:
            covered[box] = used[detection] = True
    return covered, used
