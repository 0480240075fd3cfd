"""YOLO text: one file a picture, a line `class cx cy w h` an object, in fractions of the picture."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.errors import DataError, FileError
from visionkit.io.header import image_size
from visionkit.weights.files import read_bytes, safe_join

from .coco_check import Notes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_MAX_BYTES = 10_000_000
_OVER = 1e-3  # rounding of the fractions
Object = tuple[tuple[float, ...], int, bool]


class YoloDataset(DetectionDataset):
    """A folder of pictures and a folder of label files with the same names.

    Image ids count from 1 in sorted order; category ids are YOLO's own, from 0. A picture without a label
    file has no objects, which is counted.

    Args:
        images: the folder of pictures (sub-folders included).
        labels: the folder of texts; default: `images` with its last part named images replaced by labels.
        names: class names, or a file with one a line, or a data.yaml with `names`; default: numbers.
        strict, skip_bad: as in `CocoDataset`.

    Raises:
        DataError: files that cannot be trusted; up to 20 findings in full.
        FileError: a folder is missing or holds no pictures.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        *,
        names: Sequence[str] | str | os.PathLike[str] | None = None,
        strict: bool = False,
        skip_bad: bool = False,
    ) -> None:
        folder = Path(images)
        texts = labels_folder(folder) if labels is None else Path(labels)
        notes = Notes(Problems(texts), strict, skip_bad)
        pictures = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not pictures:
            raise FileError("no pictures in this folder", file=folder)
        if isinstance(names, str | os.PathLike):
            names = read_names(names)
        records = []
        for number, picture in enumerate(pictures, 1):
            name = picture.relative_to(folder).as_posix()
            place = f"images[{number - 1}] ({name})"
            try:
                path = safe_join(folder, name)
                size = image_size(path)
                label = texts / Path(name).with_suffix(".txt")
                objects = _objects(label, size, None if names is None else len(names), place, notes)
                records.append(Record.of(number, name, path, size, objects))
            except (DataError, FileError) as error:
                kind = "picture" if isinstance(error, DataError) else "picture-missing"
                notes.bad(kind, place, error.reason)
        known = {Path(p.relative_to(folder)).with_suffix("") for p in pictures}
        for label in sorted(texts.rglob("*.txt")):
            if label.relative_to(texts).with_suffix("") not in known and label.name != "classes.txt":
                notes.warn("label-without-picture", str(label.relative_to(texts)), "no picture of this name")
        if names is None:
            count = max((int(r.class_id.max()) + 1 for r in records if len(r.class_id)), default=0)
            names = [str(i) for i in range(count)]
        super().__init__(names, range(len(names)), records, notes.problems)
        notes.problems.refuse_errors()


def labels_folder(images: Path) -> Path:
    """Where the label files of a folder of pictures lie: .../images/train -> .../labels/train."""
    parts = list(images.absolute().parts)
    for k in reversed(range(len(parts))):
        if parts[k] == "images":
            parts[k] = "labels"
            return Path(*parts)
    raise FileError("cannot tell where the labels are: no part of the path is named images", file=images)


def read_names(path: str | os.PathLike[str]) -> list[str]:
    """Class names: one a line, or the `names` of a data.yaml (a list or numbered lines, nothing fancier).

    Raises:
        DataError: no names, or YAML of another form.
    """
    text = read_bytes(path, _MAX_BYTES).decode("utf-8-sig", "replace")
    lines = [
        line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if Path(path).suffix.lower() not in (".yaml", ".yml"):
        found = [line.strip() for line in lines]
    else:
        start = next((k for k, line in enumerate(lines) if line.startswith("names:")), None)
        if start is None:
            raise DataError("no `names:`", file=path)
        inline = lines[start].removeprefix("names:").strip()
        if inline:
            if not (inline.startswith("[") and inline.endswith("]")):
                raise DataError("expected names: [a, b, ...]", file=path, value=inline)
            found = inline[1:-1].split(",")
        else:
            found = []
            for line in lines[start + 1 :]:
                entry = re.fullmatch(r"\s*(?:-|(\d+)\s*:)\s*(.+)", line)
                if entry is None:
                    break
                if entry[1] is not None and int(entry[1]) != len(found):
                    raise DataError("class numbers must count from 0 without gaps", file=path, value=line)
                found.append(entry[2])
        found = [name.strip().strip("'\"") for name in found]
    if not found:
        raise DataError("no class names", file=path)
    return found


def _objects(
    path: Path, size: tuple[int, int], classes: int | None, place: str, notes: Notes
) -> list[Object]:
    if not os.path.lexists(path):
        notes.warn("no-label-file", place, "no label file; taken as a picture without objects")
        return []
    found: list[Object] = []
    for number, line in enumerate(
        read_bytes(path, _MAX_BYTES).decode("utf-8-sig", "replace").splitlines(), 1
    ):
        where = f"{place} line {number}"
        words = line.split()
        if not words:
            continue
        if len(words) != 5:
            reason = f"{len(words)} words instead of 5: class cx cy w h"
            notes.bad("bad-line", where, reason, line)
            continue
        try:
            kind, cx, cy, w, h = (float(word) for word in words)
        except ValueError:
            notes.bad("bad-line", where, "expected five numbers", line)
            continue
        if not (kind.is_integer() and 0 <= kind < (classes if classes is not None else 100_000)):
            notes.bad("unknown-category", where, "not the number of a class", words[0])
        elif not all(map(math.isfinite, (cx, cy, w, h))):
            notes.bad("box-not-finite", where, "not a box", line)
        elif min(w, h) < 0:
            notes.bad("negative-box", where, "negative width or height", line)
        elif min(w, h) == 0:
            notes.poor("zero-box", where, "a box without area", line)
        elif max(cx, cy, w, h) > 1 + _OVER or min(cx, cy) < -_OVER:
            notes.bad("not-normalised", where, "expected fractions of the picture from 0 to 1", line)
        else:
            height, width = size
            box = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
            found.append((box, int(kind), False))
    return found
