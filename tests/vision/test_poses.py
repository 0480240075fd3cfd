"""Poses as users hold them."""

import csv
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionkit.errors import ShapeError
from visionkit.vision.poses import Pose, Poses
from visionkit.vision.skeletons import COCO_17, FACE_5, OPENPOSE_18

SIZE = (48, 64)


def some(rng, count=3, skeleton=FACE_5, tracked=False):
    points = len(skeleton)
    sure = rng.uniform(0.1, 1, (count, points)) * (rng.random((count, points)) < 0.8)
    return Poses(
        rng.uniform(1, 40, (count, points, 2)), sure, rng.random(count), skeleton, SIZE,
        np.arange(7, 7 + count) if tracked else None,
    )  # fmt: skip


def test_fields_and_rows(rng):
    three = some(rng, tracked=True)
    assert len(three) == 3
    assert {three.xy.dtype, three.keypoint_confidence.dtype, three.confidence.dtype} == {np.dtype(np.float32)}
    assert not three.xy[three.keypoint_confidence == 0].any()
    rows = list(three)
    assert isinstance(rows[1], Pose)
    np.testing.assert_array_equal(rows[1].xy, three.xy[1])
    assert rows[1].confidence == float(three.confidence[1])
    assert [row.tracker_id for row in rows] == [7, 8, 9]
    assert next(iter(some(rng))).tracker_id is None
    assert repr(three).startswith("Poses(3 face-5 in 48x64: ")
    assert repr(some(rng, 9)).endswith("...)")


@pytest.mark.parametrize(
    ("index", "kept"),
    [(0, [7]), (-1, [9]), (np.int64(1), [8]), (slice(1, None), [8, 9]), ([2, 0], [9, 7]),
     ([True, False, True], [7, 9]), (np.zeros(3, bool), []), ([], [])],
)  # fmt: skip
def test_rows_are_chosen_like_those_of_an_array(rng, index, kept):
    three = some(rng, tracked=True)
    chosen = three[index]
    assert chosen.tracker_id.tolist() == kept
    np.testing.assert_array_equal(chosen.xy, three.xy[np.array(kept, int) - 7])
    assert chosen.skeleton is FACE_5


def test_wrong_lengths_are_refused(rng):
    three = some(rng)
    for wrong in ([True, False], [[0]], np.zeros((3, 1), bool)):
        with pytest.raises(ShapeError, match="does not fit 3 poses"):
            three[wrong]
    with pytest.raises(IndexError):
        three[3]
    for field, value in (("xy", np.zeros((3, 4, 2))), ("keypoint_confidence", np.zeros((2, 5))),
                         ("confidence", np.zeros(2)), ("tracker_id", np.zeros(4, int))):  # fmt: skip
        given = {
            name: getattr(three, name) for name in ("xy", "keypoint_confidence", "confidence", "tracker_id")
        }
        with pytest.raises(ShapeError, match=field):
            Poses(**given | {field: value}, skeleton=FACE_5, image_size=SIZE)


def test_nobody_is_an_empty_poses():
    nobody = Poses.empty(SIZE, COCO_17)
    assert len(nobody) == 0
    assert nobody.xy.shape == (0, 17, 2)
    assert nobody.xyxy.shape == (0, 4)
    assert list(nobody) == nobody.to_coco(1) == nobody.to_openpose()["people"] == []
    assert repr(nobody) == "Poses(0 coco-17 in 48x64)"
    assert len(nobody.convert(OPENPOSE_18).moved((2, 2), (0, 0), SIZE).above(0.5)) == 0
    assert nobody.to_csv().count("\n") == 1


def test_above_moved_and_boxes(rng):
    five = some(rng, 5)
    assert (five.above(0.5).confidence >= 0.5).all()
    assert len(five.above(0.5)) == (five.confidence >= 0.5).sum()
    there = five.keypoint_confidence > 0
    moved = five.moved((2, 3), (10, -1), (100, 200))
    np.testing.assert_allclose(moved.xy[there], (five.xy * [2, 3] + [10, -1])[there], rtol=1e-6)
    assert not moved.xy[~there].any()
    assert moved.image_size == (100, 200)
    for box, points, found in zip(five.xyxy, five.xy, there, strict=True):
        np.testing.assert_array_equal(box, [*points[found].min(axis=0), *points[found].max(axis=0)])
    unseen = Poses(np.ones((1, 5, 2)), np.zeros((1, 5)), [0.5], FACE_5, SIZE)
    assert unseen.xyxy.tolist() == [[0, 0, 0, 0]]


def test_another_skeleton(rng):
    people = some(rng, 4, COCO_17, tracked=True)
    there = people.convert(OPENPOSE_18)
    assert there.skeleton is OPENPOSE_18
    np.testing.assert_array_equal(there.xy[:, 0], people.xy[:, 0])
    assert there.tracker_id.tolist() == people.tracker_id.tolist()


def test_openposes_json(rng):
    """OpenPose 1.3: these keys, x y c in a row, 0 0 0 for a missing point, -1 without tracking."""
    people = some(rng, 2, OPENPOSE_18, tracked=True)
    frame = json.loads(json.dumps(people.to_openpose()))
    assert frame["version"] == 1.3
    assert set(frame) == {"version", "people"}
    for n, one in enumerate(frame["people"]):
        assert set(one) == {
            "person_id", "pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d",
            "hand_right_keypoints_2d", "pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d",
            "hand_right_keypoints_3d",
        }  # fmt: skip
        rows = np.array(one["pose_keypoints_2d"]).reshape(18, 3)
        np.testing.assert_array_equal(rows[:, :2], people.xy[n])
        np.testing.assert_array_equal(rows[:, 2], people.keypoint_confidence[n])
        assert not rows[rows[:, 2] == 0].any()
        assert one["person_id"] == [7 + n]
        assert one["face_keypoints_2d"] == one["pose_keypoints_3d"] == []
    assert [one["person_id"] for one in some(rng, 2).to_openpose()["people"]] == [[-1], [-1]]


def test_cocos_records_are_scored_by_pycocotools(rng):
    """Perfect poses have a perfect AP: order, ids and layout are what COCO's own program reads."""
    people = some(rng, 3, COCO_17)
    people = Poses(people.xy, np.ones((3, 17)), people.confidence, COCO_17, SIZE)
    records = json.loads(json.dumps(people.to_coco(42, category_id=5)))
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 42, "height": 48, "width": 64}], "categories": [{"id": 5, "name": "person"}],
        "annotations": [
            {"id": n + 1, "image_id": 42, "category_id": 5, "iscrowd": 0, "num_keypoints": 17, "area": 1500.0,
             "bbox": [0, 0, 40, 40], "keypoints": np.c_[xy, np.full(17, 2)].ravel().tolist()}
            for n, xy in enumerate(people.xy.astype(float))
        ],
    }  # fmt: skip
    truth.createIndex()
    score = COCOeval(truth, truth.loadRes(records), "keypoints")
    score.evaluate()
    score.accumulate()
    score.summarize()
    assert score.stats[0] == pytest.approx(1)
    gone = Poses(people.xy, np.zeros((3, 17)), people.confidence, COCO_17, SIZE).to_coco(42)
    assert gone[0]["keypoints"] == [0] * 51


def test_csv(rng):
    two = some(rng, 2, tracked=True)
    rows = list(csv.DictReader(io.StringIO(two.to_csv())))
    assert len(rows) == (two.keypoint_confidence > 0).sum()
    first = rows[0]
    n, k = int(first["pose"]), FACE_5.keypoints.index(first["keypoint"])
    assert float(first["x"]) == pytest.approx(two.xy[n, k, 0], abs=0.006)
    assert float(first["keypoint_confidence"]) == pytest.approx(two.keypoint_confidence[n, k], abs=1e-4)
    assert first["tracker_id"] == "7"
