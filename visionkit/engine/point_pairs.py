"""Which detection is about which object, where only distances are to be scored.

A detection that names its object, by `annotation_id`, is given to that. Of the others the best-scored count,
as many as the picture has objects of the category, unlabelled ones too, and the nearest are put together
first: more detections than objects cannot buy a better score.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from ..errors import DataError
from ..weights.files import StrPath
from .detections import Entry, points_of
from .diagnosis import by_image
from .keypoints import is_labelled


def given_objects(
    detections: Sequence[Entry],
    numbers: Mapping[Any, int],
    annotations: Sequence[Entry],
    file: StrPath | None,
) -> list[int | None]:
    """The number of the object that each detection names; None where it names none.

    Args:
        detections: checked entries.
        numbers: by original annotation id, its place in `annotations`, from 1.
        annotations: all of the ground truth.
        file: where the detections come from, for messages.

    Raises:
        DataError: an `annotation_id` that no annotation of this image and category has.
    """
    found: list[int | None] = []
    for index, entry in enumerate(detections):
        number = None
        if "annotation_id" in entry:
            key = entry["annotation_id"]
            number = numbers.get(key) if isinstance(key, Integral) else None
            meant = ("image_id", "category_id")
            if number is None or any(annotations[number - 1][name] != entry[name] for name in meant):
                reason = "annotation_id: no annotation of this image and category has this id"
                raise DataError(reason, file=file, place=f"[{index}].annotation_id", value=key)
        found.append(number)
    return found


def pair_up(
    annotations: Sequence[Entry], detections: Sequence[Entry], named: Sequence[int | None]
) -> dict[int, Entry]:
    """The detection of each labelled object that has one, by the object's number.

    Args:
        annotations: checked annotations, numbered by `id`.
        detections: checked entries.
        named: what `given_objects` says of each.
    """
    order = sorted(range(len(detections)), key=lambda k: -detections[k]["score"])
    given: dict[int, Entry] = {}
    for k in order:
        if (number := named[k]) is not None:
            given.setdefault(number, detections[k])
    objects, free = by_image(annotations), by_image([detections[k] for k in order if named[k] is None])
    for image, found in free.items():
        for category in {entry["category_id"] for entry in found}:
            wanted = [
                a for a in objects.get(image, ()) if a["category_id"] == category and a["id"] not in given
            ]
            best = [entry for entry in found if entry["category_id"] == category][: len(wanted)]
            given |= _nearest_first([a for a in wanted if is_labelled(a)], best)
    return given


def _nearest_first(wanted: Sequence[Entry], found: Sequence[Entry]) -> dict[int, Entry]:
    gaps = np.array([[_gap(a, entry) for entry in found] for a in wanted]).reshape(len(wanted), len(found))
    given = {}
    for _ in range(min(gaps.shape)):
        row, column = divmod(int(gaps.argmin()), len(found))
        given[int(wanted[row]["id"])] = found[column]
        gaps[row], gaps[:, column] = np.inf, np.inf
    return given


def _gap(annotation: Entry, detection: Entry) -> float:
    """The mean distance of the labelled points in pixels."""
    truth, found = points_of(annotation), points_of(detection)
    known = truth[:, 2] > 0
    return float(np.linalg.norm(truth[known, :2] - found[known, :2], axis=-1).mean())
