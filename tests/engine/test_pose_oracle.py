"""The ceiling of pose scores: what the way through maps and back loses."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.pose_made_up import PUPPET, PoseSet, person
from visionkit.data.dataset import Record
from visionkit.engine.pose import posed
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_oracle import pose_ceiling, pose_gate
from visionkit.errors import DataError

INFO = PoseInfo("stub", PUPPET, input_size=(64, 96), stride=4)


def people(*poses, size=(64, 96)):
    """A data set of one picture with these people, everything labelled."""
    data = PoseSet(1, np.random.default_rng(0))
    points = np.concatenate([np.reshape(poses, (-1, 5, 2)), np.full((len(poses), 5, 1), 2)], 2)
    boxes = [((*p[:, :2].min(0), *p[:, :2].max(0)), 0, False) for p in points]
    data.records = (replace(Record.of(1, "1.png", None, size, boxes), keypoints=points.astype(np.float32)),)
    return data


STAR = np.array([[20, 20], [10, 30], [30, 30], [12, 45], [28, 45]])


def test_ceiling_is_one_where_nothing_is_lost():
    data = people(STAR, STAR + np.array([50, 5]))
    found = pose_ceiling(data, INFO)
    assert found.scores["AP"] == pytest.approx(1)
    assert found.scores.detections == found.boxes == 2
    assert pose_gate(data, INFO) == []


def test_points_without_a_limb_to_them_are_lost():
    """Somebody whose head is hidden falls apart: all limbs of the puppet begin there."""
    data = people(STAR, STAR + np.array([50, 5]))
    data.records[0].keypoints[0, 0] = 0
    found = pose_ceiling(data, INFO)
    assert found.scores["AR"] == pytest.approx(0.5)
    assert "AP50 50" in pose_gate(data, INFO)[0]
    data.records[0].keypoints[1, 0] = 0
    with pytest.raises(DataError, match=r"made up: training cannot succeed.*AP50 0\.0 %.*--size"):
        pose_gate(data, INFO)
    assert pose_gate(data, replace(INFO, people="one", input_size=(64, 64))) == []  # crops need no limbs


def test_people_who_are_too_small_are_lost():
    tiny = STAR / 10 + [40, 30]
    data = people(tiny, tiny + np.array([6, 0]), size=(256, 384))
    assert pose_ceiling(data, INFO).AP50 < 0.5
    with pytest.raises(DataError, match="cannot succeed"):
        pose_gate(data, INFO)


def test_crops_lose_only_what_is_outside(rng):
    data = PoseSet(6, rng, sizes=((80, 60), (50, 90)))
    one = replace(INFO, people="one", input_size=(64, 48))
    assert pose_ceiling(data, one).scores["AP"] == pytest.approx(1)
    assert pose_ceiling(data, replace(one, padding=0.5)).scores["AP"] < 0.5


def test_unlabelled_people_leave_the_ceiling_open(rng):
    data = people(STAR)
    data.records[0].keypoints[...] = 0
    (text,) = pose_gate(data, INFO)
    assert "not known" in text
    with pytest.raises(DataError, match="no labelled keypoint"):
        pose_ceiling(data, replace(INFO, people="one"))


def test_objects_that_have_no_points_are_ground(rng):
    """A car is neither somebody to find nor a region to leave out."""
    data = PoseSet(3, rng, names=("person", "car"))
    first = data.records[0]
    points, box = person(rng, first.size)
    data.records = (
        replace(
            first,
            boxes=np.array([box, box], np.float32),
            class_id=np.array([0, 1]),
            crowd=np.zeros(2, bool),
            keypoints=np.stack([points, np.zeros((5, 3))]).astype(np.float32),
        ),
        *data.records[1:],
    )
    document = data.to_coco()
    del document["categories"][1]["keypoints"]
    data.to_coco = lambda: document
    found = posed(data)
    assert [set(r.class_id) <= {0} for r in found.records] == [True] * 3
    np.testing.assert_array_equal(found.records[0].keypoints, points[None].astype(np.float32))
    assert len(data.records[0].boxes) == 2
    whole = PoseSet(3, rng)
    assert posed(whole) is whole
