"""The best score that any pose network could reach: ground truth through the real encoding and decoding.

Ground truth -> codec.encode -> codec.decode -> pycocotools. What is lost on the way (limbs of which an end is
not labelled, points of two people in one place, people too small for the maps) no training can bring back.
"""

from typing import Any

import numpy as np

from ..data.dataset import DetectionDataset
from ..errors import DataError
from ..vision.affine import move_keypoints
from .oracle import DOUBTFUL, REFUSED, Ceiling
from .pose_info import PoseInfo
from .pose_validation import pose_validation

_BATCH = 16


def pose_ceiling(dataset: DetectionDataset, info: PoseInfo, *, most: int = 500) -> Ceiling:
    """What perfect maps would score on the first `most` pictures; no picture is read, annotations are enough.

    Args:
        dataset: has the network's points.
        info: skeleton, stride, widths and input size to judge.
        most: so many pictures with their people.

    Raises:
        DataError: the data has other points, or there is nobody to find.
    """
    part = dataset.part(range(min(most, len(dataset))))
    validation = pose_validation(part, info)
    entries: list[dict[str, Any]] = []
    for start in range(0, validation.count, _BATCH):
        placed = [(k, validation.matrix(k)) for k in range(start, min(start + _BATCH, validation.count))]
        points = [
            move_keypoints(matrix, np.asarray(validation.items.records[k].keypoints)) for k, matrix in placed
        ]
        maps = validation.codec.encode(points, None, info.input_size).maps
        entries += validation.found(maps, placed)
    scores = validation.score(entries)
    return Ceiling(scores, {}, scores.boxes, {})


def pose_gate(
    dataset: DetectionDataset, info: PoseInfo, *, most: int = 500, least: float = REFUSED
) -> list[str]:
    """Refuse to train what cannot succeed; returns warnings.

    Raises:
        DataError: nobody is labelled, or the ceiling of AP50 is below `least`; the message says why.
    """
    found = pose_ceiling(dataset, info, most=most)
    if not found.boxes:
        return [f"nobody is labelled in the first {most} pictures: the ceiling is not known"]
    if least > found.AP50:
        remedy = "use a larger --size, or a `skeleton` whose limbs join all points that belong to one object"
        raise DataError(
            f"training cannot succeed: {found.explain()}", file=dataset.problems.file, remedy=remedy
        )
    return [found.explain()] if found.AP50 < DOUBTFUL else []
