"""Following things from frame to frame: SORT's motion and ByteTrack's association in two bands.

Every track goes on as it went (`KalmanFilter`), and is given the detection that is most like where it should
be. Sure detections come first; unsure ones, which a detector would have dropped, may then go on with a track
but begin none (Zhang et al. 2022, "ByteTrack"). Boxes are compared by IoU, poses by OKS.
"""

from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .kalman import KalmanFilter
from .matching import best_pairs
from .poses import Poses
from .results import Detections
from .skeleton import Skeleton
from .tracking_measures import Measure, measure_of

Found = TypeVar("Found", bound=Detections | Poses)


class Tracker:
    """Gives the same number to the same thing in every frame.

    Numbers count from 1 in the order in which things appear and are never given again before `reset`. The
    same detections give the same numbers. A thing keeps its class.

    Args:
        high: detections at least so sure come first, and only they begin tracks.
        low: those less sure than this are left out.
        gate: a track and a sure detection belong together only where IoU or OKS is greater.
        low_gate: the same for the unsure ones.
        patience: a thing out of sight for more frames than this is forgotten.
        confirm: a thing is believed, and numbered, once seen in so many frames in a row; those in the first
            frame are believed at once.

    Raises:
        UsageError: a parameter out of its range.
    """

    def __init__(
        self,
        high: float = 0.5,
        low: float = 0.1,
        *,
        gate: float = 0.3,
        low_gate: float = 0.5,
        patience: float = 30,
        confirm: int = 2,
    ) -> None:
        if not 0 <= low <= high <= 1:
            raise UsageError("low and high must be in order in 0..1", value=(low, high))
        if not (0 <= gate <= 1 and 0 <= low_gate <= 1):
            raise UsageError("gate and low_gate must be in 0..1", value=(gate, low_gate))
        if not patience >= 0:
            raise UsageError("patience must be 0 frames or more", value=patience)
        if not confirm >= 1:
            raise UsageError("confirm must be 1 frame or more", value=confirm)
        self.high, self.low, self.gate, self.low_gate = high, low, gate, low_gate
        self.patience, self.confirm = patience, confirm
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first, and numbers count from 1."""
        self._kind: type | Skeleton | None = None
        self._motion = KalmanFilter(0)
        self._next = 1
        self._tracker_id = np.zeros(0, np.int64)  # 0: not yet believed
        self._class_id = np.zeros(0, np.int64)
        self._sightings = np.zeros(0, np.int64)
        self._unseen = np.zeros(0)  # frames since the last sighting

    def update(self, found: Found, frames: float = 1) -> Found:
        """Those that belong to a track, with their `tracker_id`; rows keep their order.

        What is too unsure, or was seen for the first time in this frame, is left out.

        Args:
            found: of one frame, the unsure ones too: a detector's confidence should be `low`.
            frames: so many passed since the last update; more than 1 where some were skipped.

        Raises:
            DataError: a coordinate or confidence that is not a finite number.
            UsageError: time that does not go on, or something else than was followed before.
        """
        if not 0 < frames < np.inf:
            raise UsageError("frames must be a positive number", value=frames)
        _check_finite(found)
        first = self._kind is None
        measure = self._begin(found)
        class_id, (seen, size) = measure.class_of(found), measure.coordinates_of(found)
        self._predict(measure, frames)
        likeness = measure.likeness(self._motion.position, found)
        likeness[self._class_id[:, None] != class_id] = 0
        owner = self._associate(likeness, found.confidence)

        met = np.flatnonzero(owner >= 0)
        self._motion.correct(owner[met], seen[met], size[met])
        self._unseen[owner[met]] = 0
        self._sightings[owner[met]] += 1
        new = np.flatnonzero((found.confidence >= self.high) & (owner < 0))
        owner[new] = len(self._motion) + np.arange(len(new))
        self._add(seen[new], size[new], class_id[new])
        self._believe(owner[owner >= 0], 1 if first else self.confirm)

        rows = np.flatnonzero(owner >= 0)
        tracker_id = self._tracker_id[owner[rows]]
        self._forget()
        return cast(Found, replace(found[rows], tracker_id=tracker_id)[tracker_id > 0])

    def _begin(self, found: Detections | Poses) -> Measure:
        """The measure of what was found, which must be what was followed before."""
        kind = found.skeleton if isinstance(found, Poses) else Detections
        measure = measure_of(found)
        if self._kind is None:
            self._kind, self._motion = kind, KalmanFilter(measure.coordinates)
        elif kind != self._kind:
            remedy = "use a tracker for each, or reset it first"
            raise UsageError("a tracker follows boxes, or poses of one skeleton", remedy=remedy)
        return measure

    def _predict(self, measure: Measure, frames: float) -> None:
        """Let all tracks go on."""
        lost, motion = self._unseen > 0, self._motion
        motion.velocity[lost] = measure.stiff(motion.position[lost], motion.velocity[lost])
        motion.predict(frames)
        self._unseen += frames

    def _associate(self, likeness: NDArray[np.float64], confidence: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,) the track of each detection, -1 for none: in three rounds, each exact (`best_pairs`)."""
        sure, believed = confidence >= self.high, self._tracker_id > 0
        unsure = ~sure & (confidence >= self.low)
        owner = np.full(len(confidence), -1)
        for tracks, rows, gate in (
            (believed, sure, self.gate),
            (believed, unsure, self.low_gate),
            (~believed, sure, self.gate),
        ):
            free = np.setdiff1d(np.flatnonzero(tracks), owner)
            left = np.flatnonzero(rows & (owner < 0))
            pairs = best_pairs(likeness[np.ix_(free, left)] - gate)
            owner[left[pairs[1]]] = free[pairs[0]]
        return owner

    def _add(self, seen: NDArray[Any], size: NDArray[Any], class_id: NDArray[np.int64]) -> None:
        self._motion.add(seen, size)
        none = np.zeros(len(seen), np.int64)
        self._tracker_id = np.concatenate([self._tracker_id, none])
        self._class_id = np.concatenate([self._class_id, class_id])
        self._sightings = np.concatenate([self._sightings, none + 1])
        self._unseen = np.concatenate([self._unseen, np.zeros(len(seen))])

    def _believe(self, tracks: NDArray[np.int64], sightings: int) -> None:
        """Number those that were seen often enough, in the order given."""
        ready = tracks[(self._tracker_id[tracks] == 0) & (self._sightings[tracks] >= sightings)]
        self._tracker_id[ready] = self._next + np.arange(len(ready))
        self._next += len(ready)

    def _forget(self) -> None:
        """Drop what was out of sight too long: at once where it was not yet believed."""
        stay = self._unseen <= np.where(self._tracker_id > 0, self.patience, 0)
        self._motion.keep(stay)
        self._tracker_id, self._class_id = self._tracker_id[stay], self._class_id[stay]
        self._sightings, self._unseen = self._sightings[stay], self._unseen[stay]


def _check_finite(found: Detections | Poses) -> None:
    numbers = found.xy if isinstance(found, Poses) else found.xyxy
    axes = tuple(range(1, numbers.ndim))
    bad = ~(np.isfinite(numbers).all(axis=axes) & np.isfinite(found.confidence))
    if bad.any():
        row = int(bad.argmax())
        value = (numbers[row].tolist(), float(found.confidence[row]))
        remedy = "leave out what is not finite before it is tracked"
        raise DataError(
            "coordinates and confidence must be finite", place=f"row {row}", value=value, remedy=remedy
        )
