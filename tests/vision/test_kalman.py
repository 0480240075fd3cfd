"""The filter against the textbook's matrices, and against what time and sight must do."""

import numpy as np
import pytest

from visionkit.vision.kalman import KalmanFilter


class SlowFilter:
    """One thing: x = F x, P = F P F' + Q; K = P H' (H P H' + R)^-1. State: C positions, C velocities."""

    def __init__(self, z, size):
        self.c = len(z)
        self.x = np.concatenate([z, np.zeros(self.c)])
        self.P = np.diag(np.concatenate([(size / 10) ** 2, (size / 16) ** 2]))
        self.size = size

    def predict(self, t):
        eye, zero = np.eye(self.c), np.zeros((self.c, self.c))
        F = np.block([[eye, t * eye], [zero, eye]])
        drift, acceleration = np.diag((self.size / 20) ** 2), np.diag((self.size / 160) ** 2)
        # white noise through the integral of F(s) G G' F(s)' over 0..t
        Q = np.block(
            [[drift * t + acceleration * t**3 / 3, acceleration * t**2 / 2],
             [acceleration * t**2 / 2, acceleration * t]]
        )  # fmt: skip
        self.x, self.P = F @ self.x, F @ self.P @ F.T + Q

    def correct(self, z, size):
        there = ~np.isnan(z)
        H = np.eye(2 * self.c)[: self.c][there]
        R = np.diag((size[there] / 20) ** 2)
        K = self.P @ H.T @ np.linalg.inv(H @ self.P @ H.T + R)
        self.x = self.x + K @ (z[there] - H @ self.x)
        self.P = (np.eye(2 * self.c) - K @ H) @ self.P
        self.size = size


def same(found, row, slow):
    np.testing.assert_allclose(np.concatenate([found.position[row], found.velocity[row]]), slow.x, rtol=1e-9)
    diagonals = np.diag(slow.P), np.diag(slow.P, slow.c)
    np.testing.assert_allclose(found.variance[[0, 2], row].ravel(), diagonals[0], rtol=1e-8)
    np.testing.assert_allclose(found.variance[1, row], diagonals[1], rtol=1e-8, atol=1e-12)


def test_it_is_the_textbooks_filter(rng):
    """Things come and go, some coordinates are not seen, time passes unevenly."""
    fast, slow = KalmanFilter(4), []
    for frame in range(30):
        t = float(rng.choice([1, 1, 2, 0.5]))
        fast.predict(t)
        for one in slow:
            one.predict(t)
        rows = np.flatnonzero(rng.random(len(slow)) < 0.7)
        z, size = rng.normal(100, 30, (len(rows), 4)), rng.uniform(5, 90, (len(rows), 4))
        z[rng.random(z.shape) < 0.2] = np.nan
        fast.correct(rows, z, size)
        for row, *values in zip(rows, z, size, strict=True):
            slow[row].correct(*values)
        if frame % 3 == 0:
            z, size = rng.normal(100, 30, (2, 4)), rng.uniform(5, 90, (2, 4))
            fast.add(z, size)
            slow += [SlowFilter(*values) for values in zip(z, size, strict=True)]
        if frame % 10 == 9:
            stay = rng.random(len(slow)) < 0.8
            fast.keep(stay)
            slow = [one for one, stays in zip(slow, stay, strict=True) if stays]
        assert len(fast) == len(slow)
        for row, one in enumerate(slow):
            same(fast, row, one)
    assert len(slow) > 5


@pytest.mark.parametrize("parts", [(1, 1), (0.3, 0.7, 2), (5, 0.01)])
def test_steps_of_time_add_up(rng, parts):
    """To skip frames and to see nothing in them are the same."""
    z, size = rng.normal(0, 50, (3, 4)), rng.uniform(5, 90, (3, 4))
    ways = []
    for steps in (parts, (sum(parts),)):
        one = KalmanFilter(4)
        one.add(z, size)
        for at in (z + 3, z + 7):
            one.predict(1)
            one.correct(np.arange(3), at, size)
        for step in steps:
            one.predict(step)
        ways.append(one)
    np.testing.assert_allclose(ways[0].position, ways[1].position, rtol=1e-12)
    np.testing.assert_allclose(ways[0].variance, ways[1].variance, rtol=1e-12)


def test_steady_motion_is_learned():
    """10 pixels a frame, noise of one pixel: after 20 frames the prediction is within a pixel or two."""
    rng, one = np.random.default_rng(0), KalmanFilter(1)
    one.add([[0.0]], [[40.0]])
    for frame in range(1, 40):
        one.predict(1)
        if frame > 20:
            assert abs(one.position[0, 0] - 10 * frame) < 3
        one.correct(np.array([0]), [[10 * frame + rng.normal()]], [[40.0]])
    assert abs(one.velocity[0, 0] - 10) < 1


def test_what_was_never_seen_begins_at_its_first_sight():
    one = KalmanFilter(2)
    one.add([[5.0, np.nan]], [[10.0, 10.0]])
    one.predict(3)
    assert np.isnan(one.position[0]).tolist() == [False, True]
    one.correct(np.array([0]), [[np.nan, 7.0]], [[20.0, 20.0]])
    fresh = KalmanFilter(2)
    fresh.add([[0.0, 7.0]], [[20.0, 20.0]])
    assert one.position[0].tolist() == [5.0, 7.0]
    np.testing.assert_array_equal(one.variance[:, 0, 1], fresh.variance[:, 0, 1])
    assert (one.velocity == 0).all()


def test_scale_changes_nothing(rng):
    """Twice the pixels, twice the result: no noise is counted in pixels."""
    small, large = KalmanFilter(4), KalmanFilter(4)
    z, size = rng.normal(0, 50, (3, 4)), rng.uniform(5, 90, (3, 4))
    for one, scale in ((small, 1), (large, 2)):
        one.add(z * scale, size * scale)
        for shift in (1, 4, 6):
            one.predict(1)
            one.correct(np.arange(3), (z + shift) * scale, size * scale)
    np.testing.assert_allclose(large.position, 2 * small.position)
    np.testing.assert_allclose(large.velocity, 2 * small.velocity)


def test_nothing_to_follow():
    none = KalmanFilter(4)
    none.predict(1)
    none.correct(np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4)))
    none.add(np.zeros((0, 4)), np.zeros((0, 4)))
    none.keep(np.zeros(0, bool))
    assert len(none) == 0
