"""Heat maps: a Gaussian about every key-point, and the key-points found again.

Cell (i, j) of a map of stride s has its centre at x = (j + 0.5) s, y = (i + 0.5) s of the input, and the
Gaussian is taken at that centre's distance from the very point, so a map tells more than its cells: decoding
fits a parabola to the logarithms about a peak, which for a Gaussian gives back the point itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, ShapeError, UsageError
from ..kernels import pose_maps as kernels
from ..shapes import expect
from .poses import Poses
from .skeleton import Skeleton

#: `complete` looks so far beyond the box of a person's points, in parts of its longer side.
_WIDER = 0.1
#: Of a point that is only guessed, for 0 means missing.
_LEAST = 1e-4

Size = tuple[int, int]
Map = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PoseTargets:
    """What a network shall say of a batch.

    Attributes:
        maps: (B, h, w, C) float32, one a map of the codec.
        mask: (B, h, w, 1) float32, 0 in regions that are left out of the loss, else 1.
    """

    maps: tuple[NDArray[np.float32], ...]
    mask: NDArray[np.float32]


class HeatmapCodec:
    """Heat maps of one person, animal or face, and back; with `FieldCodec` of many.

    Args:
        skeleton: its points are the channels.
        stride: input pixels a cell.
        sigma: of the Gaussians, in cells (POS-07).
        background: one more channel, 1 minus the highest of the others, as OpenPose's networks have.
    """

    def __init__(
        self, skeleton: Skeleton, stride: int = 4, sigma: float = 1.0, *, background: bool = False
    ) -> None:
        if stride < 1:
            raise UsageError("stride must be 1 or more", value=stride)
        if not 0.5 <= sigma < np.inf:
            raise UsageError(
                "sigma must be 0.5 cells or more, or the neighbours of a peak would be dark", value=sigma
            )
        self.skeleton, self.stride, self.sigma, self.background = skeleton, stride, float(sigma), background

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return len(self.skeleton) + self.background

    def map_size(self, input_size: Size) -> Size:
        """(h, w) of the map for an input of (height, width).

        Raises:
            ShapeError: the input is not a multiple of the stride.
        """
        height, width = input_size
        if height % self.stride or width % self.stride or min(input_size) < 1:
            raise ShapeError(f"the input size must be a multiple of {self.stride}, got {height}x{width}")
        return height // self.stride, width // self.stride

    def encode(
        self,
        keypoints: Sequence[ArrayLike],
        ignore: Sequence[ArrayLike] | None,
        input_size: Size,
    ) -> PoseTargets:
        """Targets of a batch: exactly 1 at the points, the highest where people overlap (MPP-06).

        Args:
            keypoints: one (N, K, 3) array a picture: x and y in input pixels and v, 0 where a point is not
                marked; points may lie outside.
            ignore: one (M, 4) array a picture, xyxy in input pixels: regions left out of the loss, such as
                crowds and people without points; None if there are none.
            input_size: (height, width) of the network's input.

        Raises:
            ShapeError: a wrong number of points, an input that is not a multiple of the stride.
            DataError: marked points that are not finite.
        """
        height, width = self.map_size(input_size)
        maps = np.zeros((len(keypoints), height, width, self.channels), np.float32)
        for one, points in zip(maps, keypoints, strict=True):
            xy, shown = self.cells(points)
            kernels.gaussians(xy, shown, self.sigma, one)
        if self.background:
            maps[..., -1] = 1 - maps[..., :-1].max(axis=-1)
        return PoseTargets((maps,), self._mask(ignore, maps.shape[:3]))

    def cells(self, keypoints: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(N, K, 3) key-points as (N, K, 2) positions in cells, and which of them are marked."""
        points = expect(keypoints, "N K 3", name="keypoints", K=len(self.skeleton)).astype(np.float64)
        shown = points[..., 2] > 0
        if not np.isfinite(points[shown]).all():
            bad = ~np.isfinite(points).all(axis=2) & shown
            raise DataError("encode: points must be finite", value=points[bad][0].tolist())
        return np.where(shown[..., None], points[..., :2] / self.stride - 0.5, 0), shown

    def _mask(self, ignore: Sequence[ArrayLike] | None, shape: Sequence[int]) -> NDArray[np.float32]:
        batch, height, width = shape
        mask = np.ones((batch, height, width, 1), np.float32)
        for one, boxes in zip(mask, ignore if ignore is not None else [()] * batch, strict=True):
            regions = np.reshape(np.asarray(boxes, np.float64), (-1, 4)) / self.stride
            for x1, y1, x2, y2 in np.clip(regions, 0, [width, height] * 2).tolist():
                one[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 0
        return mask

    def decode(self, maps: Sequence[Map], threshold: float = 0.05) -> list[Poses]:
        """The pose of every picture of the batch, in input pixels: the highest peak of each channel (POS-01).

        Args:
            maps: as `PoseTargets.maps`; of several stages the last one speaks.
            threshold: a point whose peak is not higher is missing.

        Returns:
            One `Poses` a picture: of one pose, whose confidence is the mean over all points, or empty where
            every point is missing.
        """
        maps_of = self.check(maps[-1:])
        size = (maps_of.shape[1] * self.stride, maps_of.shape[2] * self.stride)
        found = []
        for one in maps_of:
            peaks, counts = self.peaks(one, threshold, 1)
            sure = np.where(counts > 0, peaks[:, 0, 2], 0).astype(np.float32)[None]
            xy = ((peaks[:, 0, :2] + 0.5) * self.stride).astype(np.float32)[None]
            pose = Poses(xy, sure, sure.mean(axis=1), self.skeleton, size)
            found.append(pose[sure.any(axis=1)])
        return found

    def peaks(
        self, heatmap: Map, threshold: float, most: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Peaks of one (h, w, C) map: (K, most, 3) x, y in cells and height, highest first; (K,) counts."""
        if not 0 < threshold < np.inf:
            raise UsageError("threshold must be a positive number", value=threshold)
        found = np.zeros((len(self.skeleton), most, 3))
        counts = np.zeros(len(self.skeleton), np.int64)
        values = np.ascontiguousarray(heatmap, np.float32)
        kernels.peaks(values, float(threshold), self.sigma, found, counts)
        return found, counts

    def complete(self, poses: Poses, heatmap: Map) -> Poses:
        """The same people, whose missing points lie where their map is highest within the person's box.

        Made for scores that ask for every point; to be shown, such guesses are not good enough. The
        confidence of the people stays as it is.

        Args:
            poses: of one picture, in input pixels; everybody has a point.
            heatmap: (h, w, C), the picture's.
        """
        xy, sure = poses.xy.copy(), poses.keypoint_confidence.copy()
        shape = np.array(heatmap.shape[1::-1])
        for points, confidence in zip(xy, sure, strict=True):
            there = points[confidence > 0] / self.stride - 0.5
            low, high = there.min(axis=0), there.max(axis=0)
            reach = max(_WIDER * (high - low).max(), 2.0)  # cells
            x1, y1 = np.clip(np.floor(low - reach), 0, shape - 1).astype(int).tolist()
            x2, y2 = np.clip(np.ceil(high + reach), 0, shape - 1).astype(int).tolist()
            part = heatmap[y1 : y2 + 1, x1 : x2 + 1]
            for k in np.flatnonzero(confidence == 0):
                y, x = np.unravel_index(part[..., k].argmax(), part.shape[:2])
                points[k] = (np.array([x1 + x, y1 + y]) + 0.5) * self.stride
                confidence[k] = max(float(part[y, x, k]), _LEAST)
        return replace(poses, xy=xy, keypoint_confidence=sure)

    def check(self, maps: Sequence[Map]) -> Map:
        """The one map, if it has the shape that this codec reads.

        Raises:
            ShapeError: it has not.
        """
        if len(maps) != 1 or maps[0].ndim != 4 or maps[0].shape[3] != self.channels:
            shapes = [m.shape for m in maps]
            raise ShapeError(f"expected heat maps (B, h, w, {self.channels}), got {shapes}")
        return maps[0]


def average_flipped(maps: Map, mirrored: Map, skeleton: Skeleton) -> Map:
    """The mean of heat maps of a picture and those of its mirror image, turned back, left and right swapped.

    Args:
        maps, mirrored: (..., h, w, K), or K + 1 with a background.
        skeleton: says which channels swap.

    Raises:
        ShapeError: shapes that differ or do not fit the skeleton.
    """
    points = len(skeleton)
    if maps.shape != mirrored.shape or maps.ndim < 3 or maps.shape[-1] not in (points, points + 1):
        raise ShapeError(f"heat maps {maps.shape} and {mirrored.shape} do not fit {points} points")
    channels = [*skeleton.flips, *range(points, maps.shape[-1])]
    mean: Map = (maps + mirrored[..., ::-1, channels]) / 2
    return mean
