"""PASCAL VOC: one XML file a picture, lists of names in ImageSets/Main."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.errors import DataError, FileError
from visionkit.io.header import image_size
from visionkit.weights.files import read_bytes, safe_join

from .coco_check import COORDINATE_LIMIT, Notes

_MAX_BYTES = 10_000_000
Box = tuple[float, float, float, float]


class VocDataset(DetectionDataset):
    """A folder with Annotations/*.xml, JPEGImages/ and ImageSets/Main/SPLIT.txt.

    VOC counts pixels from 1 and includes the last one; `origin` is subtracted from xmin and ymin, so boxes
    come out half-open from 0. Objects marked difficult are ignored in training and scored as crowds, the
    nearest COCO has. Image ids count from 1 in the order of the list, category ids from 1.

    Args:
        root: the folder.
        split: the list to read.
        names: the classes; default: all names in Annotations, sorted, so that every split agrees.
        origin: 1, or 0 for files whose boxes already count from 0.
        strict, skip_bad, check_files: as in `CocoDataset`.

    Raises:
        DataError: files that cannot be trusted; up to 20 findings in full.
        FileError: the folder or its list is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        names: Sequence[str] | None = None,
        origin: int = 1,
        strict: bool = False,
        skip_bad: bool = False,
        check_files: bool = True,
    ) -> None:
        folder = Path(root)
        listed = folder / "ImageSets" / "Main" / f"{split}.txt"
        notes = Notes(Problems(listed), strict, skip_bad)
        lines = read_bytes(listed, _MAX_BYTES).decode("utf-8", "replace").splitlines()
        stems = [line.split()[0] for line in lines if line.strip()]
        names = _all_names(folder / "Annotations") if names is None else names
        classes = {name: position for position, name in enumerate(names)}
        records = []
        for number, stem in enumerate(stems, 1):
            place = f"images[{number - 1}] ({stem}.xml)"
            try:
                tree = read_xml(safe_join(folder / "Annotations", f"{stem}.xml"))
                records.append(_record(tree, folder, stem, number, classes, origin, place, notes))
            except FileError as error:
                notes.bad("annotation-missing", place, error.reason)
            except DataError as error:
                notes.bad("annotation", place, error.reason)
        super().__init__(names, range(1, len(names) + 1), records, notes.problems)
        if check_files:
            self.check_pictures(skip_bad=skip_bad)
        notes.problems.refuse_errors()


class _Tree(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Refuse a document type before it can define entities."""
        raise DataError("an XML document type, which annotations do not need", value=name)


def read_xml(path: str | os.PathLike[str]) -> ElementTree.Element:
    """The root of a small XML file without a document type.

    Raises:
        DataError: not well-formed XML, or with a document type.
        FileError: missing, unreadable, or larger than 10 MB.
    """
    data = read_bytes(path, _MAX_BYTES)
    if not data:
        raise DataError("the file is empty (0 bytes)", file=path)
    try:
        parser = ElementTree.XMLParser(target=_Tree())  # noqa: S314
        parser.feed(data)
        return parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        reason = error.reason if isinstance(error, DataError) else f"not XML: {error}"
        raise DataError(reason, file=path) from None


def _all_names(folder: Path) -> list[str]:
    found = set()
    for path in sorted(folder.glob("*.xml")):
        try:
            found |= {item.text or "" for item in read_xml(path).iterfind("object/name")}
        except (DataError, FileError):  # noted when the picture itself is read
            continue
    return sorted(found)


def _record(
    tree: ElementTree.Element,
    folder: Path,
    stem: str,
    number: int,
    classes: dict[str, int],
    origin: int,
    place: str,
    notes: Notes,
) -> Record:
    name = tree.findtext("filename") or f"{stem}.jpg"
    path = safe_join(folder / "JPEGImages", name)
    sides = [tree.findtext(f"size/{side}") for side in ("height", "width")]
    if all(side and side.strip().isdecimal() and 0 < int(side) <= 2**20 for side in sides):
        size = (int(sides[0] or 0), int(sides[1] or 0))
    else:
        notes.warn("size-missing", place, "no width and height; taken from the picture")
        size = image_size(path)
    objects = []
    for k, item in enumerate(tree.iterfind("object")):
        where = f"{place} object[{k}]"
        label = item.findtext("name") or ""
        if label not in classes:
            notes.bad("unknown-category", where, "not among the classes", label)
            continue
        texts = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        box = check_corners(texts, origin, size, where, notes)
        if box is not None:
            difficult = (item.findtext("difficult") or "0").strip() == "1"
            objects.append((box, classes[label], difficult))
    return Record.of(number, name, path, size, objects)


def check_corners(
    texts: Sequence[str | None], origin: int, size: tuple[int, int], place: str, notes: Notes
) -> Box | None:
    """The half-open box of four corner texts, or None after noting why there is none."""
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        notes.bad("bad-box", place, "expected four numbers xmin, ymin, xmax, ymax", list(texts))
        return None
    box = (left - origin, top - origin, right, bottom)
    if not all(math.isfinite(v) and abs(v) <= COORDINATE_LIMIT for v in box):
        notes.bad("box-not-finite", place, "not coordinates of a picture", list(texts))
    elif right < left or bottom < top:
        notes.bad("negative-box", place, "xmax < xmin or ymax < ymin", list(texts))
    elif right == left or bottom == top:
        notes.poor("zero-box", place, "a box without area", list(texts))
    elif box[0] >= size[1] or box[1] >= size[0] or right <= 0 or bottom <= 0:
        notes.poor("box-outside", place, f"outside the picture of {size[1]}x{size[0]}", list(texts))
    else:
        if min(box) < -1 or right > size[1] + 1 or bottom > size[0] + 1:
            reason = f"over the edge of the picture of {size[1]}x{size[0]}; clipped for training"
            notes.warn("box-over-edge", place, reason, list(texts))
        return box
    return None
