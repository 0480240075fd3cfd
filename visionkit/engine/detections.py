"""Detections in COCO's results format, checked before pycocotools sees them.

pycocotools gives NaN boxes a perfect AP (torture finding 1), drops unknown categories without a word and
crashes on an empty list; here every entry is checked first (torture J57-J61).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.strict_json import read_json
from ..errors import DataError
from ..vision.skeletons import SKELETONS
from ..weights.files import StrPath

#: A box coordinate further out than this is taken for damage.
FAR = 1e9

Entry = Mapping[str, Any]


def read_detections(path: StrPath) -> list[Entry]:
    """The list of a COCO results file; its entries are not checked yet.

    Raises:
        FileError: it cannot be read.
        DataError: not one document of strict JSON, or not a list.
    """
    found = read_json(path).value
    if isinstance(found, dict):
        raise DataError(
            "expected a list of detections, this is an object",
            file=path,
            remedy="this looks like an annotation file; give it as --json-annotations",
        )
    if not isinstance(found, list):
        raise DataError("expected a list of detections", file=path, value=found)
    return found


def points_of(entry: Entry) -> NDArray[np.float64]:
    """(K, 3) points of an entry or annotation: x, y, and v or confidence."""
    return np.array(entry["keypoints"], np.float64).reshape(-1, 3)


def given_detections(detections: Sequence[Entry] | StrPath) -> tuple[Sequence[Entry], StrPath | None]:
    """The entries, and the file they come from if it is a file that was given."""
    if isinstance(detections, Sequence) and not isinstance(detections, str):
        return detections, None
    return read_detections(detections), detections


def check_detections(
    detections: Sequence[Entry],
    images: Iterable[int],
    categories: Iterable[int],
    *,
    points: Mapping[int, int] | None = None,
    file: StrPath | None = None,
) -> tuple[str, ...]:
    """Check every detection; the notes that come back are worth a warning but no refusal.

    Args:
        detections: entries with image_id, category_id, bbox (x, y, width, height) and score.
        images: the known image ids.
        categories: the known category ids.
        points: by category, how many keypoints an entry must have; a box is then no longer needed.
        file: where they came from, for the message.

    Raises:
        DataError: the first bad entry in full, and how many more there are of which kind.
    """
    known_images, known_categories = set(images), set(categories)
    first: DataError | None = None
    kinds: Counter[str] = Counter()
    unlikely = 0
    seen: Counter[tuple[int, int, float]] = Counter()
    for index, entry in enumerate(detections):
        problem = _problem(entry, known_images, known_categories, points)
        if problem:
            where, reason, value = problem
            kinds[reason] += 1
            first = first or DataError(reason, file=file, place=f"[{index}]{where}", value=value)
            continue
        unlikely += not 0 <= entry["score"] <= 1
        seen[entry["image_id"], entry["category_id"], entry["score"]] += 1
    if first:
        total = sum(kinds.values())
        if total > 1:
            listed = ", ".join(f"{count} x {reason}" for reason, count in kinds.most_common())
            raise DataError(
                f"{first.reason} ({total} of {len(detections)} detections are bad: {listed})",
                file=file,
                place=first.place,
                value=first.value,
            )
        raise first
    notes = []
    if unlikely:
        notes.append(f"{unlikely} scores lie outside 0..1")
    tied = sum(count for count in seen.values() if count > 1)
    if tied:
        notes.append(
            f"{tied} detections share image, class and score with another; among equals the order in the "
            "list decides, as in pycocotools"
        )
    return tuple(notes)


Found = tuple[str, str, object] | None


def _problem(entry: Any, images: set[int], categories: set[int], points: Mapping[int, int] | None) -> Found:
    """Where, why and what; None for an entry that can be scored."""
    if not isinstance(entry, Mapping):
        return "", "expected an object", entry
    for key in ("image_id", "category_id", "bbox" if points is None else "keypoints", "score"):
        if key not in entry:
            return "", f"missing key {key}", sorted(map(str, entry))
    for key, known in (("image_id", images), ("category_id", categories)):
        value = entry[key]
        if not isinstance(value, Integral) or isinstance(value, bool):
            return f".{key}", f"{key}: expected an integer", value
        if value not in known:
            return f".{key}", f"unknown {key}", value
    wrong = _bad_box(entry["bbox"]) if "bbox" in entry else None
    if points is not None:
        wrong = wrong or _bad_keypoints(entry["keypoints"], points.get(entry["category_id"], 0))
    score = entry["score"]
    if wrong:
        return wrong
    if not isinstance(score, Real) or isinstance(score, bool):
        return ".score", "score: expected a number", score
    if not math.isfinite(score):
        return ".score", "score: not finite", score
    return None


def _bad_box(box: Any) -> Found:
    if not isinstance(box, list | tuple) or len(box) != 4:
        return ".bbox", "bbox: expected four numbers", box
    if wrong := _bad_numbers("bbox", box):
        return wrong
    if min(map(float, box[2:])) < 0:
        return ".bbox", "bbox: negative width or height", box
    return None


def _bad_keypoints(values: Any, count: int) -> Found:
    if not count:
        return ".category_id", "category_id: the category has no keypoints", values
    if not isinstance(values, list | tuple):
        return ".keypoints", "keypoints: expected a list x, y, confidence, x, y, ...", values
    if len(values) != 3 * count:
        reason = (
            f"keypoints: {len(values)} numbers instead of {3 * count}, "
            f"x, y and a confidence for each of {count} points{_meant(len(values), count)}"
        )
        return ".keypoints", reason, values
    return _bad_numbers("keypoints", values)


def _meant(length: int, count: int) -> str:
    """What a list of another length may be."""
    if length == 2 * count:
        return "; are the confidences missing?"
    names = [one.name for one in SKELETONS.values() if 3 * len(one) == length]
    return f"; are they those of {' or '.join(names)}?" if names else ""


def _bad_numbers(key: str, values: Sequence[Any]) -> Found:
    for index, value in enumerate(values):
        if not isinstance(value, Real) or isinstance(value, bool):
            return f".{key}[{index}]", f"{key}: expected numbers", value
        if not math.isfinite(value) or abs(float(value)) > FAR:
            return f".{key}[{index}]", f"{key}: not a finite number of pixels", value
    return None
