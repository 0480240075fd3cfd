"""Keypoints of COCO annotations: as many as the category names, finite, and labelled as they look."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .coco_check import Notes

_EDGE = 1.0  # pixels: published files overshoot by rounding
_FAR = 1e7  # pixels: no picture is larger


def check_names(category: dict[str, Any], place: str, notes: "Notes") -> None:
    """Check what a category says of its points, in place: what is no list is taken out."""
    names = category.get("keypoints")
    if names is None:
        return
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        notes.bad("bad-keypoint-names", f"{place}.keypoints", "expected a list of names", names)
        del category["keypoints"]
    for key in ("skeleton", "sigmas", "flips"):
        if not isinstance(category.get(key, []), list):
            notes.bad(f"bad-{key}", f"{place}.{key}", "expected a list", category[key])
            del category[key]


def check_keypoints(
    row: dict[str, Any], points: dict[int, int], size: tuple[int, int], place: str, notes: "Notes"
) -> bool:
    """Check `keypoints` and set `num_keypoints`; False if they cannot be used.

    Args:
        row: the annotation.
        points: category id -> length of the list; a category without names takes its first object's.
        size: (height, width) of the picture.
        place: of the annotation, for messages.
        notes: where findings go.
    """
    if "keypoints" not in row:
        return True
    values, at = row["keypoints"], f"{place}.keypoints"
    if not isinstance(values, list):
        notes.bad("bad-keypoints", at, "expected a list x, y, v, x, y, v, ...", values)
        return False
    category = row["category_id"]
    if category not in points and values and len(values) % 3 == 0:
        points[category] = len(values)
    expected = points.get(category, 51)
    if len(values) != expected:
        reason = f"{len(values)} numbers instead of {expected} (3 for each of {expected // 3} points)"
        notes.bad("keypoints-length", at, reason)
        return False
    for k, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            notes.bad("bad-keypoints", f"{at}[{k}]", "expected a number", value)
            return False
        if k % 3 == 2 and not (isinstance(value, int) and 0 <= value <= 2):
            notes.bad("keypoint-visibility", f"{at}[{k}]", "visibility must be 0, 1 or 2", value)
            return False
        if abs(value) > _FAR:
            notes.bad("keypoint-range", f"{at}[{k}]", "not a coordinate of a picture", value)
            return False
    _doubts(values, size, at, notes)
    count = sum(v > 0 for v in values[2::3])
    if row.get("num_keypoints") != count:
        found = row.get("num_keypoints", "nothing")
        reason = f"{count} points are labelled; num_keypoints is corrected"
        notes.warn("num-keypoints", f"{place}.num_keypoints", reason, found)
        row["num_keypoints"] = count
    return True


def _doubts(values: list[float], size: tuple[int, int], at: str, notes: "Notes") -> None:
    """Warn, once an object and kind, where label and place do not go together."""
    height, width = size
    seen = set()
    for k in range(0, len(values), 3):
        x, y, v = values[k : k + 3]
        if v and not (-_EDGE <= x <= width + _EDGE and -_EDGE <= y <= height + _EDGE):
            kind, reason = "keypoint-outside", f"a labelled point outside its picture of {width}x{height}"
        elif v and x == y == 0:
            kind, reason = "keypoint-at-origin", "a point labelled at 0, 0: should v be 0?"
        elif not v and (x or y):
            kind, reason = "keypoint-unlabelled", "a point with a place and v = 0; it does not count"
        else:
            continue
        if kind not in seen:
            notes.warn(kind, f"{at}[{k}]", reason, [x, y, v])
            seen.add(kind)


def check_units(rows: Sequence[dict[str, Any]], images: Mapping[int, dict[str, Any]], notes: "Notes") -> None:
    """Warn when the points as a whole look like other units: 0..1, or relative to the box."""
    small = off = total = 0
    for row in rows:
        if not row.get("num_keypoints"):
            continue
        points = as_points(row)
        at = points[points[:, 2] > 0, :2]
        x, y, w, h = row["bbox"]
        image = images[row["image_id"]]
        total += len(at)
        small += int(((at >= 0) & (at <= 1)).all(1).sum()) if min(image["width"], image["height"]) > 1 else 0
        off += int(((at < [x - w / 2, y - h / 2]) | (at > [x + 1.5 * w, y + 1.5 * h])).any(1).sum())
    if total and small > 0.9 * total:
        share = f"{100 * small / total:.0f} %"
        reason = f"{share} of points lie within 0..1: they look normalised; COCO's are in pixels"
        notes.warn("normalised-keypoints", "annotations", reason)
    elif off > 0.3 * total:
        share = f"{100 * off / total:.0f} %"
        reason = f"{share} of points lie far from their box: are they relative to it, or of another size?"
        notes.warn("keypoints-off-box", "annotations", reason)


def as_points(row: Mapping[str, Any], count: int = 0) -> NDArray[np.float64]:
    """(K, 3) x, y, v of a checked annotation; `count` unlabelled points where it has none."""
    return np.array(row.get("keypoints", [0] * (3 * count)), np.float64).reshape(-1, 3)
