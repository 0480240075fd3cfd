"""Face landmarks in one CSV file, a picture and its 68 points a row; split by person, never by picture."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.errors import DataError, FileError, UsageError
from visionkit.io.header import image_size
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import FACE_68
from visionkit.weights.files import read_bytes, safe_join

from .coco import StrPath
from .coco_check import COORDINATE_LIMIT, Notes

_MAX_BYTES = 500_000_000

#: The people of YouTube Faces whose pictures validate: a fifth, by the least SHA-256 of their names.
_VAL = """
    Alma_Powell Barbara_Bodine Benjamin_McKenzie Bill_Clinton Cameron_Diaz Carlos_Iturgaitz Celso_Amorim
    Christopher_Amolsch Connie_Chung Edie_Falco Elsa_Zylberstein Emmy_Rossum Erin_Hershey_Presley
    Fernando_Henrique_Cardoso Flavia_Pennetta Gary_Coleman Geoffrey_Rush George_Karl James_McPherson
    Kristen_Breitweiser Kurt_Warner Li_Zhaoxing Loretta_Lynn_Harper Luc_Montagnier Maggie_Smith Marc_Anthony
    Marina_Silva Nancy_Reagan Paul_Otellini Queen_Rania Richard_Paul_Evans Tim_Howard Valerie_Harper
    Wes_Craven
"""
VAL_PEOPLE = frozenset(_VAL.split())


class FacesDataset(DetectionDataset):
    """Pictures with one face each, from a table `image,0,1,...` whose numbers are x, y, x, y, ... in pixels.

    The box of a face is that around its points. Files named `training_NAME_NUMBER` or `test_NAME_NUMBER`
    belong to the person NAME; the prefix says nothing, most people have both.

    Args:
        table: the CSV file.
        images: the folder of pictures.
        split: "train" or "val", which has the people of `VAL_PEOPLE`; None for all.
        skeleton: the points, in the order of the columns.
        strict: refuse a face without area instead of leaving it out.
        skip_bad: leave out rows and pictures that would be refused; `problems` lists them.

    Raises:
        UsageError: another split.
        DataError: not such a table, or rows that cannot be trusted, up to 20 in full.
        FileError: the table cannot be read.
    """

    skeleton: Skeleton

    def __init__(
        self,
        table: StrPath,
        images: StrPath,
        split: str | None = None,
        *,
        skeleton: Skeleton = FACE_68,
        strict: bool = False,
        skip_bad: bool = False,
    ) -> None:
        if split not in (None, "train", "val"):
            raise UsageError("faces have the splits train and val", value=split)
        self.skeleton, notes, records = skeleton, Notes(Problems(table), strict, skip_bad), []
        seen: set[str] = set()
        for line, row in _rows(table, len(skeleton)):
            place = f"line {line} {row[0]}"
            if row[0] in seen:
                notes.bad("duplicate-picture", place, "an earlier line has the same picture")
            elif split is None or (person(row[0]) in VAL_PEOPLE) == (split == "val"):
                points = _points(row[1:], len(skeleton), place, notes)
                if points is not None:
                    records += _records(line - 1, row[0], images, points, place, notes)
            seen.add(row[0])
        super().__init__(["face"], [1], records, notes.problems)
        notes.problems.refuse_errors()


def person(file: str) -> str:
    """Who a picture shows, by the name of its file: without prefix, number and ending."""
    return re.sub(r"^(training|test)_|_\d+$", "", Path(file).stem)


def _rows(table: StrPath, count: int) -> list[tuple[int, list[str]]]:
    """The rows with the numbers of their lines, if the header fits."""
    try:
        text = read_bytes(table, _MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", file=table, place=f"byte {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"not a CSV file: {error}", file=table, place=f"line {reader.line_num}") from None
    expected = ["image", *map(str, range(2 * count))]
    if not rows or rows[0][1] != expected:
        found = ",".join(rows[0][1]) if rows else None
        reason = f"the first line must be image,0,1,...,{2 * count - 1}: x and y of {count} points"
        raise DataError(reason, file=table, place="line 1", value=found)
    return rows[1:]


def _points(texts: Sequence[str], count: int, place: str, notes: Notes) -> NDArray[np.float32] | None:
    """(K, 3) x, y, v of one face, or None after noting why there are none."""
    if len(texts) != 2 * count:
        notes.bad("keypoints-length", place, f"{len(texts)} numbers instead of {2 * count}")
        return None
    try:
        values = np.array([float(text) for text in texts])
    except ValueError as error:
        notes.bad("bad-keypoints", place, str(error))
        return None
    wrong = np.flatnonzero(~(np.abs(values) <= COORDINATE_LIMIT))
    if len(wrong):
        notes.bad("keypoint-range", place, "not a coordinate of a picture", texts[wrong[0]])
        return None
    return np.column_stack([values.reshape(count, 2), np.full(count, 2)]).astype(np.float32)


def _records(
    number: int, name: str, images: StrPath, points: NDArray[np.float32], place: str, notes: Notes
) -> list[Record]:
    """The record of one picture; none after noting why."""
    try:
        path = safe_join(images, name)
        size = image_size(path)
    except (DataError, FileError) as error:
        notes.bad("picture" if isinstance(error, DataError) else "picture-missing", place, error.reason)
        return []
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    if not (high > low).all():
        notes.poor("zero-box", place, "all points on one line: a face without area")
        return []
    wrong = ((points[:, :2] < -1) | (points[:, :2] > np.array(size[::-1]) + 1)).any(axis=1)
    if wrong.any():
        reason = f"a point outside its picture of {size[1]}x{size[0]}"
        notes.warn("keypoint-outside", place, reason, points[wrong][0, :2].tolist())
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return [replace(Record.of(number, name, path, size, [(box, 0, False)]), keypoints=points[None])]
