"""How well things were followed: CLEAR MOT and identity scores of one labelled sequence.

MOTA and MOTP as in Bernardin and Stiefelhagen (2008), with IoU for the distance; IDF1, IDP and IDR as in
Ristani et al. (2016); fragments as in Li, Huang and Nevatia (2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..vision.boxes import iou_matrix
from ..vision.matching import best_pairs
from ..vision.poses import Poses
from ..vision.results import Detections
from .scores import shown_score

Followed = Detections | Poses


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """Counts over all frames, and the scores made of them; a score is None where it would divide by 0.

    Attributes:
        frames: so many.
        boxes: true boxes.
        found: boxes with a number that were found.
        matched: pairs of the two, frame by frame; the rest are misses and false positives.
        switches: times a thing was found under another number than the last time.
        fragments: times a thing that was there, had been found and was lost, was found again.
        identified: pairs that remain where every thing has one number for the whole sequence, and every
            number one thing: as many as can be (IDTP).
        overlap: the sum of the IoU of matched pairs.
    """

    frames: int
    boxes: int
    found: int
    matched: int
    switches: int
    fragments: int
    identified: int
    overlap: float

    @property
    def misses(self) -> int:
        """True boxes that were not found."""
        return self.boxes - self.matched

    @property
    def false_positives(self) -> int:
        """Found boxes that are nothing."""
        return self.found - self.matched

    @property
    def MOTA(self) -> float | None:
        """1 - (misses + false positives + switches) / boxes: up to 1, and negative where errors abound."""
        return _ratio(self.boxes - self.misses - self.false_positives - self.switches, self.boxes)

    @property
    def MOTP(self) -> float | None:
        """The mean IoU of matched pairs."""
        return _ratio(self.overlap, self.matched)

    @property
    def IDF1(self) -> float | None:
        """2 IDTP / (boxes + found), 0..1: how much of everything has the one right number."""
        return _ratio(2 * self.identified, self.boxes + self.found)

    @property
    def IDP(self) -> float | None:
        """IDTP / found."""
        return _ratio(self.identified, self.found)

    @property
    def IDR(self) -> float | None:
        """IDTP / boxes."""
        return _ratio(self.identified, self.boxes)

    def to_dict(self) -> dict[str, Any]:
        """Scores and counts, ready for JSON."""
        scores = ("MOTA", "MOTP", "IDF1", "IDP", "IDR")
        counts = ("frames", "boxes", "found", "misses", "false_positives", "switches", "fragments")
        return {name: getattr(self, name) for name in (*scores, *counts)}

    def table(self) -> str:
        """Scores and counts as text."""
        shown = {k: v if isinstance(v, int) else shown_score(v) for k, v in self.to_dict().items()}
        return "\n".join(f"{name.replace('_', ' '):<15} {value:>8}" for name, value in shown.items())


def score_tracks(truth: Sequence[Followed], found: Sequence[Followed], iou: float = 0.5) -> TrackingScores:
    """Score a sequence by its boxes, those about the points where it is poses.

    A thing stays with the number it was last found under while their boxes fit; of the rest as many as
    possible are matched, and of the ways to do so the one with the greatest IoU is taken. Detections of
    different classes never match.

    Args:
        truth, found: what was there and what was found, frame by frame, with `tracker_id`.
        iou: boxes fit from this IoU on.

    Raises:
        UsageError: not as many frames, an IoU out of (0, 1], or no `tracker_id`.
        DataError: a number that occurs twice in a frame.
    """
    if len(truth) != len(found):
        raise UsageError("truth and found must have as many frames", value=(len(truth), len(found)))
    if not 0 < iou <= 1:
        raise UsageError("iou must be in (0, 1]", value=iou)
    last: dict[int, tuple[int, int]] = {}  # by thing: the frame and number it was last found under
    present: dict[int, int] = {}  # by thing: the last frame it was there in
    together: dict[tuple[int, int], int] = {}
    matched = switches = fragments = 0
    overlap = 0.0
    for frame, (real, shown) in enumerate(zip(truth, found, strict=True)):
        things, numbers = _ids(real, "truth", frame), _ids(shown, "found", frame)
        near = iou_matrix(real.xyxy, shown.xyxy).astype(np.float64)
        near[(near < iou) | ~_same_class(real, shown)] = 0
        for i, j in np.argwhere(near):
            pair = (things[i], numbers[j])
            together[pair] = together.get(pair, 0) + 1
        for i, j in _correspondences(near, things, numbers, last):
            thing, number = things[i], numbers[j]
            before, known = last.get(thing, (frame, number))
            switches += known != number
            fragments += before < present.get(thing, before)
            last[thing] = (frame, number)
            matched += 1
            overlap += near[i, j]
        present |= dict.fromkeys(things, frame)
    boxes, rows = sum(map(len, truth)), sum(map(len, found))
    identified = _identified(together)
    return TrackingScores(len(truth), boxes, rows, matched, switches, fragments, identified, overlap)


def _correspondences(
    near: NDArray[np.float64], things: list[int], numbers: list[int], last: dict[int, tuple[int, int]]
) -> list[tuple[int, int]]:
    """Rows and columns that go together: those of before, the latest first; then the best of the rest."""
    column = {number: j for j, number in enumerate(numbers)}
    kept: dict[int, int] = {}
    for i in sorted(range(len(things)), key=lambda i: last.get(things[i], (-1, 0))[0], reverse=True):
        j = column.get(last[things[i]][1]) if things[i] in last else None
        if j is not None and near[i, j] and j not in kept.values():
            kept[i] = j
    rest = near.copy()
    rest[list(kept)] = 0
    rest[:, list(kept.values())] = 0
    # one pair more weighs more than any IoU
    more = np.where(rest > 0, min(rest.shape) + rest, 0)
    rows, columns = best_pairs(more)
    return [*kept.items(), *zip(rows.tolist(), columns.tolist(), strict=True)]


def _identified(together: dict[tuple[int, int], int]) -> int:
    """IDTP: frames in which things meet their numbers, each thing given the number that makes them most."""
    things = {thing: i for i, thing in enumerate(dict.fromkeys(thing for thing, _ in together))}
    numbers = {number: j for j, number in enumerate(dict.fromkeys(number for _, number in together))}
    table = np.zeros((len(things), len(numbers)))
    for (thing, number), frames in together.items():
        table[things[thing], numbers[number]] = frames
    return int(table[best_pairs(table)].sum())


def _ids(one: Followed, what: str, frame: int) -> list[int]:
    if one.tracker_id is None:
        raise UsageError(f"{what} has no tracker_id", place=f"frame {frame}")
    ids: list[int] = one.tracker_id.tolist()
    if len(set(ids)) < len(ids):
        twice = next(number for number in ids if ids.count(number) > 1)
        raise DataError(f"a tracker_id of {what} occurs twice", place=f"frame {frame}", value=twice)
    return ids


def _same_class(real: Followed, shown: Followed) -> NDArray[np.bool_]:
    if isinstance(real, Detections) and isinstance(shown, Detections):
        return real.class_id[:, None] == shown.class_id
    return np.ones((len(real), len(shown)), bool)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
