"""One labelled person an item: a data set of people as networks for one person see it."""

from dataclasses import replace
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..vision.affine import crop_matrix, similarity
from .dataset import DetectionDataset, Record
from .placing import Size
from .sample import Sample


class PersonCrops(DetectionDataset):
    """The labelled people of a data set, each cut out of its picture in whole pixels.

    An item has one box and one row of points; other people in the cutout are ground. Crowds and people
    without a labelled point are passed over. Train with `PersonAugment`, which makes the very crop of
    `crop_matrix`; a loader without augmentation letterboxes the cutout.

    Args:
        dataset: a set with key-points; its pictures are read anew for each person, and kept by the loader.
        size: (height, width) of the network's input; the aspect ratio counts.
        padding: of the crops, see `crop_matrix`.
        room: a cutout has so many times the sides of the crop, as far as the picture goes, so that turned,
            shifted and smaller crops show more of the picture instead of grey.

    Raises:
        UsageError: a set without key-points, a size or padding that is not positive, a room below 1.
        DataError: nobody is labelled.
    """

    def __init__(
        self, dataset: DetectionDataset, size: Size, *, padding: float = 1.25, room: float = 1.5
    ) -> None:
        if dataset.skeleton is None:
            raise UsageError("crops of people need a data set with key-points", value=dataset.problems.file)
        if min(*size, padding) <= 0 or not room >= 1:
            reason = "crops need a size and padding above 0, and room of 1 or more"
            raise UsageError(reason, value=(size, padding, room))
        self.skeleton, self.size, self.padding, self.room = dataset.skeleton, size, padding, room
        self._source = dataset
        people = [person for record in dataset.records for person in _people(record)]
        super().__init__(dataset.names, dataset.category_ids, people, dataset.problems)
        self.require_points()

    def __getitem__(self, index: int) -> Sample:
        """Person `index`; errors as of `DetectionDataset`."""
        whole = super().__getitem__(index)
        matrix = crop_matrix(whole.boxes[0], self.size, self.padding)
        middle = (whole.boxes[0, :2] + whole.boxes[0, 2:]) / 2
        reach = np.array(self.size[::-1]) / matrix[0, 0] * self.room / 2
        left, top = (max(floor(v), 0) for v in middle - reach)
        right, bottom = (min(ceil(v), side) for v, side in zip(middle + reach, whole.size[::-1], strict=True))
        image = whole.image[top:bottom, left:right].copy()  # a view would keep the whole picture
        boxes = whole.boxes - np.array([left, top] * 2, np.float32)
        return whole.moved(image, boxes, similarity((left, top), (0, 0), 1.0))

    def to_coco(self) -> dict[str, Any]:
        """That of the whole data set: scores count the unlabelled and the crowds, too."""
        return self._source.to_coco()

    def _picture(self, record: Record) -> NDArray[np.uint8]:
        return self._source._picture(record)


def _people(record: Record) -> list[Record]:
    """A record for each labelled person whose box is in the picture."""
    if record.keypoints is None:
        return []
    height, width = record.size
    inside = np.clip(record.boxes, 0, np.array([width, height] * 2, np.float32))
    wanted = (record.keypoints[..., 2] > 0).any(axis=1) & ~record.crowd
    wanted &= (inside[:, 2:] - inside[:, :2]).min(axis=1) > 0
    return [
        replace(
            record,
            boxes=record.boxes[[i]],
            class_id=record.class_id[[i]],
            crowd=record.crowd[[i]],
            keypoints=record.keypoints[[i]],
        )
        for i in np.flatnonzero(wanted)
    ]
