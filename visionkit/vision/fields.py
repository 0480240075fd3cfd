"""Part affinity fields: which joints belong to one body (Cao et al., 2017).

Along every limb the field holds the unit vector from its inner to its outer joint. Two peaks of the heat maps
are ends of one limb if the field between them points from the one to the other.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError, UsageError
from ..kernels import pose_groups
from ..kernels import pose_maps as kernels
from .heatmaps import HeatmapCodec, Map, PoseTargets, Size, average_flipped
from .matching import best_pairs
from .poses import Poses
from .skeleton import Skeleton

#: Peaks of one joint that are looked at, the highest; a diverged network has thousands.
MOST_PEAKS = 128
#: A limb longer than this part of the picture's longer side counts less, by the square of its excess.
_REACH = 0.25


class FieldCodec:
    """Heat maps and fields of all people of a picture, and back.

    Args:
        skeleton: its points are the channels of the heat maps, x and y of its limbs those of the fields.
        stride: input pixels a cell.
        sigma: of the Gaussians, in cells.
        limb_width: of the rectangles that hold unit vectors, in cells.
        background: the heat maps have one channel more, as OpenPose's.
        integral: how a pair of joints is judged: by the sum over the "rectangle" (MPP-10), or by "samples"
            along the line, which costs less and is wrong more often where limbs lie upon each other.
        matching: "greedy" (MPP-11), or "hungarian" for the pairs with the greatest sum.
        floor: a part of a limb agrees where the field's component along it is greater.
        share: so much of a limb must agree, 0..1.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stride: int = 8,
        sigma: float = 1.0,
        limb_width: float = 2.0,
        *,
        background: bool = False,
        integral: Literal["rectangle", "samples"] = "rectangle",
        matching: Literal["greedy", "hungarian"] = "greedy",
        floor: float = 0.05,
        share: float = 0.6,
    ) -> None:
        self.heatmaps = HeatmapCodec(skeleton, stride, sigma, background=background)
        if not skeleton.limbs:
            remedy = "give the category a `skeleton`, or take a network for one person"
            raise UsageError("fields need a skeleton with limbs", value=skeleton.name, remedy=remedy)
        if not 1.5 <= limb_width < np.inf:  # 2 END: the nearest cell of any point on the limb lies inside
            raise UsageError("limb_width must be 1.5 cells or more, or limbs have gaps", value=limb_width)
        if integral not in ("samples", "rectangle"):
            raise UsageError("no such integral", value=integral, remedy="choose samples or rectangle")
        if matching not in ("greedy", "hungarian"):
            raise UsageError("no such matching", value=matching, remedy="choose greedy or hungarian")
        if not (0 <= floor < 1 and 0 <= share <= 1):
            raise UsageError("floor and share must be in 0..1", value=(floor, share))
        self.skeleton, self.limb_width = skeleton, float(limb_width)
        self.integral, self.matching = integral, matching
        self.floor, self.share = float(floor), float(share)
        self._limbs = np.array(skeleton.limbs, np.int64)

    @property
    def stride(self) -> int:
        """Input pixels a cell."""
        return self.heatmaps.stride

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the heat maps and of the fields."""
        return self.heatmaps.channels, self.skeleton.field_channels

    def encode(
        self, keypoints: Sequence[ArrayLike], ignore: Sequence[ArrayLike] | None, input_size: Size
    ) -> PoseTargets:
        """Targets of a batch: heat maps and fields; arguments and errors as of `HeatmapCodec.encode`."""
        targets = self.heatmaps.encode(keypoints, ignore, input_size)
        batch, height, width, _ = targets.maps[0].shape
        maps = np.zeros((batch, height, width, self.skeleton.field_channels), np.float32)
        for one, points in zip(maps, keypoints, strict=True):
            xy, shown = self.heatmaps.cells(points)
            count = np.zeros((height, width, len(self._limbs)), np.uint16)
            kernels.fields(xy, shown, self._limbs, self.limb_width / 2, one, count)
        return PoseTargets((*targets.maps, maps), targets.mask)

    def decode(
        self,
        maps: Sequence[Map],
        confidence: float = 0.0,
        max_people: int = 100,
        *,
        threshold: float = 0.1,
        min_keypoints: int = 3,
        complete: bool = False,
    ) -> list[Poses]:
        """The people of every picture of the batch, in input pixels, high confidence to low.

        Args:
            maps: as `PoseTargets.maps`; of several stages the last two maps speak.
            confidence: least confidence of a person, which is the mean over all points, 0 for missing ones.
            max_people: at most so many a picture.
            threshold: least height of a peak.
            min_keypoints: people with fewer points are dropped; a point without a limb is nobody.
            complete: guess the points that no limb led to, see `HeatmapCodec.complete`.

        Raises:
            ShapeError: maps that do not fit.
        """
        heat, fields = self.check(maps[-2:])
        size = (heat.shape[1] * self.stride, heat.shape[2] * self.stride)
        found = []
        for picture, field in zip(heat, fields, strict=True):
            peaks, counts = self.heatmaps.peaks(picture, threshold, MOST_PEAKS)
            members = self._people(field, peaks, counts)
            there = members >= 0
            chosen = peaks[np.arange(len(self.skeleton)), np.maximum(members, 0)]
            xy = ((chosen[..., :2] + 0.5) * self.stride).astype(np.float32)
            sure = np.where(there, chosen[..., 2], 0).astype(np.float32)
            mean = sure.mean(axis=1)
            kept = np.flatnonzero((there.sum(axis=1) >= min_keypoints) & (mean >= confidence))
            order = kept[np.argsort(-mean[kept], kind="stable")][:max_people]
            poses = Poses(xy[order], sure[order], mean[order], self.skeleton, size)
            found.append(self.heatmaps.complete(poses, picture) if complete else poses)
        return found

    def check(self, maps: Sequence[Map]) -> tuple[Map, Map]:
        """Heat maps and fields, if they have the shapes that this codec reads.

        Raises:
            ShapeError: they have not.
        """
        heat = self.heatmaps.check(maps[:1])
        if len(maps) != 2 or maps[1].shape != (*heat.shape[:3], self.skeleton.field_channels):
            shapes = [m.shape for m in maps]
            raise ShapeError(f"expected fields (B, h, w, {self.channels[1]}) beside heat maps, got {shapes}")
        return heat, maps[1]

    def _people(self, field: Map, peaks: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N, K) which peak is which joint of whom, -1 for none."""
        most = max(int(counts.max()), 1)
        scores = np.zeros((len(self._limbs), most, most), np.float32)
        half = self.limb_width / 2 if self.integral == "rectangle" else 0.0
        field = np.ascontiguousarray(field, np.float32)
        pose_groups.limb_scores(field, self._limbs, peaks, counts, half, self.floor, self.share, scores)
        # Joints that the heat maps doubt wait until the sure ones are matched; all that are sure are equal.
        # So do long limbs: through a crowd they lie on the limbs of several people, who stand as they would.
        inner_height, outer_height = self._heights(peaks[:, :most])[self._limbs.T]
        scores *= inner_height[:, :, None] * outer_height[:, None, :]
        inner, outer = peaks[:, :most, :2][self._limbs.T]
        length = np.linalg.norm(inner[:, :, None] - outer[:, None, :], axis=-1)
        reach = _REACH * max(field.shape[:2])
        scores *= (reach / np.maximum(length, reach)) ** 2
        if self.matching == "hungarian":
            scores = hungarian(scores)
        pairs = np.nonzero(scores)
        strongest = np.argsort(-scores[pairs], kind="stable")
        links = np.stack(pairs, axis=1)[strongest].astype(np.int64)
        links = links[: pose_groups.match(links, np.zeros((len(scores), 2, most), bool))]
        members = np.empty((len(links), len(self.skeleton)), np.int64)
        return members[: pose_groups.people(links, self._limbs, members)]

    def _heights(self, peaks: NDArray[np.float64]) -> NDArray[np.float32]:
        """(K, M) of peaks (K, M, 3) where they are highest, between the cells that were seen."""
        aside = peaks[..., :2] - np.rint(peaks[..., :2])
        rise = np.exp((aside**2).sum(axis=-1) / (2 * self.heatmaps.sigma**2))
        return (peaks[..., 2] * rise).astype(np.float32)


def hungarian(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """For every limb the pairs with the greatest sum of scores, instead of those a greedy choice leaves.

    Args:
        scores: (L, M, M), 0 where a pair is no limb.

    Returns:
        (L, M, M) the scores of the chosen pairs, 0 elsewhere.
    """
    chosen = np.zeros_like(scores)
    for one, values in zip(chosen, scores, strict=True):
        pairs = best_pairs(values)
        one[pairs] = values[pairs]
    return chosen


def average_flipped_maps(maps: Sequence[Map], mirrored: Sequence[Map], skeleton: Skeleton) -> tuple[Map, ...]:
    """Heat maps, and fields where there are any, averaged with those of the mirror image; see below."""
    average = (average_flipped, average_flipped_fields)
    return tuple(f(m, other, skeleton) for f, m, other in zip(average, maps, mirrored, strict=False))


def average_flipped_fields(maps: Map, mirrored: Map, skeleton: Skeleton) -> Map:
    """The mean of fields of a picture and those of its mirror image, turned back.

    Left and right limbs swap, x components change their sign, and a limb that the swap turns round (such as
    one between the eyes) changes the signs of both.

    Args:
        maps, mirrored: (..., h, w, 2 L).
        skeleton: says which limbs swap.

    Raises:
        ShapeError: shapes that differ or do not fit the skeleton.
        UsageError: a limb without a counterpart on the other side.
    """
    if maps.shape != mirrored.shape or maps.ndim < 3 or maps.shape[-1] != skeleton.field_channels:
        raise ShapeError(f"fields {maps.shape} and {mirrored.shape} do not fit {len(skeleton.limbs)} limbs")
    flips = skeleton.limb_flips()
    channels = [2 * limb + axis for limb, _ in flips for axis in (0, 1)]
    signs = np.array([s for _, sign in flips for s in (-sign, sign)], maps.dtype)
    mean: Map = (maps + mirrored[..., ::-1, channels] * signs) / 2
    return mean
