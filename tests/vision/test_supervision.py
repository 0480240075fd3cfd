"""Results pass into the objects of the package `supervision` without loss.

The facts are those of supervision 0.31.2; where the package is installed, its own objects are asked.
"""

import numpy as np
import pytest

from visionkit.vision.poses import Poses
from visionkit.vision.results import Detections
from visionkit.vision.skeletons import COCO_17

#: Fields of `supervision.Detections` and `supervision.KeyPoints`, and the kinds of number they hold.
DETECTIONS = {"xyxy": np.number, "confidence": np.floating, "class_id": np.integer, "tracker_id": np.integer}
KEY_POINTS = {
    "xy": np.float32, "keypoint_confidence": np.float32, "detection_confidence": np.float32,
    "visible": np.bool_,
}  # fmt: skip


def detections(count, followed):
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 50, (count, 2))
    return Detections(
        np.concatenate([corner, corner + 20], axis=1), rng.uniform(0, 1, count), rng.integers(0, 4, count),
        ("person", "車", "a dog"), (60, 80), np.arange(count) * 3 if followed else None,
    )  # fmt: skip


def poses(count, followed):
    rng = np.random.default_rng(count)
    sure = rng.uniform(-0.5, 1, (count, 17)).clip(0)
    return Poses(
        rng.uniform(1, 60, (count, 17, 2)), sure, rng.uniform(0, 1, count), COCO_17, (60, 80),
        np.arange(count) * 3 if followed else None,
    )  # fmt: skip


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_arguments_are_fields_of_theirs_and_hold_everything_of_ours(count, followed):
    found, given = detections(count, followed), detections(count, followed).to_supervision()
    assert set(given) == {*DETECTIONS, "data", "metadata"}
    for name, kind in DETECTIONS.items():
        ours = getattr(found, name)
        assert np.array_equal(given[name], ours) if name != "tracker_id" or followed else given[name] is None
        assert given[name] is None or np.issubdtype(given[name].dtype, kind)
    assert given["data"]["class_name"].tolist() == [one.name for one in found]
    assert given["data"]["class_name"].shape == (count,)
    assert given["metadata"] == {"names": found.names, "image_size": (60, 80)}

    someone, given = poses(count, followed), poses(count, followed).to_supervision()
    assert set(given) == {*KEY_POINTS, "data"}
    assert all(given[name].dtype == kind for name, kind in KEY_POINTS.items())
    assert np.array_equal(given["xy"], someone.xy)
    assert np.array_equal(given["keypoint_confidence"], someone.keypoint_confidence)
    assert np.array_equal(given["detection_confidence"], someone.confidence)
    assert np.array_equal(given["visible"], (someone.xy != 0).any(axis=2))
    if followed:
        assert given["data"]["tracker_id"].tolist() == [3 * n for n in range(count)]
    else:
        assert given["data"] == {}


def test_nothing_is_copied():
    found, someone = detections(3, True), poses(3, True)
    assert found.to_supervision()["xyxy"] is found.xyxy
    assert someone.to_supervision()["xy"] is someone.xy


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_their_detections(count, followed):
    sv = pytest.importorskip("supervision", reason="the package supervision is not installed")
    ours = detections(count, followed)
    theirs = sv.Detections(**ours.to_supervision())
    back = Detections(
        theirs.xyxy, theirs.confidence, theirs.class_id, theirs.metadata["names"],
        theirs.metadata["image_size"], theirs.tracker_id,
    )  # fmt: skip
    assert [*back] == [*ours]
    assert (back.names, back.image_size) == (ours.names, ours.image_size)
    assert len(theirs) == count
    assert theirs["class_name"].tolist() == [one.name for one in ours]
    chosen = theirs[theirs.confidence > 0.5]
    assert np.array_equal(chosen.xyxy, ours[ours.confidence > 0.5].xyxy)
    picture = np.zeros((60, 80, 3), np.uint8)
    sv.BoxAnnotator().annotate(picture, theirs)
    sv.LabelAnnotator().annotate(picture, theirs)
    assert picture.any() == (count > 0)
    merged = sv.Detections.merge([theirs, sv.Detections(**ours.to_supervision())])
    assert len(merged) == 2 * count


@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_their_key_points(count, followed):
    sv = pytest.importorskip("supervision", reason="the package supervision is not installed")
    ours = poses(count, followed)
    theirs = sv.KeyPoints(**ours.to_supervision())
    back = Poses(
        theirs.xy, theirs.keypoint_confidence, theirs.detection_confidence, COCO_17, (60, 80),
        theirs.data.get("tracker_id"),
    )  # fmt: skip
    assert np.array_equal(back.xy, ours.xy)
    assert np.array_equal(back.keypoint_confidence, ours.keypoint_confidence)
    assert np.array_equal(back.confidence, ours.confidence)
    assert np.array_equal(back.tracker_id, ours.tracker_id) if followed else back.tracker_id is None
    if count:
        assert np.allclose(theirs.as_detections().xyxy, ours.xyxy)
    picture = np.zeros((60, 80, 3), np.uint8)
    sv.VertexAnnotator().annotate(picture, theirs)
    sv.EdgeAnnotator(edges=[(a + 1, b + 1) for a, b in COCO_17.limbs]).annotate(picture, theirs)
    assert picture.any() == (count > 0)
