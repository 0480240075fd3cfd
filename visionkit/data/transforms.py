"""Augmentation that moves boxes along with their pictures, and leaves out points: see `pose_transforms`.

Each transform is a small record of its settings, called with a `Sample` (or several) and a generator;
nothing is changed in place. `Augment` puts them together as one recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..kernels import colour
from .placing import FILL, Size, fit, paste, scaled
from .sample import Sample

Range = tuple[float, float]


class Recipe(Protocol):
    """What a loader asks of an augmentation."""

    def wants(self, progress: float, rng: np.random.Generator) -> int:
        """How many more pictures this sample needs; `progress` 0..1 through the training."""

    def __call__(self, samples: Sequence[Sample], size: Size, rng: np.random.Generator) -> Sample:
        """One training picture of `size` (height, width)."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror with probability `p`: left-right, or upside down if `vertical`."""

    p: float = 0.5
    vertical: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """`sample`, perhaps mirrored."""
        if rng.random() >= self.p:
            return sample
        image = sample.image[::-1] if self.vertical else sample.image[:, ::-1]
        boxes, axis = sample.boxes.copy(), int(self.vertical)
        extent = np.float32(sample.size[1 - axis])
        boxes[:, [axis, axis + 2]] = extent - boxes[:, [axis + 2, axis]]
        return replace(sample, image=np.ascontiguousarray(image), boxes=boxes, keypoints=None)


@dataclass(frozen=True, slots=True)
class Colour:
    """With probability `p` multiply hue, saturation and value by 1 ± at most these gains."""

    p: float = 0.8
    hue: float = 0.015
    saturation: float = 0.6
    value: float = 0.4

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """`sample`, perhaps in other colours."""
        if rng.random() >= self.p:
            return sample
        spread = np.array([self.hue, self.saturation, self.value])
        gains = (1 + rng.uniform(-1, 1, 3) * spread).astype(np.float32)
        image = sample.image.copy()
        colour.hsv_gains(image, *gains)
        return replace(sample, image=image)


@dataclass(frozen=True, slots=True)
class Place:
    """Scale a picture by a random factor, relative to fitting whole into `size`, at a random position."""

    scale: Range = (0.6, 1.5)

    def __call__(self, sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
        """A picture of `size` (height, width): a part of `sample`, or all of it amid grey."""
        factor = fit(sample.size, size) * rng.uniform(*self.scale)
        corner = [_anywhere(scaled(n, factor), room, rng) for n, room in zip(sample.size, size, strict=True)]
        canvas = np.full((*size, 3), FILL, np.uint8)
        return paste([(sample, factor, (corner[1], corner[0]), (0, 0, size[1], size[0]))], canvas)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Four pictures around a random centre, each scaled on its own (YOLOv4, arXiv:2004.10934, section 3.3).

    `centre` is a range of fractions of the canvas; `scale` is relative to fitting the whole canvas.
    """

    centre: Range = (0.3, 0.7)
    scale: Range = (0.5, 1.2)

    def __call__(self, samples: Sequence[Sample], size: Size, rng: np.random.Generator) -> Sample:
        """One picture of `size` (height, width) made of four; id and file are those of the first."""
        height, width = size
        middle_y, middle_x = (int(n * rng.uniform(*self.centre)) for n in size)
        canvas = np.full((height, width, 3), FILL, np.uint8)
        parts = []
        for quarter, sample in enumerate(samples):
            low, right = divmod(quarter, 2)
            window = (
                middle_x if right else 0,
                middle_y if low else 0,
                width if right else middle_x,
                height if low else middle_y,
            )
            factor = fit(sample.size, size) * rng.uniform(*self.scale)
            y, x = (
                _toward(scaled(n, factor), window[axis], window[axis + 2], bool(far), rng)
                for n, axis, far in zip(sample.size, (1, 0), (low, right), strict=True)
            )
            parts.append((sample, factor, (x, y), window))
        return paste(parts, canvas)


@dataclass(frozen=True, slots=True)
class Augment:
    """The training recipe: mosaic or placement, then flips, then colour. Defaults are for COCO people.

    `mosaic_until` is the fraction of the training after which mosaics stop, so that the last epochs see
    pictures as they are.
    """

    mosaic: float = 0.5
    mosaic_until: float = 0.9
    mosaic_parts: Mosaic = Mosaic()
    place: Place = Place()
    flips: tuple[Flip, ...] = (Flip(),)
    colour: Colour = Colour()

    def wants(self, progress: float, rng: np.random.Generator) -> int:
        """How many more pictures this sample needs: 3 for a mosaic, or 0."""
        return 3 if rng.random() < self.mosaic and progress < self.mosaic_until else 0

    def __call__(self, samples: Sequence[Sample], size: Size, rng: np.random.Generator) -> Sample:
        """One training picture of `size` from 1 sample, or a mosaic from 4."""
        made = (
            self.place(samples[0], size, rng) if len(samples) == 1 else self.mosaic_parts(samples, size, rng)
        )
        for flip in self.flips:
            made = flip(made, rng)
        return self.colour(made, rng)


#: For small objects that look alike from every side, such as blood cells.
CELLS = Augment(
    mosaic_until=0.85,
    mosaic_parts=Mosaic(scale=(0.6, 1.2)),
    place=Place(scale=(0.7, 1.4)),
    flips=(Flip(), Flip(vertical=True)),
    colour=Colour(hue=0.02, saturation=0.5, value=0.35),
)


def _anywhere(length: int, room: int, rng: np.random.Generator) -> int:
    """Where something of `length` begins in a `room`: anywhere inside, or so that it covers the room."""
    return int(rng.integers(min(0, room - length), max(0, room - length), endpoint=True))


def _toward(length: int, start: int, stop: int, far: bool, rng: np.random.Generator) -> int:
    """Like `_anywhere`, but what is shorter than start..stop touches the end that is the mosaic's centre."""
    if length >= stop - start:
        return start + _anywhere(length, stop - start, rng)
    return start if far else stop - length
