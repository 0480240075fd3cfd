"""PCK, PCKh and NME of a COCO results file, for any skeleton.

These scores come from data with one person or face a picture, which is found already: every object of the
ground truth is given one detection (`point_pairs` says which), and those that are left over cost nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError, UsageError
from ..vision.skeleton import Skeleton
from ..weights.files import StrPath
from .cocoeval import GroundTruth, Truth, detections_on
from .detections import Entry, check_detections, given_detections, points_of
from .keypoints import is_labelled, keypoint_truth
from .point_errors import Errors, auc, length_of, nme, object_errors, pck, point_errors
from .point_pairs import given_objects, pair_up
from .scores import shown_score

#: By metric: the length that errors are divided by, and the threshold.
METRICS = {"pck": ("torso", 0.2), "pckh": ("head", 0.5), "nme": ("inter-ocular", 0.1)}
#: MPII's size of a head is this part of the diagonal of its box.
_HEAD = 0.6


@dataclass(frozen=True, slots=True)
class PointScores:
    """The result of `score_points`.

    Attributes:
        values: PCK (or PCKh) and AUC; or NME, AUC and FR. None where there is nothing to score.
        points: PCK or mean error by the name of the point.
        metric, reference, threshold: what was computed.
        objects: objects scored.
        missing: those among them without a detection.
        notes: what a reader should know.
    """

    values: dict[str, float | None]
    points: dict[str, float | None]
    metric: str
    reference: str
    threshold: float
    objects: int
    missing: int
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            **self.values,
            "metric": self.metric,
            "reference": self.reference,
            "threshold": self.threshold,
            "objects": self.objects,
            "missing": self.missing,
            "points": self.points,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """The numbers, the points and the notes as text."""
        lines = [" ".join(f"{name:>5}" for name in self.values)]
        lines.append(" ".join(f"{shown_score(value):>5}" for value in self.values.values()))
        lines.append(f"at {self.threshold:g} of {self.reference}, {self.objects} objects")
        width = max(map(len, self.points), default=0)
        lines += ["", *(f"{name:<{width}} {shown_score(value):>5}" for name, value in self.points.items())]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def score_points(
    ground_truth: GroundTruth,
    detections: Sequence[Entry] | StrPath,
    metric: str = "pck",
    *,
    reference: str | None = None,
    threshold: float | None = None,
    image_ids: Sequence[int] | None = None,
) -> PointScores:
    """Score keypoints by distances. Not labelled: points with v = 0.

    Args:
        ground_truth: a COCO annotation object; categories or annotations have `keypoints`. Left unchanged.
        detections: entries in COCO's results format, or the file that holds them; `annotation_id` may say
            which object an entry is about.
        metric: "pck": the share of points within the threshold; "pckh": the same, by the head; "nme": the
            mean over objects of their points' mean error, and FR, the share of objects beyond the threshold.
            AUC is the mean of PCK, or of 1 - FR, over thresholds from 0 up to the given one.
        reference: the length that errors are divided by: "torso" (left shoulder to right hip, or the other
            two), "head" (the annotation's `head_size`, or .6 of the diagonal of its `bbox_head`, or else the
            top of the head to the neck), "inter-ocular" (outer corners of the eyes), "inter-pupil" (centres
            of the eyes), "box" (square root of its area), "pixel", or two points with a comma between.
        threshold: in units of the reference. The defaults are in `METRICS`.
        image_ids: score these images only.

    Raises:
        UsageError: no such metric or threshold, or a reference that the skeleton does not have.
        DataError: a key is missing, a point is not finite, or there are too few or too many; the message
            names the entry.
    """
    if metric not in METRICS:
        raise UsageError("no such metric", value=metric, remedy=f"one of {', '.join(METRICS)}")
    reference = reference or METRICS[metric][0]
    threshold = METRICS[metric][1] if threshold is None else threshold
    if not 0 < threshold < np.inf:
        raise UsageError("a threshold must be a positive number", value=threshold)
    entries, file = given_detections(detections)
    whole = Truth.of(ground_truth)
    truth, skeletons = keypoint_truth(whole)
    points = {category: len(skeleton) for category, skeleton in skeletons.items()}
    notes = list(check_detections(entries, truth.images, truth.categories, points=points, file=file))
    numbers = {a.get("id"): k for k, a in enumerate(ground_truth.get("annotations", ()), 1)}
    truth = truth.only(image_ids)
    entries = detections_on(truth, entries, notes)
    named = given_objects(entries, numbers, whole.annotations, file)
    given = pair_up(truth.annotations, entries, named)
    errors = [
        (skeleton, _errors(wanted, given, reference, skeleton))
        for category, skeleton in skeletons.items()
        if (wanted := [a for a in truth.annotations if a["category_id"] == category and is_labelled(a)])
    ]
    return _scores(errors, metric, reference, threshold, [*notes, *_notes(errors, entries, given)])


def _errors(
    wanted: Sequence[Entry], given: Mapping[int, Entry], reference: str, skeleton: Skeleton
) -> Errors:
    truth = np.stack([points_of(a) for a in wanted])
    present = np.array([a["id"] in given for a in wanted])
    found = np.stack([points_of(given.get(a["id"], a)) for a in wanted])
    labelled = truth[..., 2] > 0
    length = _lengths(wanted, truth, labelled, reference, skeleton)
    return point_errors(found[..., :2], truth[..., :2], labelled, length, present)


def _lengths(
    wanted: Sequence[Entry], truth: Errors, labelled: Any, reference: str, skeleton: Skeleton
) -> Errors:
    if reference == "pixel":
        return np.ones(len(wanted))
    if reference == "box":
        return np.sqrt([a["bbox"][2] * a["bbox"][3] for a in wanted])
    if reference == "head":
        sizes = np.array([_head_size(a) for a in wanted])
        if not np.isnan(sizes).all():
            return sizes
    return length_of(reference, skeleton, truth[..., :2], labelled)


def _head_size(annotation: Entry) -> float:
    """What the annotation itself says of its head; NaN if nothing.

    Raises:
        DataError: what it says is no length.
    """
    place = f"annotations[{annotation['id'] - 1}]"
    try:
        if "head_size" in annotation:
            return float(annotation["head_size"])
        if "bbox_head" in annotation:
            _, _, width, height = map(float, annotation["bbox_head"])
            return _HEAD * float(np.hypot(width, height))
    except (TypeError, ValueError):
        value = annotation.get("head_size", annotation.get("bbox_head"))
        reason = "expected the size of the head in pixels, or its box x, y, width, height"
        raise DataError(reason, place=place, value=value) from None
    return np.nan


def _scores(
    errors: Sequence[tuple[Skeleton, Errors]],
    metric: str,
    reference: str,
    threshold: float,
    notes: Iterable[str],
) -> PointScores:
    flat = np.concatenate([e.ravel() for _, e in errors]) if errors else np.empty(0)
    means = np.concatenate([object_errors(e) for _, e in errors]) if errors else np.empty(0)
    scored = means[~np.isnan(means)]
    columns: dict[str, list[Errors]] = {}
    for skeleton, table in errors:
        for name, column in zip(skeleton.keypoints, table.T, strict=True):
            columns.setdefault(name, []).append(column)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    if metric == "nme":
        values = {"NME": nme(scored[:, None]), "AUC": auc(means, threshold), "FR": 1 - pck(means, threshold)}
        points = {name: nme(column[:, None]) for name, column in joined.items()}
    else:
        values = {"PCKh" if metric == "pckh" else "PCK": pck(flat, threshold), "AUC": auc(flat, threshold)}
        points = {name: pck(column, threshold) for name, column in joined.items()}
    return PointScores(
        values=_told(values), points=_told(points), metric=metric, reference=reference, threshold=threshold,
        objects=len(scored), missing=int(np.isinf(scored).sum()), notes=tuple(notes),
    )  # fmt: skip


def _told(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def _notes(
    errors: Sequence[tuple[Skeleton, Errors]], entries: Sequence[Entry], given: Mapping[int, Entry]
) -> list[str]:
    means = np.concatenate([object_errors(e) for _, e in errors]) if errors else np.empty(0)
    notes = []
    if not len(means):
        notes.append("no ground truth: no object has a labelled point (v > 0), so nothing can be scored")
    if missing := int(np.isinf(means).sum()):
        notes.append(
            f"{missing} objects have no detection: PCK, AUC and FR count them as wrong, NME leaves them out"
        )
    if lost := int(np.isnan(means).sum()):
        notes.append(
            f"{lost} objects are left out because the points of the reference are not labelled there"
        )
    if spare := len(entries) - len(given):
        notes.append(f"{spare} detections belong to no object, which costs nothing here")
    return notes
