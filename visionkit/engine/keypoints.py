"""Average precision of keypoints by OKS and pycocotools, with the tolerances of the data's skeletons.

pycocotools knows 17 points of people and no others, gives NaN points a perfect AP, and counts an object as
unlabelled because `num_keypoints` says so; here every category has its own points, and they are counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DataError
from ..vision.skeleton import GUESSED_SIGMA, Skeleton
from ..vision.skeletons import COCO_17, skeleton_from_coco
from ..weights.files import StrPath
from .cocoeval import CONSPICUOUS, GroundTruth, Truth, detections_on, run_cocoeval
from .detections import FAR, Entry, check_detections, given_detections, points_of
from .diagnosis import diagnose
from .keypoint_diagnosis import PointMeasure
from .scores import Scores

#: The ten numbers of COCO's keypoint evaluation, in pycocotools' order. AP50: OKS .5 alone; m, l: areas of
#: 32² to 96², and above; AR: recall with 20 detections per image.
NAMES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


def evaluate_keypoints(
    ground_truth: GroundTruth,
    detections: Sequence[Entry] | StrPath,
    *,
    sigmas: Sequence[float] | None = None,
    image_ids: Sequence[int] | None = None,
) -> Scores:
    """Score keypoints against ground truth with pycocotools' keypoint evaluation.

    An object of the ground truth counts where one of its points at least is labelled (v > 0); `num_keypoints`
    is counted anew. The v or confidence of a detection's points has no effect, as in COCO's rules.

    Args:
        ground_truth: a COCO annotation object; categories or annotations have `keypoints`. Left unchanged.
        detections: entries in COCO's results format: image_id, category_id, keypoints (x, y, confidence for
            each point) and score; or the file that holds them.
        sigmas: the tolerance of each point. If not given: the category's own `sigmas`, else what COCO has
            measured for points of the same name, else 0.05, which a note then says.
        image_ids: evaluate these images only; detections elsewhere are left out, and counted in a note.

    Raises:
        DataError: a key is missing, a point is not finite, or there are too few or too many; the message
            names the entry.
    """
    entries, file = given_detections(detections)
    truth, skeletons = keypoint_truth(Truth.of(ground_truth), sigmas)
    points = {category: len(skeleton) for category, skeleton in skeletons.items()}
    notes = list(check_detections(entries, truth.images, truth.categories, points=points, file=file))
    truth = replace(truth, categories={key: truth.categories[key] for key in skeletons}).only(image_ids)
    entries = detections_on(truth, entries, notes)
    notes += truth.notes_on_ignore() + _notes(truth, skeletons, entries)
    tolerances = {category: skeleton.sigmas for category, skeleton in skeletons.items()}
    found = [{**d, "keypoints": list(d["keypoints"]), "area": _area(d)} for d in entries]
    scores = run_cocoeval(truth, found, NAMES, is_labelled, notes, tolerances)
    if scores.boxes and not (scores["AP50"] or 0) > CONSPICUOUS:
        wanted = [a for a in truth.annotations if is_labelled(a)]
        measure = PointMeasure(skeletons, tolerances)
        scores = scores.noting(diagnose(truth.images, wanted, truth.categories, entries, measure))
    return scores


def is_labelled(annotation: Entry) -> bool:
    """Whether a checked annotation is one to be found."""
    return not annotation["iscrowd"] and annotation["num_keypoints"] > 0


def keypoint_truth(truth: Truth, sigmas: Sequence[float] | None = None) -> tuple[Truth, dict[int, Skeleton]]:
    """The annotations of categories that have points, checked, and these categories' skeletons.

    Annotations without `keypoints` get points that are all unlabelled; `num_keypoints` is counted anew.

    Raises:
        DataError: no category has points, or an annotation has points that cannot be.
    """
    skeletons = _skeletons(truth, sigmas)
    annotations = []
    for source in truth.annotations:
        skeleton = skeletons.get(source["category_id"])
        if skeleton is None:
            continue
        values = source.get("keypoints", [0] * (3 * len(skeleton)))
        _check(values, len(skeleton), f"annotations[{source['id'] - 1}].keypoints")
        area = source["area"]
        if not isinstance(area, int | float) or not 0 <= area < math.inf:
            place = f"annotations[{source['id'] - 1}].area"
            raise DataError("expected a number of square pixels", place=place, value=area)
        count = sum(v > 0 for v in values[2::3])
        annotations.append({**source, "keypoints": list(values), "num_keypoints": count})
    return replace(truth, annotations=annotations), skeletons


def _skeletons(truth: Truth, sigmas: Sequence[float] | None) -> dict[int, Skeleton]:
    lengths: dict[int, int] = {}
    for annotation in truth.annotations:
        if annotation.get("keypoints"):
            lengths.setdefault(annotation["category_id"], len(annotation["keypoints"]))
    found: dict[int, Skeleton] = {}
    read: list[
        tuple[list[Any], Skeleton]
    ] = []  # what the reader has to say, it says once for equal categories
    for key, category in truth.categories.items():
        if category.get("keypoints"):
            says = [category.get(name) for name in ("keypoints", "skeleton", "sigmas", "flips")]
            if says not in [said for said, _ in read]:
                read.append((says, skeleton_from_coco([category])))
            found[key] = next(skeleton for said, skeleton in read if said == says)
        elif count := lengths.get(key, 0) // 3:
            found[key] = COCO_17 if count == len(COCO_17) else _nameless(count)
    if not found:
        remedy = "is it a file of boxes? The keypoints of COCO are in person_keypoints_*.json"
        raise DataError("no category and no annotation has keypoints", place="categories", remedy=remedy)
    if sigmas is None:
        return found
    for skeleton in found.values():
        if len(sigmas) != len(skeleton) or not all(0 < s < math.inf for s in sigmas):
            reason = f"expected {len(skeleton)} positive sigmas, one for each point of {skeleton.name}"
            raise DataError(reason, value=list(sigmas))
    given = tuple(map(float, sigmas))
    return {key: replace(skeleton, sigmas=given, guessed=False) for key, skeleton in found.items()}


def _nameless(count: int) -> Skeleton:
    return Skeleton("nameless", tuple(f"point_{k}" for k in range(count)), ())


def _check(values: Any, count: int, place: str) -> None:
    if not isinstance(values, list | tuple) or len(values) != 3 * count:
        found = len(values) if isinstance(values, list | tuple) else values
        reason = f"expected {3 * count} numbers, x, y, v for each of {count} points"
        raise DataError(reason, place=place, value=found)
    for k, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < FAR:
            raise DataError("expected a finite number", place=f"{place}[{k}]", value=value)


def _area(entry: Entry) -> float:
    """The area by which a detection that meets nothing counts as medium or large, as pycocotools has it."""
    if "bbox" in entry:
        return float(entry["bbox"][2] * entry["bbox"][3])
    return float(np.prod(np.ptp(points_of(entry)[:, :2], axis=0)))


def _notes(truth: Truth, skeletons: Mapping[int, Skeleton], detections: Sequence[Entry]) -> list[str]:
    notes = []
    wanted = [a for a in truth.annotations if is_labelled(a)]
    if not wanted:
        count = len(truth.annotations)
        why = (
            f"none of {count} objects has a labelled point (v > 0)" if count else "there is no object to find"
        )
        notes.append(f"no ground truth: {why}, so nothing can be scored")
    guessed = sorted({s.name for key, s in skeletons.items() if s.guessed and key in truth.categories})
    if guessed:
        notes.append(
            f"nobody has measured the tolerances of some points of {', '.join(guessed)}: OKS takes "
            f"{GUESSED_SIGMA}; such AP compares with itself only (`sigmas` in the category says better ones)"
        )
    flat = sum(not a["area"] > 0 for a in wanted)
    if flat:
        notes.append(f"{flat} objects have an area of 0, so that their OKS is 0 wherever the points are")
    heaps = sum(not np.ptp(points_of(d)[:, :2], axis=0).any() for d in detections if len(d["keypoints"]) > 3)
    if heaps:
        notes.append(f"{heaps} of {len(detections)} detections have all their points in one place")
    return notes
