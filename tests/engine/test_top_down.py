"""A detector and a network for one person: each crop is that person, and the points are brought back."""

import numpy as np
import pytest

from tests.engine.sticks import Boxes, Seeing, info, paint, stick
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.engine.top_down import TopDown
from visionkit.errors import UsageError

SIZE = (600, 900)
#: So far from each other that none is in the crop of another; two touch the border.
STICKS = np.array([stick(40, 50, 100), stick(400, 150, 180), stick(5, 592, 150), stick(790, 8, 100)])


def around(sticks, room=12):
    """Boxes about sticks, cut at the picture's borders as a detector's are."""
    boxes = np.array([[*(s.min(axis=0) - room), *(s.max(axis=0) + room)] for s in sticks])
    return np.clip(boxes, 0, [SIZE[1], SIZE[0]] * 2)


def pair(boxes, sure, class_id=None, max_people=100, size=(128, 192), **options):
    pose = PosePredictor(Seeing(False), info("one", size), **options)
    return TopDown(Boxes(boxes, sure, class_id), pose, max_people=max_people)


@pytest.mark.parametrize("size", [(128, 192), (256, 256), (192, 96)])
def test_every_box_gives_the_pose_inside_it(size):
    confidence = [0.9, 0.8, 0.7, 0.6]
    picture = paint(SIZE, STICKS, 5)
    before = picture.copy()
    found = pair(around(STICKS), confidence, size=size)(picture)
    assert (picture == before).all()
    assert found.image_size == SIZE
    assert len(found) == 4
    gaps = np.abs(found.xy[:, None] - STICKS[None]).max(axis=(2, 3))
    assert sorted(gaps.argmin(axis=0)) == [0, 1, 2, 3]
    assert gaps.min(axis=0).max() < 1.5
    assert (np.diff(found.confidence) <= 0).all()
    for n, box in zip(gaps.argmin(axis=0), confidence, strict=True):
        assert found.confidence[n] == pytest.approx(box * found.keypoint_confidence[n].mean(), rel=1e-6)


def test_only_boxes_of_the_networks_own_categories_count():
    found = pair(around(STICKS), [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])(paint(SIZE, STICKS, 5))
    assert len(found) == 2
    others = Boxes([], [])
    others.names = ("chair", "dog")
    with pytest.raises(UsageError, match="stick"):
        TopDown(others, PosePredictor(Seeing(False), info("one")))
    with pytest.raises(UsageError, match="by itself"):
        TopDown(Boxes(np.zeros((0, 4)), []), PosePredictor(Seeing(), info()))
    with pytest.raises(UsageError, match="max_people"):
        pair([], [], max_people=0)


def test_the_surest_boxes_where_there_are_too_many():
    found = pair(around(STICKS), [0.9, 0.8, 0.7, 0.6], max_people=2)(paint(SIZE, STICKS, 5))
    assert {tuple(row.round(-1)) for row in found.xy[:, 0]} == {(40, 50), (400, 150)}


def test_nothing_where_there_is_no_box_and_nothing_in_an_empty_box():
    picture = paint(SIZE, STICKS[:1], 5)
    assert len(pair([], [])(picture)) == 0
    empty = pair([[200, 100, 300, 200]], [0.9])
    assert len(empty(picture)) == 0
    assert empty(picture).image_size == SIZE
    poses, maps = pair(around(STICKS[:1]), [0.9]).look(picture)
    assert len(poses) == len(maps) == 1


@pytest.mark.parametrize(
    "box",
    [[10, 10, 10, 10], [-50, -50, 5, 5], [890, 590, 2000, 2000], [0, 0, 900, 0.5], [-1e6, -1e6, 1e6, 1e6]],
)
def test_boxes_of_any_shape_and_place(box):
    found = pair([box], [0.9])(paint(SIZE, STICKS, 5))
    assert np.isfinite(found.xy).all()
    assert (found.xy >= 0).all()
    assert (found.xy <= [SIZE[1], SIZE[0]]).all()


def test_confidence_is_that_of_the_whole():
    boxes, picture = around(STICKS[:2]), paint(SIZE, STICKS[:2], 5)
    assert len(pair(boxes, [0.9, 0.3], confidence=0.5)(picture)) == 1
    assert len(pair(boxes, [0.9, 0.3], confidence=0.5)(picture, 0.1)) == 2
    assert len(pair(boxes, [0.9, 0.5], flip=True)(picture)) == 2


@pytest.mark.parametrize(("size", "expected"), [((96, 64), (96, 64)), (96, (96, 96)), ((-1, 64), (64, 64))])
def test_crops_have_the_size_that_is_asked_for(size, expected):
    pose = PosePredictor(Seeing(False), info("one", (256, 256)), size=size)
    picture = paint(SIZE, STICKS, 8)
    found, seen = TopDown(Boxes(around(STICKS[1:2]), [0.9]), pose).look(picture)
    assert seen[0].maps[0].shape[1:3] == (expected[0] // 4, expected[1] // 4)
    assert np.abs(found.xy[0] - STICKS[1]).max() < 4


def test_frames_of_a_stream():
    picture = paint(SIZE, STICKS[:1], 5)
    frames = list(pair(around(STICKS[:1]), [0.9]).stream([picture, picture]))
    assert [len(found) for _, found in frames] == [1, 1]
