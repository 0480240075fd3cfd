"""The rules a COCO annotation file must keep, each tested by a row of the torture list (J01-J62).

pycocotools takes most broken files without a word and returns a wrong number; here every finding is noted
with its place, and three outcomes exist:

error     the file cannot be trusted: missing and doubled ids, unknown references, boxes that are not boxes
dropped   one object is left out, the rest is fine: boxes without area or wholly outside the picture
warning   used as it is, but counted: defaults filled in, boxes over the edge, suspicious conventions

`strict` turns drops into errors, `skip_bad` turns the errors of single objects and pictures into drops.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from visionkit.data.problems import Problems
from visionkit.errors import DataError

from .coco_points import check_keypoints, check_names, check_units
from .coco_shapes import check_segmentation

Row = dict[str, Any]

#: Ids are exact in every language's numbers below this.
ID_LIMIT = 2**53
#: No picture is larger; a box coordinate beyond it is a mistake, not a box outside the picture.
COORDINATE_LIMIT = 1e7
_EDGE = 1.0  # pixels: published files overshoot by rounding


@dataclass(slots=True)
class Checked:
    """The rows that can be used, categories sorted by id; ids are ints, defaults are filled in."""

    categories: list[Row] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    annotations: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Notes:
    """Where findings go, and what `strict` and `skip_bad` make of them."""

    problems: Problems
    strict: bool = False
    skip_bad: bool = False

    def bad(self, kind: str, place: str, reason: str, *value: object) -> None:
        """Something that cannot be used: an error, or a drop under `skip_bad`."""
        self.problems.add(kind, place, reason, *value, severity="dropped" if self.skip_bad else "error")

    def poor(self, kind: str, place: str, reason: str, *value: object) -> None:
        """Something that is left out: a drop, or an error under `strict`."""
        self.problems.add(kind, place, reason, *value, severity="error" if self.strict else "dropped")

    def warn(self, kind: str, place: str, reason: str, *value: object) -> None:
        """Something to know."""
        self.problems.add(kind, place, reason, *value, severity="warning")


def check_document(document: Any, notes: Notes) -> Checked:
    """Check a parsed annotation file.

    Returns:
        What can be used; everything else is in `notes`.

    Raises:
        DataError: the document is not an annotation file at all.
    """
    file = notes.problems.file
    if isinstance(document, list):
        remedy = "pass it as --detections, and the ground truth here"
        raise DataError("a list of detections, this looks like a results file", file=file, remedy=remedy)
    if not isinstance(document, dict):
        raise DataError("not a COCO annotation file: expected an object", file=file, value=document)
    found = ", ".join(sorted(document)[:10]) or "none"
    for key in ("images", "categories"):
        if key not in document:
            raise DataError(f"missing key `{key}`; found keys: {found}", file=file)
    if "annotations" not in document:
        notes.warn("no-annotations", "annotations", f"missing key `annotations`; found keys: {found}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key, []), list):
            raise DataError("expected a list", file=file, place=key, value=document[key])
    if not document["images"]:
        raise DataError("`images` is empty", file=file, place="images", remedy="list the pictures there")
    checked = Checked()
    categories = _categories(document["categories"], notes)
    images = _images(document["images"], notes)
    checked.categories = sorted(categories.values(), key=lambda row: row["id"])
    checked.images = list(images.values())
    checked.annotations = _annotations(document.get("annotations", []), images, categories, notes)
    _conventions(checked.annotations, images, notes)
    check_units(checked.annotations, images, notes)
    return checked


def identifier(row: Row, key: str, place: str, notes: Notes, *, negative: bool = False) -> int | None:
    """The integer id under `key`, or None after noting why it is none."""
    value = row[key]
    place = f"{place}.{key}"
    if isinstance(value, float) and value.is_integer() and abs(value) < ID_LIMIT:
        notes.warn("float-id", place, "an id should be an integer; taken as one", value)
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        kind = {str: "string", bool: "boolean", float: "fraction", type(None): "null"}.get(type(value))
        notes.bad("bad-id", place, f"expected integer, got {kind or type(value).__name__}", value)
        return None
    if not (-ID_LIMIT if negative else 0) <= value < ID_LIMIT:
        notes.bad("bad-id", place, "an id must be at least 0 and below 2^53", value)
        return None
    return value


def _rows(
    rows: list[Any], name: str, needed: tuple[str, ...], notes: Notes, take: Callable[[Row, str], None]
) -> None:
    for index, row in enumerate(rows):
        place = f"{name}[{index}]"
        if not isinstance(row, dict):
            notes.bad("not-an-object", place, "expected an object", row)
            continue
        if name != "categories" and isinstance(row.get("id"), int):
            place += f" (id {row['id']})" if abs(row["id"]) < 10**20 else ""
        missing = [key for key in needed if key not in row]
        if missing:
            notes.bad("missing-key", place, f"lacks {', '.join(f'`{key}`' for key in missing)}")
            continue
        take(row, place)


def _categories(rows: list[Any], notes: Notes) -> dict[int, Row]:
    found: dict[int, Row] = {}
    names: dict[str, str] = {}

    def take(row: Row, place: str) -> None:
        key = identifier(row, "id", place, notes, negative=True)
        name = row["name"]
        if not isinstance(name, str):
            notes.bad("category-name", f"{place}.name", "expected a string", name)
        elif key in found:
            notes.bad(
                "duplicate-category-id", place, f"id {key} also belongs to {found[key]['name']!r}", name
            )
        elif key is not None:
            if name in names:
                reason = f"the name also belongs to {names[name]}; they stay two classes"
                notes.warn("duplicate-category-name", place, reason, name)
            names[name] = place
            found[key] = {**row, "id": key}
            check_names(found[key], place, notes)

    _rows(rows, "categories", ("id", "name"), notes, take)
    return found


def _images(rows: list[Any], notes: Notes) -> dict[int, Row]:
    found: dict[int, Row] = {}
    files: dict[str, int] = {}

    def take(row: Row, place: str) -> None:
        key = identifier(row, "id", place, notes)
        name = row["file_name"]
        size = [row["height"], row["width"]]
        if not isinstance(name, str):
            notes.bad("file-name", f"{place}.file_name", "expected a string", name)
        elif not all(_number(n) and n == int(n) and 0 < n <= 2**20 for n in size):
            notes.bad("image-size", place, "width and height must be integers from 1 to 2^20", size[::-1])
        elif key in found:
            both = f"{found[key]['file_name']!r} and {name!r}"
            notes.bad("duplicate-image-id", place, f"id {key} belongs to two files: {both}")
        elif key is not None:
            if name in files:
                reason = f"the file is also image {files[name]}; it may leak between splits"
                notes.warn("duplicate-file", place, reason, name)
            files[name] = key
            found[key] = {**row, "id": key, "height": int(size[0]), "width": int(size[1])}

    _rows(rows, "images", ("id", "file_name", "width", "height"), notes, take)
    return found


def _annotations(
    rows: list[Any], images: dict[int, Row], categories: dict[int, Row], notes: Notes
) -> list[Row]:
    found: list[Row] = []
    seen: dict[int, str] = {}
    points: dict[int, int] = {i: 3 * len(c["keypoints"]) for i, c in categories.items() if c.get("keypoints")}

    def take(row: Row, place: str) -> None:
        key = identifier(row, "id", place, notes)
        image_id = identifier(row, "image_id", place, notes)
        category_id = identifier(row, "category_id", place, notes, negative=True)
        if key is None or image_id is None or category_id is None:
            return
        if key in seen:
            notes.bad("duplicate-annotation-id", place, f"the same id as {seen[key]}; --repair renumbers")
            return
        seen[key] = place
        if image_id not in images:
            notes.bad("unknown-image", f"{place}.image_id", "no image has this id", image_id)
        elif category_id not in categories:
            notes.bad("unknown-category", f"{place}.category_id", "no category has this id", category_id)
        else:
            row = {**row, "id": key, "image_id": image_id, "category_id": category_id}
            if _object(row, place, images[image_id], points, notes):
                found.append(row)

    _rows(rows, "annotations", ("id", "image_id", "category_id", "bbox"), notes, take)
    return found


def _object(row: Row, place: str, image: Row, points: dict[int, int], notes: Notes) -> bool:
    """Check one annotation in place; False if it is left out."""
    box, size = row["bbox"], (image["height"], image["width"])
    if not isinstance(box, list) or len(box) != 4:
        notes.bad("bad-box", f"{place}.bbox", "expected 4 numbers [x, y, width, height]", box)
        return False
    for k, value in enumerate(box):
        if not _number(value):
            notes.bad("bad-box", f"{place}.bbox[{k}]", "expected a number", value)
            return False
        if not abs(value) <= COORDINATE_LIMIT:
            notes.bad("box-not-finite", f"{place}.bbox[{k}]", "not a coordinate of a picture", value)
            return False
    x, y, w, h = box
    if w < 0 or h < 0:
        notes.bad("negative-box", f"{place}.bbox", "negative width or height", box)
        return False
    if w == 0 or h == 0:
        notes.poor("zero-box", f"{place}.bbox", "a box without area", box)
        return False
    if x >= size[1] or y >= size[0] or x + w <= 0 or y + h <= 0:
        reason = f"the box lies outside its picture of {size[1]}x{size[0]}"
        notes.poor("box-outside", f"{place}.bbox", reason, box)
        return False
    if min(x, y) < -_EDGE or x + w > size[1] + _EDGE or y + h > size[0] + _EDGE:
        reason = f"the box reaches over the edge of its picture of {size[1]}x{size[0]}; clipped for training"
        notes.warn("box-over-edge", f"{place}.bbox", reason, box)
    return (
        _crowd(row, place, notes)
        and _area(row, place, notes)
        and check_segmentation(row, size, place, notes)
        and check_keypoints(row, points, size, place, notes)
    )


def _crowd(row: Row, place: str, notes: Notes) -> bool:
    if "iscrowd" not in row:
        notes.warn("iscrowd-missing", place, "no `iscrowd`; taken as 0")
    crowd = row.setdefault("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        notes.bad("bad-iscrowd", f"{place}.iscrowd", "expected 0 or 1", crowd)
        return False
    row["iscrowd"] = int(crowd)
    if "ignore" in row:
        notes.warn("ignore-key", f"{place}.ignore", "COCO evaluation overwrites `ignore` with `iscrowd`")
    return True


def _area(row: Row, place: str, notes: Notes) -> bool:
    extent = row["bbox"][2] * row["bbox"][3]
    if "area" not in row:
        notes.warn("area-missing", place, "no `area`; taken as width x height of the box")
    area = row.setdefault("area", extent)
    if not _number(area) or not math.isfinite(area) or area < 0:
        notes.bad("bad-area", f"{place}.area", "expected a number of square pixels", area)
        return False
    if area > extent * 1.01 + 1 or area == 0:
        notes.warn("area-mismatch", f"{place}.area", f"the box has {extent:.6g} square pixels", area)
    return True


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _conventions(rows: list[Row], images: dict[int, Row], notes: Notes) -> None:
    """Warn when the boxes as a whole look like another convention (J22, J23)."""
    if not rows:
        return
    exceed = corners = small = 0
    for row in rows:
        x, y, w, h = row["bbox"]
        width, height = images[row["image_id"]]["width"], images[row["image_id"]]["height"]
        exceed += x + w > width + _EDGE or y + h > height + _EDGE
        corners += x < w <= width + _EDGE and y < h <= height + _EDGE
        small += max(x, y, w, h) <= 1 < min(width, height)
    if exceed > 0.3 * len(rows) and corners > 0.9 * len(rows):
        share = f"{100 * exceed / len(rows):.0f} %"
        reason = f"{share} of boxes exceed the image when read as x,y,w,h but fit as x1,y1,x2,y2"
        notes.warn("corner-boxes", "annotations", reason)
    if small > 0.9 * len(rows):
        share = f"{100 * small / len(rows):.0f} %"
        reason = f"{share} of boxes lie within 0..1: they look normalised; COCO boxes are in pixels"
        notes.warn("normalised-boxes", "annotations", reason)
