"""The Kalman filter of trackers: things that go on as they went (Bewley et al. 2016, "SORT").

Position and velocity of every coordinate are a filter of their own: SORT's matrices fall apart into 2 x 2
blocks, for neither its motion nor its noise mixes coordinates. So thousands of things are a few array
operations, and a coordinate that was not seen is simply not corrected.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Standard deviations as parts of the size of the thing, as in DeepSORT (Wojke et al. 2017) and ByteTrack.
_MEASURED, _DRIFT, _ACCELERATION = 1 / 20, 1 / 20, 1 / 160
_FIRST_POSITION, _FIRST_VELOCITY = 2 * _MEASURED, 10 * _ACCELERATION


class KalmanFilter:
    """N things with C coordinates each, in float64; time is counted in frames.

    Over `t` frames, a coordinate's variance grows by drift² t and its velocity's by acceleration² t, white
    noise integrated over time: two frames in one step are the same as twice one frame.

    Attributes:
        position: (N, C); NaN where a coordinate was never seen.
        velocity: (N, C), a frame.
        size: (N, C), what noise is a part of: the sides of a box; that of the last measurement.
        variance: (3, N, C) of position, of both together, of velocity.
    """

    def __init__(self, coordinates: int) -> None:
        self.position = np.zeros((0, coordinates))
        self.velocity = np.zeros((0, coordinates))
        self.size = np.zeros((0, coordinates))
        self.variance = np.zeros((3, 0, coordinates))

    def __len__(self) -> int:
        return len(self.position)

    def add(self, measured: ArrayLike, size: ArrayLike) -> None:
        """Begin to follow M more things, at rest.

        Args:
            measured: (M, C), NaN where a coordinate was not seen.
            size: (M, C), positive.
        """
        position, given = np.asarray(measured, np.float64), np.asarray(size, np.float64)
        self.position = np.concatenate([self.position, position])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(position)])
        self.size = np.concatenate([self.size, given])
        self.variance = np.concatenate([self.variance, _first_variance(given)], axis=1)

    def keep(self, rows: NDArray[Any]) -> None:
        """Forget all but these rows, a mask or indices."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self.size, self.variance = self.size[rows], self.variance[:, rows]

    def predict(self, frames: float) -> None:
        """Let all go on for so many frames."""
        position, both, velocity = self.variance
        drift, acceleration = (_DRIFT * self.size) ** 2, (_ACCELERATION * self.size) ** 2
        t = frames
        self.position = self.position + t * self.velocity
        self.variance = np.stack(
            [
                position + 2 * t * both + t**2 * velocity + t * drift + t**3 / 3 * acceleration,
                both + t * velocity + t**2 / 2 * acceleration,
                velocity + t * acceleration,
            ]
        )

    def correct(self, rows: NDArray[np.int64], measured: ArrayLike, size: ArrayLike) -> None:
        """Take measurements of some of them; a coordinate that is seen for the first time begins at rest.

        Args:
            rows: (M,) which, each once.
            measured: (M, C), NaN where a coordinate was not seen.
            size: (M, C), positive.
        """
        seen, given = np.asarray(measured, np.float64), np.asarray(size, np.float64)
        known, there = ~np.isnan(self.position[rows]), ~np.isnan(seen)
        position, both, velocity = self.variance[:, rows]
        noise = (_MEASURED * given) ** 2
        surprise = seen - self.position[rows]
        trust = position / (position + noise)
        push = both / (position + noise)
        corrected = np.stack([noise * trust, noise * push, velocity - push * both])
        update, begin = known & there, ~known & there
        self.velocity[rows] += np.where(update, push * surprise, 0)
        moved = np.where(update, self.position[rows] + trust * surprise, self.position[rows])
        self.position[rows] = np.where(begin, seen, moved)
        variance = np.where(update, corrected, self.variance[:, rows])
        self.variance[:, rows] = np.where(begin, _first_variance(given), variance)
        self.size[rows] = given


def _first_variance(size: Floats) -> Floats:
    return np.stack([(_FIRST_POSITION * size) ** 2, np.zeros_like(size), (_FIRST_VELOCITY * size) ** 2])
