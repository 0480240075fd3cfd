"""Why is the AP of keypoints zero? What `diagnosis` tries with boxes, tried with points."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..vision.oks import oks_matrix
from ..vision.skeleton import Skeleton
from .detections import points_of
from .diagnosis import RELATIVE, Change, Entry, Grouped, pixels, scaled_by, sized

Points = NDArray[np.float64]
#: From (K, 3) points x, y, v of one entry, the entry itself and its skeleton: (K, 2) points.
Move = Callable[[Points, Entry, Skeleton], Points]


class PointMeasure:
    """OKS of `keypoints`.

    Args:
        skeletons: by category.
        sigmas: by category, the tolerance of each point.
    """

    noun = "objects"

    def __init__(self, skeletons: Mapping[int, Skeleton], sigmas: Mapping[int, Sequence[float]]) -> None:
        self.skeletons, self.sigmas = skeletons, sigmas

    def overlap(self, wanted: Sequence[Entry], found: Sequence[Entry]) -> Points:
        """(N, M) OKS; none between objects of different numbers of points."""
        similar = np.zeros((len(wanted), len(found)))
        for row, entry in enumerate(wanted):
            truth = points_of(entry)
            same = [k for k, other in enumerate(found) if len(other["keypoints"]) == truth.size]
            if same:
                others = np.stack([points_of(found[k])[:, :2] for k in same])
                labelled, area = truth[None, :, 2] > 0, [entry["area"]]
                sigmas = self.sigmas[entry["category_id"]]
                similar[row, same] = oks_matrix(truth[None, :, :2], labelled, area, others, sigmas)[0]
        return similar

    def changes(
        self, images: Mapping[int, Entry], truth: Grouped, found: Grouped, keys: Sequence[int]
    ) -> list[tuple[str, Change]]:
        """Other orders of coordinates and of points, other units, other origins."""
        moves: list[tuple[str, Move]] = [
            ("x and y were swapped in the detections", lambda p, _, __: p[:, [1, 0]]),
            (
                "the detections were all x, then all y, instead of x, y, confidence for each point",
                lambda p, _, __: p.reshape(3, -1).T[:, :2],
            ),
            ("left and right were swapped in the detections", lambda p, _, s: p[list(s.flips), :2]),
        ]
        if sized(images, keys):
            moves += [
                (RELATIVE, lambda p, e, _: p[:, :2] * pixels(images[e["image_id"]])),
                ("the detections were those of mirrored images", lambda p, e, s: _mirror(p, e, s, images)),
            ]
        if all("bbox" in entry for key in keys for entry in found[key]):
            inside = "the detections were relative to the corner of their `bbox`"
            moves.append((inside, lambda p, e, _: p[:, :2] + np.array(e["bbox"][:2])))
        pairs = self._pairs(truth, found, keys)
        if pairs:
            moves += _fitted(pairs)
        return [(cause, self._on_points(move)) for cause, move in moves] + self._orders(pairs)

    def _on_points(self, move: Move) -> Change:
        def changed(_: int, entries: Sequence[Entry]) -> list[Entry]:
            return [self._moved(entry, move) for entry in entries]

        return changed

    def _moved(self, entry: Entry, move: Move) -> dict[str, Any]:
        points = points_of(entry)
        at = move(points, entry, self.skeletons[entry["category_id"]])
        return {**entry, "keypoints": np.concatenate([at, points[:, 2:]], 1).ravel()}

    def _pairs(self, truth: Grouped, found: Grouped, keys: Sequence[int]) -> list[tuple[Points, Points, int]]:
        """(labelled truth with v, found, category) where an image has one object and one best detection."""
        pairs = []
        for key in keys:
            best = max(found[key], key=lambda entry: entry["score"])
            same = [a for a in truth[key] if len(a["keypoints"]) == len(best["keypoints"])]
            if len(same) == len(truth[key]) == 1:
                pairs.append((points_of(same[0]), points_of(best)[:, :2], same[0]["category_id"]))
        return pairs

    def _orders(self, pairs: Sequence[tuple[Points, Points, int]]) -> list[tuple[str, Change]]:
        """Where the points of one name lie on those of another, again and again."""
        votes: dict[int, Points] = {}
        for truth, found, category in pairs:
            gaps = np.linalg.norm(truth[:, None, :2] - found[None], axis=-1)
            nearest = np.eye(len(truth))[gaps.argmin(1)] * (truth[:, 2:] > 0)
            votes[category] = votes.get(category, 0) + nearest
        orders = {category: count.argmax(1) for category, count in votes.items() if count.any(1).all()}
        listed = [
            f"{skeleton.keypoints[k]} is {int(place) + 1} (not {k + 1})"
            for category, order in orders.items()
            for skeleton in [self.skeletons[category]]
            for k, place in enumerate(order)
            if k != place
        ]
        if not listed:
            return []
        cause = f"the points had another order in the detections, where {', '.join(listed[:3])}"

        def changed(_: int, entries: Sequence[Entry]) -> list[Entry]:
            return [
                self._moved(e, lambda p, entry, __: p[orders[entry["category_id"]], :2])
                if e["category_id"] in orders
                else e
                for e in entries
            ]

        return [(cause, changed)]


def _mirror(points: Points, entry: Entry, skeleton: Skeleton, images: Mapping[int, Entry]) -> Points:
    width = images[entry["image_id"]]["width"]
    return np.stack([width - points[:, 0], points[:, 1]], 1)[list(skeleton.flips)]


def _fitted(pairs: Sequence[tuple[Points, Points, int]]) -> list[tuple[str, Move]]:
    """The scale and the offset that fit most objects."""
    scales, offsets = [], []
    for truth, found, _ in pairs:
        known = truth[:, 2] > 0
        wanted, given = truth[known, :2], found[known]
        extents = np.ptp(given, axis=0)
        if (extents > 0).all():
            scales.append(np.ptp(wanted, axis=0) / extents)
        offsets.append((wanted - given).mean(0))
    offset = np.median(offsets, 0)
    moved = f"the detections were moved by {round(offset[0])} in x and {round(offset[1])} in y (padding?)"
    moves: list[tuple[str, Move]] = [(moved, lambda p, _, __: p[:, :2] + offset)]
    if scales:
        scale = np.median(scales, 0)
        moves.insert(0, (scaled_by(scale), lambda p, _, __: p[:, :2] * scale))
    return moves
