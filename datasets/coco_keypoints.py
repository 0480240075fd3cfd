"""COCO keypoints: one JSON file whose categories name the points, and a folder of pictures."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit.data.dataset import Record
from visionkit.errors import DataError
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

    def _records(self, rows: list[dict[str, Any]], images: StrPath | None, notes: Notes) -> list[Record]:
        self.skeleton = skeleton_from_coco(self._categories, notes.problems.file)
        return super()._records(rows, images, notes)

    def _filled(self, record: Record, annotations: Sequence[Row]) -> Record:
        count = len(self.skeleton)
        points = [as_points(row, count) for row in annotations]
        return replace(record, keypoints=np.array(points, np.float32).reshape(-1, count, 3))

    def require_points(self) -> None:
        """Refuse a set that cannot train anything.

        Raises:
            DataError: no point of a single object is labelled.
        """
        for record in self.records:
            if record.keypoints is not None and (record.keypoints[~record.crowd, :, 2] > 0).any():
                return
        raise DataError("no labelled keypoint: there is nothing to learn", file=self.problems.file)

    def hash(self) -> str:
        """SHA-256 of names, ids, file names, sizes, boxes and points; not of the pictures."""
        digest = hashlib.sha256(super().hash().encode())
        for record in self.records:
            digest.update(np.asarray(record.keypoints).tobytes())
        return digest.hexdigest()
