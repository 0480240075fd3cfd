"""The best score that any pose network could reach: ground truth through the real encoding and decoding.

Ground truth -> codec.encode -> codec.decode -> pycocotools. What is lost on the way (people whose points fall
together, limbs that are not labelled, small people) no training can bring back.
"""

from typing import Any

import numpy as np

from ..data.dataset import DetectionDataset, Record
from ..vision.affine import move_keypoints
from ..vision.letterbox import Letterbox
from .pose_info import PoseInfo
from .pose_validation import PoseValidation
from .scores import Scores

_BATCH = 16


def pose_ceiling(dataset: DetectionDataset, info: PoseInfo, *, most: int = 500) -> Scores:
    """The scores of perfect maps on the first `most` pictures; no picture is read, annotations are enough.

    Args:
        dataset: has the network's points.
        info: skeleton, stride, widths and input size to judge.
    """
    part = dataset.part(range(min(most, len(dataset))))
    validation = PoseValidation(part, info, cache=False)
    entries: list[dict[str, Any]] = []
    for start in range(0, len(part), _BATCH):
        records = part.records[start : start + _BATCH]
        boxes = [Letterbox(record.size, info.input_size) for record in records]
        points = [_placed(record, box) for record, box in zip(records, boxes, strict=True)]
        maps = validation.codec.encode(points, None, info.input_size).maps
        entries += validation.found(maps, list(enumerate(boxes, start)))
    return validation.score(entries)


def _placed(record: Record, box: Letterbox) -> Any:
    points = np.zeros((len(record.boxes), 0, 3), np.float32) if record.keypoints is None else record.keypoints
    return move_keypoints(box.matrix, points)
