"""COCO instances: one JSON file and a folder of pictures."""

import json as jsonlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.data.strict_json import read_json
from visionkit.errors import DataError, FileError
from visionkit.weights.files import atomic_write, safe_join

from .coco_check import Notes, Row, check_document

StrPath = str | os.PathLike[str]


class CocoDataset(DetectionDataset):
    """Pictures and boxes of a COCO annotation file; neither it nor the pictures are ever changed.

    Args:
        json: the annotation file.
        images: the folder of pictures; None where none are needed, as in evaluation.
        strict: refuse what would be dropped (boxes without area or outside their picture, bad polygons).
        skip_bad: leave out single objects and pictures that would be refused; `problems` lists them.
        check_files: look at the header of every picture now, so that training cannot fail on one later.

    `to_coco` gives the file back without what was dropped: original ids, all extra keys, missing `area`,
    `iscrowd` and wrong `num_keypoints` filled in. Rules: `datasets/coco_check.py`.

    Raises:
        DataError: not a COCO annotation file, or one that cannot be trusted; up to 20 findings in full.
        FileError: the file is missing, unreadable or not a regular file.
    """

    def __init__(
        self,
        json: StrPath,
        images: StrPath | None = None,
        *,
        strict: bool = False,
        skip_bad: bool = False,
        check_files: bool = True,
    ) -> None:
        document = read_json(json)
        notes = Notes(Problems(json), strict, skip_bad)
        if document.changed:
            notes.warn("changed", document.file, f"changed while it was read; read was {document.sha256}")
        checked = check_document(document.value, notes)
        self.sha256 = document.sha256
        self._annotations = checked.annotations
        self._images = {row["id"]: row for row in checked.images}
        self._categories = checked.categories
        lists = ("images", "annotations", "categories")
        self._extra = {key: value for key, value in document.value.items() if key not in lists}
        super().__init__(
            [row["name"] for row in checked.categories],
            [row["id"] for row in checked.categories],
            self._records(checked.images, images, notes),
            notes.problems,
        )
        if images is not None and check_files:
            self.check_pictures(skip_bad=skip_bad)
        notes.problems.refuse_errors()

    @property
    def categories(self) -> Sequence[dict[str, Any]]:
        """The categories as the file has them (keypoint names and skeleton included), position = class_id."""
        return tuple(self._categories)

    def to_coco(self) -> dict[str, Any]:
        """The checked document: see the class."""
        ids = set(self.image_ids)
        return {
            **self._extra,
            "images": [self._images[record.image_id] for record in self.records],
            "annotations": [row for row in self._annotations if row["image_id"] in ids],
            "categories": list(self._categories),
        }

    def _records(self, rows: list[dict[str, Any]], images: StrPath | None, notes: Notes) -> list[Record]:
        classes = {row["id"]: position for position, row in enumerate(self._categories)}
        objects: dict[int, list[Row]] = defaultdict(list)
        for annotation in self._annotations:
            objects[annotation["image_id"]].append(annotation)
        records = []
        for row in rows:
            name, path = row["file_name"], None
            try:
                path = None if images is None else safe_join(images, name)
            except DataError as error:
                notes.bad("file-name", f"images (id {row['id']}).file_name", error.reason, name)
                continue
            size = (row["height"], row["width"])
            found = objects[row["id"]]
            boxes = [
                ((x, y, x + w, y + h), classes[one["category_id"]], bool(one["iscrowd"]))
                for one in found
                for x, y, w, h in [one["bbox"]]
            ]
            records.append(self._filled(Record.of(row["id"], name, path, size, boxes), found))
        return records

    def _filled(self, record: Record, annotations: list[Row]) -> Record:
        """The record with what else its annotations hold; nothing in a set of boxes."""
        return record


def write_coco(path: StrPath, document: dict[str, Any]) -> None:
    """Write a COCO document whole or not at all.

    Raises:
        FileError: the disk is full, or the folder is missing or cannot be written.
    """
    text = jsonlib.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    atomic_write(Path(path), text + "\n")


def repair(json: StrPath, out: StrPath) -> int:
    """Write a copy of an annotation file whose annotations are numbered from 1; nothing else is changed.

    Returns:
        How many ids changed.

    Raises:
        FileError: `out` exists already.
        DataError: `json` is not an annotation file.
    """
    if os.path.lexists(out):
        raise FileError("exists already; a repaired file is always a new one", file=out)
    document = read_json(json).value
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise DataError("not a COCO annotation file: it has no list `annotations`", file=json)
    changed = 0
    for number, row in enumerate(document["annotations"], 1):
        if isinstance(row, dict):
            changed += row.get("id") != number
            row["id"] = number
    write_coco(out, document)
    return changed
