"""Augmentation that moves points and boxes along with their pictures, in one resampling.

A person without a labelled point keeps its box, with v = 0 everywhere: a region that a loss leaves out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..vision.affine import Matrix, crop_matrix, mirrors, move_boxes, similarity, warp_affine
from ..vision.skeleton import Skeleton
from .placing import Size, fit
from .sample import Sample
from .transforms import Colour, Range

_LOWER = re.compile("^(?!.*front).*(hip|knee|ankle|heel|toe|foot|feet|leg|back|tail)")


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

    skeleton: Skeleton = field(repr=False)  # a run says it elsewhere
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


@dataclass(frozen=True, slots=True)
class PersonAugment:
    """The training recipe for networks of one person: the crop of `crop_matrix`, varied, then colour.

    Attributes:
        skeleton: says which points swap in a mirror, and by their names which are the lower body.
        padding: of the crops; the predictor's.
        scale: range of factors.
        rotation: degrees, at most so many to either side.
        shift: of the centre, at most so many parts of the input to either side: detectors miss by as much.
        flip: probability of mirroring left and right.
        half_body: probability of showing only the upper or the lower body of those who are labelled well.
        colour: applied last.
    """

    skeleton: Skeleton = field(repr=False)  # a run says it elsewhere
    padding: float = 1.25
    scale: Range = (0.7, 1.3)
    rotation: float = 40.0
    shift: float = 0.05
    flip: float = 0.5
    half_body: float = 0.3
    colour: Colour = field(default_factory=Colour)

    @classmethod
    def still(cls, skeleton: Skeleton, padding: float = 1.25) -> "PersonAugment":
        """Every person as the predictor crops it, without any chance."""
        return cls(skeleton, padding, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, Colour(p=0))

    def wants(self, progress: float, rng: np.random.Generator) -> int:
        """How many more pictures a sample needs: none."""
        return 0

    def __call__(self, samples: Sequence[Sample], size: Size, rng: np.random.Generator) -> Sample:
        """One crop of `size` (height, width) from one item of `PersonCrops`."""
        (sample,) = samples
        half, lower = rng.random(2)
        box = sample.boxes[0]
        if half < self.half_body and sample.keypoints is not None:
            box = half_body(sample.keypoints[0], self.skeleton, lower < 0.5, box)
        crop = crop_matrix(box, size, self.padding)
        room = np.array(size[::-1])
        matrix = similarity(
            (box[:2] + box[2:]) / 2,
            room / 2 + rng.uniform(-self.shift, self.shift, 2) * room,
            crop[0, 0] * rng.uniform(*self.scale),
            degrees=rng.uniform(-self.rotation, self.rotation),
            mirror=rng.random() < self.flip,
        )
        return self.colour(warped(sample, matrix, size, self.skeleton), rng)


def half_body(
    keypoints: NDArray[np.float32], skeleton: Skeleton, lower: bool, box: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The box (4,) around one half of a body, of an animal its front or back, a fifth larger than its points.

    Args:
        keypoints: (K, 3) of one person.
        skeleton: their names; hips and what hangs on them are the lower half.
        lower: which half.
        box: the whole body's, returned where fewer than half of the points or 3 of the half are labelled.
    """
    labelled = keypoints[:, 2] > 0
    chosen = labelled & (np.array([bool(_LOWER.search(name)) for name in skeleton.keypoints]) == lower)
    if chosen.sum() < 3 or chosen.sum() == labelled.sum() or 2 * labelled.sum() < len(skeleton):
        return box
    points = keypoints[chosen, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low - 0.1 * (high - low), high + 0.1 * (high - low)])


def warped(sample: Sample, matrix: Matrix, size: Size, skeleton: Skeleton) -> Sample:
    """`sample` seen through an affine map, in a picture of `size` (height, width).

    Boxes become the hulls of their moved corners, cut at the border; objects that lie outside are left out.
    Points keep their v outside the picture: the codecs draw what of their limbs is inside. Where the map
    mirrors, left and right points swap.
    """
    height, width = size
    boxes = np.clip(move_boxes(matrix, sample.boxes), 0, np.array([width, height] * 2, np.float32))
    moved = sample.moved(warp_affine(sample.image, matrix, size), boxes, matrix)
    if moved.keypoints is not None and mirrors(matrix):
        moved = replace(moved, keypoints=moved.keypoints[:, skeleton.flips])
    return moved.of((boxes[:, 2:] - boxes[:, :2]).min(axis=1) > 0)
