"""Resize and pad: any picture into the network's input, and boxes there and back exactly."""

from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError, UsageError
from ..kernels import resize as kernels
from ..shapes import expect
from .boxes import Floats, as_boxes, clip_boxes

Size = tuple[int, int]
Picture = NDArray[np.uint8]

#: Grey of the padding.
PADDING = 114


def resize_bilinear(source: Picture, target: Picture | Size) -> Picture:
    """A picture (H, W, C) uint8 resized, with half-pixel centres, antialiased along axes that shrink.

    Args:
        source: (H, W, C) uint8 with at least one pixel; contiguous, else it is copied.
        target: (height, width), or a writable uint8 array (h, w, C) to fill, which may be a view.

    Returns:
        The target array.
    """
    target = target_of(source, target)
    if target.shape == source.shape:
        target[...] = source
        return target
    rows, row_weights = _taps(source.shape[0], target.shape[0])
    columns, column_weights = _taps(source.shape[1], target.shape[1])
    line = np.empty(source.shape[1] * source.shape[2], np.float32)
    kernels.resize(np.ascontiguousarray(source), rows, row_weights, columns, column_weights, line, target)
    return target


def target_of(source: Picture, target: Picture | Size) -> Picture:
    """Where a resampled picture goes: the given array, or a new one of that (height, width).

    Raises:
        ShapeError: the source is no (H, W, C) uint8 picture with pixels, or the target does not go with it.
    """
    expect(source, "H W C", name="picture")
    if source.dtype != np.uint8 or not source.size:
        raise ShapeError(f"expected a uint8 picture with pixels, got {source.shape} {source.dtype}")
    if isinstance(target, tuple):
        target = np.empty((*target, source.shape[2]), np.uint8)
    if target.ndim != 3 or target.shape[2] != source.shape[2] or target.dtype != np.uint8 or not target.size:
        raise ShapeError(f"cannot resample {source.shape} into {target.shape} {target.dtype}")
    return target


def _taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    first = np.empty(target, np.int64)
    weights = np.empty((target, min(2 * ceil(max(source / target, 1.0)) + 1, source)), np.float32)
    kernels.taps(source, target, first, weights)
    return first, weights


@dataclass(frozen=True, slots=True)
class Letterbox:
    """The placement of a picture of `image_size` in an input of `input_size`, both (height, width).

    The picture keeps its aspect ratio up to whole pixels, is centred, and is never thinner than 1 pixel.

    Attributes:
        resized: (height, width) of the picture inside the input.
        pad: (top, left) offset of the picture inside the input.
    """

    image_size: Size
    input_size: Size
    resized: Size = field(init=False)
    pad: Size = field(init=False)

    def __post_init__(self) -> None:
        if min(*self.image_size, *self.input_size) < 1:
            raise UsageError("letterbox sizes must be positive", value=(self.image_size, self.input_size))
        ratio = min(self.input_size[0] / self.image_size[0], self.input_size[1] / self.image_size[1])
        height, width = (
            min(max(round(side * ratio), 1), most)
            for side, most in zip(self.image_size, self.input_size, strict=True)
        )
        object.__setattr__(self, "resized", (height, width))
        pad = ((self.input_size[0] - height) // 2, (self.input_size[1] - width) // 2)
        object.__setattr__(self, "pad", pad)

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels per picture pixel, (vertical, horizontal); they differ by rounding only."""
        return self.resized[0] / self.image_size[0], self.resized[1] / self.image_size[1]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): the affine map from points of the picture to those of the input."""
        (vertical, horizontal), (top, left) = self.scale, self.pad
        return np.array([[horizontal, 0, left], [0, vertical, top]])

    def apply(self, image: Picture, out: Picture | None = None) -> Picture:
        """The picture (h, w, C) uint8 resized and centred on grey 114: (H, W, C) uint8.

        `out`, if given, is filled and returned.
        """
        if image.shape[:2] != self.image_size:
            raise ShapeError(f"letterbox: expected a picture of {self.image_size}, got {image.shape}")
        (top, left), (height, width) = self.pad, self.resized
        if out is None:
            out = np.empty((*self.input_size, image.shape[2]), np.uint8)
        out[:top] = PADDING
        out[top + height :] = PADDING
        out[top : top + height, :left] = PADDING
        out[top : top + height, left + width :] = PADDING
        resize_bilinear(image, out[top : top + height, left : left + width])
        return out

    def boxes(self, xyxy: ArrayLike) -> Floats:
        """Boxes (..., 4) of the picture, in pixels of the input."""
        b = as_boxes(xyxy)
        return (b * self._scales() + self._shift()).astype(b.dtype)

    def undo(self, xyxy: ArrayLike, *, clip: bool = True) -> Floats:
        """Boxes (..., 4) of the input, in pixels of the picture: the inverse of `boxes`.

        `clip` cuts them at the picture's borders.
        """
        b = as_boxes(xyxy)
        back = ((b - self._shift()) / self._scales()).astype(b.dtype)
        return clip_boxes(back, self.image_size) if clip else back

    def _scales(self) -> NDArray[np.float64]:
        vertical, horizontal = self.scale
        return np.array([horizontal, vertical, horizontal, vertical])

    def _shift(self) -> NDArray[np.float64]:
        top, left = self.pad
        return np.array([left, top, left, top], np.float64)
