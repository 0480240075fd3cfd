"""Poses: the key-points of the people, animals or faces in one picture."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..shapes import expect
from .results import chosen_rows
from .skeleton import Skeleton

#: Version of OpenPose's JSON files that `to_openpose` writes, and its lists that hold no body.
_OPENPOSE_VERSION = 1.3
_OPENPOSE_EMPTY = tuple(
    f"{part}_keypoints_{dimensions}"
    for dimensions in ("2d", "3d")
    for part in ("pose", "face", "hand_left", "hand_right")
    if (part, dimensions) != ("pose", "2d")
)


class Pose(NamedTuple):
    """One row of `Poses`."""

    xy: NDArray[np.float32]
    keypoint_confidence: NDArray[np.float32]
    confidence: float
    tracker_id: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """N poses in one picture; field names as in the `supervision` package.

    Attributes:
        xy: (N, K, 2) float32, pixels of the given picture; 0, 0 where a point is missing.
        keypoint_confidence: (N, K) float32, 0 where a point is missing.
        confidence: (N,) float32, of the pose as a whole.
        skeleton: what the K points are.
        image_size: (height, width) of the picture.
        tracker_id: (N,) int64 where people are followed.

    Nothing found is N = 0, never None.

    Raises:
        ShapeError: fields of different lengths, or not as many points as the skeleton has.
    """

    xy: NDArray[np.float32]
    keypoint_confidence: NDArray[np.float32]
    confidence: NDArray[np.float32]
    skeleton: Skeleton
    image_size: tuple[int, int]
    tracker_id: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        put, points = object.__setattr__, len(self.skeleton)
        xy = expect(self.xy, "N K 2", name="xy", dtype=np.float32, K=points)
        sure = expect(
            self.keypoint_confidence, "N K", name="keypoint_confidence", dtype=np.float32, N=len(xy), K=points
        )
        put(self, "xy", np.where(np.greater(sure, 0)[..., None], xy, np.float32(0)))
        put(self, "keypoint_confidence", sure)
        put(self, "confidence", expect(self.confidence, "N", name="confidence", dtype=np.float32, N=len(xy)))
        put(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))
        if self.tracker_id is not None:
            put(
                self,
                "tracker_id",
                expect(self.tracker_id, "N", name="tracker_id", dtype=np.int64, N=len(xy)),
            )

    @classmethod
    def empty(cls, image_size: tuple[int, int], skeleton: Skeleton) -> "Poses":
        """No poses in a picture of (height, width)."""
        points = len(skeleton)
        none = np.zeros(0, np.float32)
        return cls(none.reshape(0, points, 2), none.reshape(0, points), none, skeleton, image_size)

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, index: int | slice | ArrayLike) -> "Poses":
        """The rows chosen by a number, slice, boolean mask or index array; always `Poses`."""
        chosen = chosen_rows(index, len(self), "poses")
        return replace(
            self,
            xy=self.xy[chosen],
            keypoint_confidence=self.keypoint_confidence[chosen],
            confidence=self.confidence[chosen],
            tracker_id=None if self.tracker_id is None else self.tracker_id[chosen],
        )

    def __iter__(self) -> Iterator[Pose]:
        for n in range(len(self)):
            tracker = None if self.tracker_id is None else int(self.tracker_id[n])
            yield Pose(self.xy[n], self.keypoint_confidence[n], float(self.confidence[n]), tracker)

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """(N, 4) float32 the boxes about the points that were found; zeros where there are none."""
        found = self.keypoint_confidence[..., None] > 0
        low = np.where(found, self.xy, np.inf).min(axis=1)
        high = np.where(found, self.xy, -np.inf).max(axis=1)
        boxes = np.concatenate([low, high], axis=1)
        return np.where(np.isfinite(boxes), boxes, 0).astype(np.float32)

    def above(self, confidence: float) -> "Poses":
        """Those whose confidence is at least so much."""
        return self[self.confidence >= confidence]

    def moved(
        self, scale: tuple[float, float], shift: tuple[float, float], image_size: tuple[int, int]
    ) -> "Poses":
        """The same poses in another picture, at (x, y) * scale + shift, so from a crop or a resized input."""
        xy = self.xy * np.asarray(scale, np.float64) + np.asarray(shift, np.float64)
        return replace(self, xy=xy.astype(np.float32), image_size=image_size)

    def convert(self, skeleton: Skeleton) -> "Poses":
        """The same poses as points of another skeleton, by name; see `Skeleton.convert`."""
        xy, sure = self.skeleton.convert(self.xy, self.keypoint_confidence, skeleton)
        return replace(self, xy=xy, keypoint_confidence=sure, skeleton=skeleton)

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO result records: `keypoints` x, y, v in a row (v 1 where found, 0 0 0 where not), `score`.

        Args:
            image_id: the picture's id in the annotation file.
            category_id: the original id of the category.
        """
        found = self.keypoint_confidence > 0
        rows = self._rows(found)
        return [
            {"image_id": image_id, "category_id": category_id, "keypoints": points, "score": score}
            for points, score in zip(
                rows,
                self.confidence.tolist(),
                strict=True,
            )
        ]

    def to_openpose(self) -> dict[str, Any]:
        """One frame in OpenPose's JSON schema: `people` with `pose_keypoints_2d` x, y, confidence in a row.

        Points stand in the order of this skeleton; `convert` to OPENPOSE_18, BODY_25 or MPI_15 for programs
        that expect one of these. `person_id` is the tracker's, or -1 where nobody is followed.
        """
        rows = self._rows(self.keypoint_confidence)
        ids = np.full(len(self), -1) if self.tracker_id is None else self.tracker_id
        people = [
            {"person_id": [number], "pose_keypoints_2d": points} | {part: [] for part in _OPENPOSE_EMPTY}
            for number, points in zip(ids.tolist(), rows, strict=True)
        ]
        return {"version": _OPENPOSE_VERSION, "people": people}

    def _rows(self, third: NDArray[Any]) -> list[list[float]]:
        """N lists of x, y and a third number, point by point."""
        table = np.concatenate([self.xy, third[..., None]], axis=2, dtype=np.float64)
        return table.reshape(len(self), 3 * len(self.skeleton)).tolist()

    def to_csv(self) -> str:
        """A header and a line for every point found: number, name, x, y, confidences, tracker_id."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["pose", "keypoint", "x", "y", "keypoint_confidence", "confidence", "tracker_id"])
        for n, one in enumerate(self):
            tracker = "" if one.tracker_id is None else one.tracker_id
            for name, (x, y), sure in zip(
                self.skeleton.keypoints, one.xy, one.keypoint_confidence, strict=True
            ):
                if sure > 0:
                    row = [n, name, f"{x:.2f}", f"{y:.2f}", f"{sure:.4f}", f"{one.confidence:.4f}", tracker]
                    writer.writerow(row)
        return text.getvalue()

    def to_supervision(self) -> dict[str, Any]:
        """The arguments of the other package's class: `supervision.KeyPoints(**found.to_supervision())`.

        `tracker_id` is in its `data`, which takes nothing but rows: skeleton and `image_size` stay behind.
        Arrays are not copied.
        """
        return {
            "xy": self.xy,
            "keypoint_confidence": self.keypoint_confidence,
            "detection_confidence": self.confidence,
            "visible": self.keypoint_confidence > 0,
            "data": {} if self.tracker_id is None else {"tracker_id": self.tracker_id},
        }

    def __repr__(self) -> str:
        height, width = self.image_size
        found = (self.keypoint_confidence > 0).sum(axis=1)
        shown = [f"{n} points {c:.2f}" for n, c in zip(found[:6], self.confidence[:6], strict=True)]
        more = ["..."] if len(self) > 6 else []
        what = ": " + ", ".join(shown + more) if shown else ""
        return f"Poses({len(self)} {self.skeleton.name} in {height}x{width}{what})"
