"""One picture with its boxes, as augmentation and training see it."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its objects.

    image     (H, W, 3) uint8 RGB
    boxes     (N, 4) float32 xyxy, pixels of `image`, half-open
    class_id  (N,) int64, 0-based
    ignore    (N,) bool: a region that is neither object nor background (crowds, boxes nearly cut off)
    image_id  the data set's own id
    file      where the picture came from, for messages
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    image_id: int
    file: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def __len__(self) -> int:
        return len(self.boxes)

    def with_image(self, image: NDArray[np.uint8], boxes: NDArray[np.float32] | None = None) -> Self:
        """The same objects on another picture, their boxes moved along."""
        return replace(self, image=image, boxes=self.boxes if boxes is None else boxes)
