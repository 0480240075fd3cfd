"""Augmentation that moves points and boxes along with their pictures, in one resampling.

A person without a labelled point keeps its box, with v = 0 everywhere: a region that a loss leaves out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..vision.affine import Matrix, move_boxes, similarity, warp_affine
from ..vision.skeleton import Skeleton
from .sample import Sample
from .transforms import Colour, Range, Size, fit


@dataclass(frozen=True, slots=True)
class PoseAugment:
    """The training recipe for networks of many people: one affine resampling, then colour.

    Attributes:
        skeleton: says which points swap in a mirror.
        scale: range of factors, relative to the whole picture just fitting into the network's input.
        rotation: degrees, at most so many to either side.
        shift: 1 places the picture anywhere, as long as it covers the input or lies inside it; 0 centres it.
        flip: probability of mirroring left and right.
        colour: applied last.
    """

    skeleton: Skeleton
    scale: Range = (0.6, 1.5)
    rotation: float = 30.0
    shift: float = 1.0
    flip: float = 0.5
    colour: Colour = field(default_factory=Colour)

    def wants(self, progress: float, rng: np.random.Generator) -> int:
        """How many more pictures a sample needs: none."""
        return 0

    def __call__(self, samples: Sequence[Sample], size: Size, rng: np.random.Generator) -> Sample:
        """One training picture of `size` (height, width) from one sample."""
        (sample,) = samples
        room, extent = np.array(size[::-1]), np.array(sample.size[::-1])
        scale = fit(sample.size, size) * rng.uniform(*self.scale)
        reach = self.shift * np.abs(room - scale * extent) / 2
        matrix = similarity(
            extent / 2,
            room / 2 + rng.uniform(-reach, reach),
            scale,
            degrees=rng.uniform(-self.rotation, self.rotation),
            mirror=rng.random() < self.flip,
        )
        return self.colour(warped(sample, matrix, size, self.skeleton), rng)


def warped(sample: Sample, matrix: Matrix, size: Size, skeleton: Skeleton) -> Sample:
    """`sample` seen through an affine map, in a picture of `size` (height, width).

    Boxes become the hulls of their moved corners, cut at the border; objects that lie outside are left out.
    Points keep their v outside the picture: the codecs draw what of their limbs is inside. Where the map
    mirrors, left and right points swap.
    """
    height, width = size
    boxes = np.clip(move_boxes(matrix, sample.boxes), 0, np.array([width, height] * 2, np.float32))
    moved = sample.moved(warp_affine(sample.image, matrix, size), boxes, matrix)
    if moved.keypoints is not None and np.linalg.det(matrix[:, :2]) < 0:
        moved = replace(moved, keypoints=moved.keypoints[:, skeleton.flips])
    return moved.of((boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 0)
