"""Detections: what was found in one picture."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError, UsageError
from ..shapes import expect
from .boxes import xyxy_to_xywh


class Detection(NamedTuple):
    """One row of `Detections`."""

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    name: str
    tracker_id: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N detections in one picture; field names as in the `supervision` package.

    Attributes:
        xyxy: (N, 4) float32, pixels of the given picture, half-open corners.
        confidence: (N,) float32 in [0, 1].
        class_id: (N,) int64, 0-based, an index into `names`.
        names: the class names; may be empty.
        image_size: (height, width) of the picture.
        tracker_id: (N,) int64 where tracks are followed.

    Nothing found is N = 0, never None.

    Raises:
        ShapeError: fields of different lengths.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int64]
    names: tuple[str, ...]
    image_size: tuple[int, int]
    tracker_id: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        xyxy = expect(self.xyxy, "N 4", name="xyxy", dtype=np.float32)
        put(self, "xyxy", xyxy)
        put(
            self, "confidence", expect(self.confidence, "N", name="confidence", dtype=np.float32, N=len(xyxy))
        )
        put(self, "class_id", expect(self.class_id, "N", name="class_id", dtype=np.int64, N=len(xyxy)))
        put(self, "names", tuple(self.names))
        put(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))
        if self.tracker_id is not None:
            put(
                self,
                "tracker_id",
                expect(self.tracker_id, "N", name="tracker_id", dtype=np.int64, N=len(xyxy)),
            )

    @classmethod
    def empty(cls, image_size: tuple[int, int], names: Sequence[str] = ()) -> "Detections":
        """No detections in a picture of (height, width)."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            tuple(names),
            image_size,
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: int | slice | ArrayLike) -> "Detections":
        """The rows chosen by a number, slice, boolean mask or index array; always `Detections`."""
        chosen = chosen_rows(index, len(self), "detections")
        return replace(
            self,
            xyxy=self.xyxy[chosen],
            confidence=self.confidence[chosen],
            class_id=self.class_id[chosen],
            tracker_id=None if self.tracker_id is None else self.tracker_id[chosen],
        )

    def __iter__(self) -> Iterator[Detection]:
        for n in range(len(self)):
            x1, y1, x2, y2 = self.xyxy[n].tolist()
            label = int(self.class_id[n])
            tracker = None if self.tracker_id is None else int(self.tracker_id[n])
            yield Detection((x1, y1, x2, y2), float(self.confidence[n]), label, self.name(label), tracker)

    def name(self, class_id: int) -> str:
        """The name of a class, or its number where there is no name."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    def above(self, confidence: float) -> "Detections":
        """Those whose confidence is at least so much."""
        return self[self.confidence >= confidence]

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO result records: original category ids, `bbox` as x y width height, `score`.

        Args:
            image_id: the picture's id in the annotation file.
            category_ids: the original id of each class; without it the class index is written.
        """
        known = len(self) if category_ids is None else len(category_ids)
        if category_ids is not None and len(self) and int(self.class_id.max()) >= known:
            raise UsageError(f"to_coco: {known} category ids", value=int(self.class_id.max()))
        return [
            {
                "image_id": image_id,
                "category_id": int(label if category_ids is None else category_ids[label]),
                "bbox": box,
                "score": score,
            }
            for box, score, label in zip(
                xyxy_to_xywh(self.xyxy.astype(np.float64)).tolist(),
                self.confidence.tolist(),
                self.class_id.tolist(),
                strict=True,
            )
        ]

    def to_csv(self) -> str:
        """A header and one line a detection: x1,y1,x2,y2,confidence,class_id,name,tracker_id."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["x1", "y1", "x2", "y2", "confidence", "class_id", "name", "tracker_id"])
        for one in self:
            corners = (f"{value:.2f}" for value in one.xyxy)
            tracker = "" if one.tracker_id is None else one.tracker_id
            writer.writerow([*corners, f"{one.confidence:.4f}", one.class_id, one.name, tracker])
        return text.getvalue()

    def to_supervision(self) -> dict[str, Any]:
        """All of it as arguments of the other package: `supervision.Detections(**found.to_supervision())`.

        Each row's name is in `data["class_name"]`, where its labels look for it; `names` and `image_size`
        are in `metadata`. Arrays are not copied.
        """
        return {
            "xyxy": self.xyxy,
            "confidence": self.confidence,
            "class_id": self.class_id,
            "tracker_id": self.tracker_id,
            "data": {"class_name": np.array([self.name(label) for label in self.class_id.tolist()], np.str_)},
            "metadata": {"names": self.names, "image_size": self.image_size},
        }

    def __repr__(self) -> str:
        height, width = self.image_size
        shown = [f"{one.name} {one.confidence:.2f}" for one in self[:6]]
        more = ["..."] if len(self) > 6 else []
        what = ": " + ", ".join(shown + more) if shown else ""
        return f"Detections({len(self)} in {height}x{width}{what})"


def chosen_rows(index: int | slice | ArrayLike, count: int, what: str) -> Any:
    """A number, slice, boolean mask or index array as something that chooses rows of arrays of `count` rows.

    Raises:
        ShapeError: a mask of another length, or an array with more axes.
        IndexError: a number out of range.
    """
    if isinstance(index, (int, np.integer)):
        index = [range(count)[index]]
    if isinstance(index, slice):
        return index
    chosen = np.asarray(index)
    if chosen.size == 0 and chosen.dtype != bool:
        chosen = chosen.astype(np.int64)
    if chosen.ndim != 1 or (chosen.dtype == bool and len(chosen) != count):
        raise ShapeError(f"index of shape {chosen.shape} does not fit {count} {what}")
    return chosen
