"""COCO keypoints: one JSON file whose categories name the points, and a folder of pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit.data.dataset import Record
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import skeleton_from_coco

from .coco import CocoDataset, StrPath
from .coco_check import Notes, Row
from .coco_points import as_points


class CocoKeypoints(CocoDataset):
    """Pictures, boxes and keypoints of a COCO annotation file, all of one skeleton.

    Takes what `CocoDataset` takes and finds what it finds. Each record has `keypoints` (N, K, 3) beside its
    N boxes; an object without any, of a crowd or simply not labelled, has v = 0 everywhere, so that a loss
    can leave out its region.

    Attributes:
        skeleton: the points' names, limbs, flips and tolerances, as the categories say.

    Raises:
        DataError: as `CocoDataset`; or no category has keypoints, or two have different ones.
    """

    skeleton: Skeleton

    def _records(self, rows: list[dict[str, Any]], images: StrPath | None, notes: Notes) -> list[Record]:
        self.skeleton = skeleton_from_coco(self._categories, notes.problems.file)
        return super()._records(rows, images, notes)

    def _filled(self, record: Record, annotations: Sequence[Row]) -> Record:
        count = len(self.skeleton)
        points = [as_points(row, count) for row in annotations]
        return replace(record, keypoints=np.array(points, np.float32).reshape(-1, count, 3))
