"""What a tracker measures of boxes and of poses, and how like two of them are."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .boxes import cxcywh_to_xyxy, iou_matrix, xyxy_to_cxcywh
from .oks import oks_matrix
from .poses import Poses
from .results import Detections
from .skeleton import Skeleton

Floats = NDArray[np.float64]


class Measure(Protocol):
    """Coordinates of what was found, for a Kalman filter, and the likeness of tracks to it."""

    coordinates: int

    def coordinates_of(self, found: Any) -> tuple[Floats, Floats]:
        """(N, C) coordinates, NaN where one was not seen, and (N, C) sizes that their noise is part of."""

    def class_of(self, found: Any) -> NDArray[np.int64]:
        """(N,) classes: those of different classes are never one thing."""

    def likeness(self, position: Floats, found: Any) -> Floats:
        """(T, N) in 0..1 of tracks at a `position` (T, C) and what was found."""

    def stiff(self, position: Floats, velocity: Floats) -> Floats:
        """The (T, C) velocities with which things out of sight go on: without changing their form."""


class BoxMeasure:
    """Centre, width and height; IoU."""

    coordinates = 4

    def coordinates_of(self, found: Detections) -> tuple[Floats, Floats]:
        """As `Measure`; noise goes by width and height (Aharon et al. 2022, "BoT-SORT")."""
        boxes = xyxy_to_cxcywh(found.xyxy).astype(np.float64)
        return boxes, np.maximum(boxes[:, [2, 3, 2, 3]], 1.0)

    def class_of(self, found: Detections) -> NDArray[np.int64]:
        """The detections' own."""
        return found.class_id

    def likeness(self, position: Floats, found: Detections) -> Floats:
        """IoU."""
        return iou_matrix(cxcywh_to_xyxy(position), found.xyxy).astype(np.float64)

    def stiff(self, position: Floats, velocity: Floats) -> Floats:
        """The box moves on and keeps its size."""
        return velocity * np.array([1.0, 1.0, 0.0, 0.0])


class PoseMeasure:
    """The key-points of one skeleton; OKS."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.coordinates = 2 * len(skeleton)

    def coordinates_of(self, found: Poses) -> tuple[Floats, Floats]:
        """As `Measure`; noise goes by the longer side of the box about the points."""
        there = found.keypoint_confidence > 0
        points = np.where(there[..., None], found.xy, np.nan).astype(np.float64)
        size = np.maximum(_side(found), 1.0)
        return points.reshape(-1, self.coordinates), np.repeat(size[:, None], self.coordinates, axis=1)

    def class_of(self, found: Poses) -> NDArray[np.int64]:
        """All of one class."""
        return np.zeros(len(found), np.int64)

    def likeness(self, position: Floats, found: Poses) -> Floats:
        """OKS over the points that were found now; one that the track never had counts as far away.

        The area is half the square on the longer side, of the one or the other that is larger: the box of a
        half-hidden person says little.
        """
        # read from the found ones to the tracks: points that are missing now say nothing against a track
        there, side, sigmas = found.keypoint_confidence > 0, _side(found), self.skeleton.sigmas
        likeness = np.zeros((len(position), len(found)))
        for row, points in zip(likeness, position.reshape(-1, len(self.skeleton), 2), strict=True):
            known = points[~np.isnan(points[:, 0])]
            area = np.maximum(side, np.ptp(known, axis=0).max() if len(known) else 0) ** 2 / 2
            ahead = np.where(np.isnan(points), np.inf, points)
            row[:] = oks_matrix(found.xy, there, area, ahead[None], sigmas)[:, 0]
        return likeness

    def stiff(self, position: Floats, velocity: Floats) -> Floats:
        """All points move on together, with the mean velocity of those that were ever seen."""
        known = ~np.isnan(position).reshape(-1, len(self.skeleton), 2)
        pace = (velocity.reshape(known.shape) * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return np.tile(pace, len(self.skeleton))


def measure_of(found: Detections | Poses) -> Measure:
    """How to measure what was found."""
    return PoseMeasure(found.skeleton) if isinstance(found, Poses) else BoxMeasure()


def _side(found: Poses) -> Floats:
    box = found.xyxy.astype(np.float64)
    return (box[:, 2:] - box[:, :2]).max(axis=1)
