"""What every detection data set is: records in memory, pictures read when asked for."""

import hashlib
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, FileError, VisionKitError
from ..io.header import read_header, turn_for
from ..io.image import read_image
from ..vision.skeleton import Skeleton
from .problems import Problems, Severity
from .sample import Sample


@dataclass(frozen=True, slots=True)
class Record:
    """The annotations of one picture.

    `boxes` (N, 4) float32 xyxy as annotated, not clipped; `class_id` (N,) int64; `crowd` (N,) bool;
    `size` (height, width) of the picture the boxes refer to; `path` None for a picture held in memory;
    `keypoints` (N, K, 3) float32 x, y, v in sets that have them: v 0 unlabelled, 1 hidden, 2 visible.
    """

    image_id: int
    file: str
    path: Path | None
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    keypoints: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        image_id: int,
        file: str,
        path: Path | None,
        size: tuple[int, int],
        objects: Sequence[tuple[Sequence[float], int, bool]],
    ) -> "Record":
        """A record from a list of (xyxy, class_id, crowd)."""
        return cls(
            image_id,
            file,
            path,
            size,
            np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
            np.array([class_id for _, class_id, _ in objects], np.int64),
            np.array([crowd for _, _, crowd in objects], bool),
        )


class DetectionDataset(ABC):  # noqa: B024  complete for sets of files; in-memory sets override `_picture`
    """Pictures with boxes: `len`, `[i] -> Sample`, and all that evaluation needs.

    names         class names, position = class_id
    category_ids  the original id of each class, for export
    records       one `Record` a picture
    problems      everything the reader found, see `Problems`
    skeleton      of the key-points in the records; None in sets of boxes
    """

    skeleton: Skeleton | None = None

    def __init__(
        self,
        names: Sequence[str],
        category_ids: Sequence[int],
        records: Sequence[Record],
        problems: Problems,
    ) -> None:
        self.names = tuple(names)
        self.category_ids = tuple(category_ids)
        self.records = tuple(records)
        self.problems = problems

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The id of each picture, in order."""
        return tuple(record.image_id for record in self.records)

    @property
    def files(self) -> tuple[str, ...]:
        """The file of each picture, as the annotations name it."""
        return tuple(record.file for record in self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Picture `index`, its boxes clipped to it, its points as annotated; crowds are marked `ignore`.

        Raises:
            DataError: the picture is damaged or not of the annotated size.
            FileError: the picture cannot be read.
        """
        record = self.records[index]
        height, width = record.size
        boxes = np.clip(record.boxes, 0, np.array([width, height, width, height], np.float32))
        name = str(record.path or record.file)
        return Sample(
            self._picture(record),
            boxes,
            record.class_id,
            record.crowd,
            record.image_id,
            name,
            record.keypoints,
        )

    def part(self, indices: Iterable[int]) -> Self:
        """The same set with these pictures only."""
        chosen = copy(self)
        chosen.records = tuple(self.records[index] for index in indices)
        return chosen

    def _picture(self, record: Record) -> NDArray[np.uint8]:
        if record.path is None:
            raise DataError("no folder of pictures was given", file=record.file)
        return read_image(record.path, expected=record.size)

    def check_pictures(self, *, skip_bad: bool = False) -> None:
        """Look at the header of every picture file and note what is missing, damaged or of another size.

        Nothing is decoded. With `skip_bad` these pictures are left out, else they count as errors.
        """
        good = []
        severity: Severity = "dropped" if skip_bad else "error"
        for index, record in enumerate(self.records):
            try:
                if record.path is not None:
                    turn_for(read_header(record.path), record.size, str(record.path))
                good.append(record)
            except (DataError, FileError) as error:
                place = f"images[{index}] (id {record.image_id}) {record.file}"
                self._unreadable(place, error, severity)
        self.records = tuple(good)

    def note_unreadable(self, failed: Mapping[str, VisionKitError]) -> None:
        """Note pictures that were left out when they were decoded, by file, among the problems; each once."""
        noted = {problem.place for problem in self.problems}
        for file in sorted(failed.keys() - noted):
            self._unreadable(file, failed[file], "dropped")

    def _unreadable(self, place: str, error: VisionKitError, severity: Severity) -> None:
        kind = "picture" if isinstance(error, DataError) else "picture-missing"
        self.problems.add(kind, place, error.reason, severity=severity)

    def require_boxes(self) -> None:
        """Refuse a set that cannot train anything.

        Raises:
            DataError: there is no box in it.
        """
        if not any(len(record.boxes) and not record.crowd.all() for record in self.records):
            raise DataError("no boxes: there is nothing to learn", file=self.problems.file)

    def require_points(self) -> None:
        """Refuse a set that cannot train anything about poses.

        Raises:
            DataError: no point of a single object is labelled.
        """
        for record in self.records:
            if record.keypoints is not None and (record.keypoints[~record.crowd, :, 2] > 0).any():
                return
        raise DataError("no labelled keypoint: there is nothing to learn", file=self.problems.file)

    def to_coco(self) -> dict[str, Any]:
        """The ground truth as a COCO document: original ids, boxes and points as annotated (not clipped)."""
        points = {} if self.skeleton is None else self.skeleton.to_coco()
        categories = [
            points | {"id": i, "name": n} for i, n in zip(self.category_ids, self.names, strict=True)
        ]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for record in self.records:
            height, width = record.size
            images.append({"id": record.image_id, "file_name": record.file, "width": width, "height": height})
            for k, (box, class_id, crowd) in enumerate(
                zip(record.boxes, record.class_id, record.crowd, strict=True)
            ):
                left, top, right, bottom = (float(v) for v in box)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record.image_id,
                        "category_id": self.category_ids[class_id],
                        "bbox": [left, top, right - left, bottom - top],
                        "area": (right - left) * (bottom - top),
                        "iscrowd": int(crowd),
                    }
                    | ({} if record.keypoints is None else _coco_points(record.keypoints[k]))
                )
        return {"images": images, "annotations": annotations, "categories": categories}

    def hash(self) -> str:
        """SHA-256 of names, ids, file names, sizes, boxes and points; not of the pictures."""
        digest = hashlib.sha256(repr((self.names, self.category_ids)).encode())
        for record in self.records:
            digest.update(repr((record.image_id, record.file, record.size)).encode())
            for array in (record.boxes, record.class_id, record.crowd, record.keypoints):
                if array is not None:
                    digest.update(array.tobytes())
        return digest.hexdigest()


def _coco_points(keypoints: NDArray[np.float32]) -> dict[str, Any]:
    """COCO's entries for (K, 3) points: x, y as numbers, v as an integer."""
    flat = [number for x, y, v in keypoints.tolist() for number in (x, y, int(v))]
    return {"keypoints": flat, "num_keypoints": int((keypoints[:, 2] > 0).sum())}
