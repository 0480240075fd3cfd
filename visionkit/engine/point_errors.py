"""How far points are from where they should be, relative to the object: PCK, PCKh, NME and areas of curves.

All look at the same errors: distance over a length of the object itself. PCK (Yang and Ramanan 2013) divides
by the torso, PCKh (Andriluka et al. 2014) by the head, NME by the distance of the eyes or the size of a box.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..shapes import expect
from ..vision.skeleton import Skeleton

Errors = NDArray[np.float64]

#: Lengths by name: pairs of groups of points, of which the first that is labelled counts. The length is the
#: distance between the centres of the two groups; `x_*` stands for all points of the part x.
LENGTHS = {
    "torso": (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")),
    "head": (("head_top", "neck"), ("head_top", "upper_neck")),
    "inter-ocular": (("eye_a_0", "eye_b_3"), ("left_eye_outer", "right_eye_outer")),
    "inter-pupil": (("left_eye", "right_eye"), ("eye_a_*", "eye_b_*")),
}


def point_errors(
    found: ArrayLike, truth: ArrayLike, labelled: ArrayLike, reference: ArrayLike, present: ArrayLike = True
) -> Errors:
    """Distances over a length of each object.

    Args:
        found: (N, K, 2) points.
        truth: (N, K, 2) points.
        labelled: (N, K), true where the truth is known.
        reference: (N,) or one number: the length that counts as 1, in pixels; NaN or 0 where it is unknown.
        present: (N,) or one value: false for objects that were not found.

    Returns:
        (N, K) float64: NaN where nothing can be said, infinity for objects that were not found.

    Raises:
        DataError: a point that is not finite, with its place.
    """
    wanted = np.asarray(expect(truth, "N K 2", name="truth"), np.float64)
    count, width = wanted.shape[:2]
    given = np.asarray(expect(found, "N K 2", name="found", N=count, K=width), np.float64)
    known = np.asarray(expect(labelled, "N K", name="labelled", N=count, K=width), bool)
    there = np.broadcast_to(np.asarray(present, bool), (count,))[:, None] & np.ones_like(known)
    length = np.broadcast_to(np.asarray(reference, np.float64), (count,))[:, None] * np.ones(width)
    for name, array, counts in (("found", given, there), ("truth", wanted, known)):
        wrong = np.argwhere(~np.isfinite(array) & counts[..., None])
        if len(wrong):
            place = f"{name}[{', '.join(map(str, wrong[0]))}]"
            raise DataError("a point that is not finite", place=place, value=float(array[tuple(wrong[0])]))
    usable = known & (length > 0)
    seen = usable & there
    away = np.where(usable, np.inf, np.nan)
    away[seen] = np.linalg.norm(given[seen] - wanted[seen], axis=-1) / length[seen]
    return away


def pck(errors: Errors, threshold: float) -> float:
    """The share of labelled points with an error of at most `threshold`; NaN without any."""
    known = errors[~np.isnan(errors)]
    return float((known <= threshold).mean()) if known.size else np.nan


def auc(errors: Errors, limit: float) -> float:
    """The mean of `pck` over all thresholds from 0 to `limit`, exactly; NaN without any labelled point."""
    known = errors[~np.isnan(errors)]
    return float(np.clip(1 - known / limit, 0, 1).mean()) if known.size else np.nan


def object_errors(errors: Errors) -> Errors:
    """(N,) the mean error of each object's labelled points: its NME; NaN without any."""
    known = ~np.isnan(errors)
    total = np.where(known, errors, 0).sum(1)
    return np.divide(total, known.sum(1), out=np.full(len(errors), np.nan), where=known.any(1))


def nme(errors: Errors) -> float:
    """The mean of `object_errors` over the objects that were found; NaN without any."""
    means = object_errors(errors)
    means = means[np.isfinite(means)]
    return float(means.mean()) if means.size else np.nan


def length_of(name: str, skeleton: Skeleton, truth: ArrayLike, labelled: ArrayLike) -> Errors:
    """A length of each object, in pixels.

    Args:
        name: one of `LENGTHS`, or two names of points with a comma between.
        skeleton: the points' names.
        truth: (N, K, 2) points.
        labelled: (N, K), true where the truth is known.

    Returns:
        (N,) float64, NaN where the points of the length are not labelled.

    Raises:
        UsageError: the skeleton has no such points.
    """
    count = len(skeleton)
    points = np.asarray(expect(truth, "N K 2", name="truth", K=count), np.float64)
    known = np.asarray(expect(labelled, "N K", name="labelled", N=len(points), K=count), bool)
    ends = (
        [(a.strip(), b.strip()) for a, _, b in [name.partition(",")]]
        if "," in name
        else LENGTHS.get(name, ())
    )
    pairs = [(_group(a, skeleton), _group(b, skeleton)) for a, b in ends]
    pairs = [(a, b) for a, b in pairs if a and b]
    if not pairs:
        reason = f"the points of {skeleton.name} have no length {name!r}"
        remedy = "give two of its points as reference, with a comma between"
        raise UsageError(reason, value=list(skeleton.keypoints), remedy=remedy)
    length = np.full(len(points), np.nan)
    for a, b in reversed(pairs):
        both = known[:, [*a, *b]].all(1)
        gap = np.linalg.norm(points[:, a].mean(1) - points[:, b].mean(1), axis=-1)
        length[both] = gap[both]
    return length


def _group(name: str, skeleton: Skeleton) -> list[int]:
    """The points of a name, or of all names `x_0`, `x_1` ... for `x_*`."""
    if name.endswith("_*"):
        return [k for k, point in enumerate(skeleton.keypoints) if point.rpartition("_")[0] == name[:-2]]
    return [k for k, point in enumerate(skeleton.keypoints) if point == name]
