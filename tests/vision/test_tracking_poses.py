"""Trackers of poses: told apart by their points, hidden and found again, numbered."""

from dataclasses import replace

import numpy as np
import pytest

from tests.vision.moving import SIZE
from tests.vision.test_tracking import walk
from visionkit.errors import DataError, UsageError
from visionkit.vision.poses import Poses
from visionkit.vision.results import Detections
from visionkit.vision.skeletons import COCO_17, FACE_5
from visionkit.vision.tracking import Tracker


def people(*offsets, missing=(), confidence=0.9):
    """Poses of one figure at some places; `missing` points were not found."""
    figure = np.array(
        [[0, -90], [4, -94], [-4, -94], [9, -90], [-9, -90], [20, -65], [-20, -65], [28, -35], [-28, -35],
         [32, -5], [-32, -5], [13, 0], [-13, 0], [14, 42], [-14, 42], [15, 85], [-15, 85]], np.float32
    )  # fmt: skip
    xy = np.stack([figure + np.array(offset, np.float32) for offset in offsets])
    sure = np.full(xy.shape[:2], 0.9, np.float32)
    sure[:, list(missing)] = 0
    return Poses(xy, sure, np.full(len(xy), confidence, np.float32), COCO_17, SIZE)


def test_poses_are_followed_and_numbered():
    tracker = Tracker()
    for t in range(30):
        found = tracker.update(people((100 + 4 * t, 200), (400 - 4 * t, 230)))
        assert isinstance(found, Poses)
        assert found.tracker_id.tolist() == [1, 2]
    assert [one["person_id"] for one in found.to_openpose()["people"]] == [[1], [2]]
    assert found.to_csv().splitlines()[1].endswith(",1")


def test_points_come_and_go_the_person_stays():
    legs, arms = range(11, 17), range(5, 11)
    tracker = Tracker()
    frames = [(), legs, arms, (), [*legs, *arms], legs, ()]
    numbers = [
        tracker.update(people((100 + 5 * t, 200), missing=gone)).tracker_id.tolist()
        for t, gone in enumerate(frames)
    ]
    assert numbers == [[1]] * 7


def test_a_point_that_was_never_seen_counts_against_the_track():
    """Only legs so far, only a head now: nothing says that they are one person."""
    tracker = Tracker()
    for _ in range(3):
        tracker.update(people((100, 200), missing=range(11)))
    assert len(tracker.update(people((100, 200), missing=range(5, 17)))) == 0


def test_two_in_one_box_are_told_apart_by_their_points():
    """Two people embrace: equal boxes, different points. IoU sees one place, OKS two people."""

    def mirrored(found):
        return replace(found, xy=np.stack([found.xy[0], found.xy[1, list(COCO_17.flips)]]))

    one = people((200, 200), (200, 200))
    both = mirrored(one)
    np.testing.assert_array_equal(both.xyxy[0], both.xyxy[1])
    tracker = Tracker()
    for t in range(10):
        now = mirrored(people((200 + t, 200), (200 + t, 200)))
        turned = now[[1, 0]] if t % 2 else now
        assert tracker.update(turned).tracker_id.tolist() == ([2, 1] if t % 2 else [1, 2])


def test_a_hidden_person_moves_on_as_a_whole():
    """Arms that swing and legs that stride would fall apart in 15 frames of their own motion."""

    def frame(t):
        one = people((100 + 5 * t, 200))
        swing = np.zeros((17, 2), np.float32)
        swing[[9, 15], 0], swing[[10, 16], 0] = 12 * np.sin(t / 3), -12 * np.sin(t / 3)
        return replace(one, xy=one.xy + swing)

    tracker = Tracker()
    for t in range(20):
        tracker.update(frame(t))
    tracker.update(Poses.empty(SIZE, COCO_17))
    before = tracker._motion.position.reshape(17, 2)
    for _ in range(14):
        tracker.update(Poses.empty(SIZE, COCO_17))
    moved = tracker._motion.position.reshape(17, 2) - before
    np.testing.assert_allclose(moved, np.tile(moved[0], (17, 1)), atol=1e-9)
    assert moved[0] == pytest.approx([14 * 5, 0], abs=8)
    assert tracker.update(frame(35)).tracker_id.tolist() == [1]


def test_nobody_and_people_without_points():
    tracker = Tracker()
    assert len(tracker.update(Poses.empty(SIZE, COCO_17))) == 0
    for _ in range(3):
        assert len(tracker.update(people((100, 100), missing=range(17)))) == 0
    assert tracker.update(people((100, 200))).tracker_id.tolist() == []
    assert tracker.update(people((100, 200))).tracker_id.tolist() == [1]


def test_one_kind_at_a_time():
    tracker = Tracker()
    tracker.update(walk(0))
    for other in (people((9, 9)), Poses.empty(SIZE, FACE_5)):
        with pytest.raises(UsageError, match="poses of one skeleton"):
            tracker.update(other)
    tracker.reset()
    tracker.update(people((9, 9)))
    with pytest.raises(UsageError, match="reset it first"):
        tracker.update(Detections.empty(SIZE))


def test_no_points_of_a_pose_may_be_infinite():
    one = people((100, 100))
    xy = one.xy.copy()
    xy[0, 3] = np.nan
    with pytest.raises(DataError, match="row 0"):
        Tracker().update(replace(one, xy=xy))
    hidden = people((100, 100), missing=[3])
    assert len(Tracker().update(replace(hidden, xy=xy))) == 1  # a point that was not found has no place
