"""The skeletons that data sets and published networks use, and those that a COCO file brings along.

Orders are those of the files: a heat map's channel is a point's place here, a field's channels are a limb's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import DataError, UsageError
from .skeleton import Skeleton

_log = logging.getLogger("visionkit")


def _body(name: str, keypoints: str, limbs: Sequence[tuple[int, int]]) -> Skeleton:
    """A skeleton whose points are the words of a text."""
    return Skeleton(name, tuple(keypoints.split()), tuple(limbs))


COCO_17 = _body(
    "coco-17",
    """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow
    left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""",
    # COCO's own order, turned outwards where the file runs towards the trunk
    [(13, 15), (11, 13), (14, 16), (12, 14), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9),
     (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (5, 3), (6, 4)],
)  # fmt: skip

# The limbs of OpenPose's three networks stand in the order of their field channels.
OPENPOSE_18 = _body(
    "openpose-18",
    """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip
    right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear""",
    [(1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16), (1, 5), (5, 6),
     (6, 7), (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17)],
)  # fmt: skip

BODY_25 = _body(
    "body-25",
    """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip
    right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe
    left_small_toe left_heel right_big_toe right_small_toe right_heel""",
    [(1, 8), (9, 10), (10, 11), (8, 9), (8, 12), (12, 13), (13, 14), (1, 2), (2, 3), (3, 4), (2, 17), (1, 5),
     (5, 6), (6, 7), (5, 18), (1, 0), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (19, 20), (14, 21),
     (11, 22), (22, 23), (11, 24)],
)  # fmt: skip

MPI_15 = _body(
    "mpi-15",
    """head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip
    right_knee right_ankle left_hip left_knee left_ankle chest""",
    [(0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 14), (14, 8), (8, 9), (9, 10), (14, 11),
     (11, 12), (12, 13)],
)  # fmt: skip

# LSP's and Animal-Pose's files leave the trunk without limbs; here it holds the parts of one body together.
LSP_14 = _body(
    "lsp-14",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder
    left_shoulder left_elbow left_wrist neck head_top""",
    [(1, 0), (2, 1), (3, 4), (4, 5), (2, 3), (7, 6), (8, 7), (9, 10), (10, 11), (12, 8), (12, 9), (12, 13),
     (12, 2), (12, 3)],
)  # fmt: skip

ANIMAL_20 = replace(
    _body(
        "animal-20",
        """left_eye right_eye nose left_ear right_ear left_front_elbow right_front_elbow left_back_elbow
        right_back_elbow left_front_knee right_front_knee left_back_knee right_back_knee left_front_paw
        right_front_paw left_back_paw right_back_paw throat withers tailbase""",
        [(0, 1), (2, 0), (2, 1), (0, 3), (1, 4), (17, 2), (18, 19), (5, 9), (6, 10), (7, 11), (8, 12),
         (9, 13), (10, 14), (11, 15), (12, 16), (18, 17), (18, 5), (18, 6), (19, 7), (19, 8)],
    ),
    # after mmpose's figures for the same points, with ears and nose put right, which are swapped there
    sigmas=(0.025, 0.025, 0.026, 0.035, 0.035, *[0.107] * 4, *[0.087] * 4, *[0.089] * 4, 0.1, 0.1, 0.1),
    guessed=False,
)  # fmt: skip

# Faces are scored by the distance between the eyes (NME), so nobody has measured their OKS tolerances.
FACE_5 = Skeleton(
    "face-5", ("right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner"),
    ((0, 1), (2, 0), (2, 1), (2, 3), (2, 4), (3, 4)),
)  # fmt: skip


def _face(name: str, parts: Sequence[tuple[str, int, bool]], flips: Sequence[int]) -> Skeleton:
    """Landmarks along lines; a part has a name, a number of points, and may be closed to a ring."""
    names: list[str] = []
    limbs: list[tuple[int, int]] = []
    for part, count, ring in parts:
        first = len(names)
        names += [f"{part}_{i}" for i in range(count)]
        limbs += pairwise(range(first, first + count))
        if ring:
            limbs.append((first + count - 1, first))
    return Skeleton(name, tuple(names), tuple(limbs), tuple(flips))


def _turned(first: int, count: int) -> list[int]:
    """Flips of an open line across the face: its ends swap."""
    return [first + count - 1 - i for i in range(count)]


def _ring(first: int, count: int) -> list[int]:
    """Flips of a ring that begins in one corner of the mouth and has the other half way round."""
    return [first + (count // 2 - i) % count for i in range(count)]


#: The 68 points of 300-W: the jaw from the picture's left to its right, and so on downwards.
FACE_68 = _face(
    "face-68",
    [("jaw", 17, False), ("brow_a", 5, False), ("brow_b", 5, False), ("nose_bridge", 4, False),
     ("nostrils", 5, False), ("eye_a", 6, True), ("eye_b", 6, True), ("lips_outer", 12, True),
     ("lips_inner", 8, True)],
    [*_turned(0, 17), *_turned(17, 10), *range(27, 31), *_turned(31, 5), 45, 44, 43, 42, 47, 46,
     39, 38, 37, 36, 41, 40, *_ring(48, 12), *_ring(60, 8)],
)  # fmt: skip

#: The 68 without the jaw and the inner corners of the mouth.
_OF_68 = [k for k in range(17, 68) if k not in (60, 64)]
FACE_49 = Skeleton(
    "face-49",
    tuple(FACE_68.keypoints[k] for k in _OF_68),
    tuple((_OF_68.index(a), _OF_68.index(b)) for a, b in FACE_68.limbs if a in _OF_68 and b in _OF_68),
    tuple(_OF_68.index(FACE_68.flips[k]) for k in _OF_68),
)

#: HELEN's 194 points in the order of its parts; eyes and brows are taken to run as mirror images.
FACE_194 = _face(
    "face-194",
    [("jaw", 41, False), ("nose", 17, False), ("lips_outer", 28, True), ("lips_inner", 28, True),
     ("eye_a", 20, True), ("eye_b", 20, True), ("brow_a", 20, True), ("brow_b", 20, True)],
    [*_turned(0, 41), *_turned(41, 17), *_ring(58, 28), *_ring(86, 28), *range(134, 154), *range(114, 134),
     *range(174, 194), *range(154, 174)],
)  # fmt: skip

SKELETONS = {
    one.name: one
    for one in (
        COCO_17, OPENPOSE_18, BODY_25, MPI_15, LSP_14, ANIMAL_20, FACE_5, FACE_49, FACE_68, FACE_194,
    )
}  # fmt: skip


def skeleton_from_coco(categories: Sequence[Mapping[str, Any]], file: str | None = None) -> Skeleton:
    """The skeleton of a COCO key-point file.

    Limbs count from 1 as in COCO's own files, or from 0 where one of them says 0; the log says which. Left
    and right come from the names, tolerances from the names that COCO has too. A category may say more than
    COCO does: `sigmas`, a number a point, and `flips`, pairs of names. A file with the points of one of
    `SKELETONS`, and no limb that is not there, gives that one.

    Args:
        categories: the file's categories; those without `keypoints` are passed over, the others must agree.
        file: its name, for messages.

    Raises:
        DataError: no category has `keypoints`, two categories have different ones, or they make no sense.
    """
    found = [(i, one) for i, one in enumerate(categories) if one.get("keypoints")]
    if not found:
        raise DataError(
            "no category has keypoints", file=file, place="/categories", remedy="name the points there"
        )
    index, first = found[0]
    for i, one in found[1:]:
        for key in ("keypoints", "skeleton", "sigmas", "flips"):
            if one.get(key) != first.get(key):
                place = f"/categories/{i}/{key}"
                raise DataError("all categories must have the same points and limbs", file=file, place=place)
    place = f"/categories/{index}"
    names = first["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            "keypoints must be a list of names", file=file, place=f"{place}/keypoints", value=names
        )
    limbs = _limbs(first.get("skeleton") or [], len(names), file, f"{place}/skeleton")
    for known in SKELETONS.values():
        covered = {frozenset(limb) for limb in limbs} <= {frozenset(limb) for limb in known.limbs}
        if known.keypoints == tuple(names) and covered and not first.get("sigmas") and not first.get("flips"):
            return known
    try:
        return _own(str(first.get("name", "own")), tuple(names), limbs, first)
    except UsageError as error:
        raise DataError(
            error.reason, file=file, place=place, value=error.value, remedy=error.remedy
        ) from None


def _own(
    name: str, names: tuple[str, ...], limbs: tuple[tuple[int, int], ...], category: Mapping[str, Any]
) -> Skeleton:
    flips: tuple[int, ...] = ()
    if pairs := category.get("flips"):
        swapped = list(range(len(names)))
        for pair in pairs:
            if not isinstance(pair, list) or len(pair) != 2 or not set(pair) <= set(names):
                raise UsageError("flips are pairs of names of points", value=pair)
            a, b = names.index(pair[0]), names.index(pair[1])
            swapped[a], swapped[b] = b, a
        flips = tuple(swapped)
    if sigmas := category.get("sigmas"):
        if not isinstance(sigmas, list) or not all(isinstance(s, int | float) for s in sigmas):
            raise UsageError("sigmas must be a list of numbers", value=sigmas)
        return Skeleton(name, names, limbs, flips, tuple(float(s) for s in sigmas))
    return Skeleton(name, names, limbs, flips)


def _limbs(
    pairs: Sequence[Sequence[int]], count: int, file: str | None, place: str
) -> tuple[tuple[int, int], ...]:
    """The limbs of a file, from 0."""
    try:
        ends = np.asarray(pairs)
    except ValueError:
        ends = np.empty(0)
    if len(pairs) == 0:
        return ()
    if ends.ndim != 2 or ends.shape[1] != 2 or ends.dtype.kind != "i":
        raise DataError("limbs are pairs of whole numbers", file=file, place=place, value=pairs)
    base = 0 if ends.min() == 0 else 1
    if ends.min() < 0 or ends.max() >= count + base:
        value = pairs[int(((ends < base) | (ends >= count + base)).any(axis=1).argmax())]
        reason = f"limbs count from {base} and there are {count} points"
        raise DataError(reason, file=file, place=place, value=value)
    sure = base == 0 or ends.max() == count
    level = logging.INFO if sure else logging.WARNING
    _log.log(level, "%s: limbs count from %d%s", file or place, base, "" if sure else ", as in COCO's files")
    return tuple((int(a) - base, int(b) - base) for a, b in ends)
