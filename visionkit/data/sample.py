"""One picture with its boxes and points, as augmentation and training see it."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..vision.affine import Matrix, move_keypoints


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its objects.

    image     (H, W, 3) uint8 RGB
    boxes     (N, 4) float32 xyxy, pixels of `image`, half-open
    class_id  (N,) int64, 0-based
    ignore    (N,) bool: a region that is neither object nor background (crowds, boxes nearly cut off)
    image_id  the data set's own id
    file      where the picture came from, for messages
    keypoints (N, K, 3) float32 x, y in pixels of `image`, v 0 unlabelled, 1 hidden, 2 visible, one row a box;
              they may lie outside the picture; None where the data set has none
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    image_id: int
    file: str
    keypoints: NDArray[np.float32] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __len__(self) -> int:
        return len(self.boxes)

    def moved(self, image: NDArray[np.uint8], boxes: NDArray[np.float32], matrix: Matrix) -> Self:
        """The same objects on another picture: their boxes there, and the map that moves their points."""
        points = None if self.keypoints is None else move_keypoints(matrix, self.keypoints)
        return replace(self, image=image, boxes=boxes, keypoints=points)

    def of(self, which: NDArray[Any]) -> Self:
        """These objects only, by mask or by number."""
        return replace(
            self,
            boxes=self.boxes[which],
            class_id=self.class_id[which],
            ignore=self.ignore[which],
            keypoints=None if self.keypoints is None else self.keypoints[which],
        )
