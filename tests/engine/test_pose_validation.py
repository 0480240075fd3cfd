"""A pose network scored on a data set: points mapped back, categories as one, unreadable pictures."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.made_up import people
from tests.engine.pose_made_up import PUPPET, PoseSet, TwoConvs
from visionkit.engine.keypoints import evaluate_keypoints
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_validation import PoseValidation, as_one_category
from visionkit.errors import DataError, UsageError
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.poses import Poses

INFO = PoseInfo("stub", PUPPET, input_size=(64, 96), stride=4)


class Answer:
    """A codec that gives each picture its ground truth, letterboxed: a perfect network."""

    def __init__(self, dataset):
        self.dataset, self.next = dataset, 0

    def decode(self, maps, confidence, max_people, *, threshold, min_keypoints):
        found = []
        for _ in range(len(maps[0])):
            record = self.dataset.records[self.next % len(self.dataset)]
            self.next += 1
            box = Letterbox(record.size, INFO.input_size)
            (vertical, horizontal), (top, left) = box.scale, box.pad
            points = record.keypoints * [horizontal, vertical, 1] + [left, top, 0]
            sure = (points[..., 2] > 0).astype(np.float32)
            found.append(Poses(points[..., :2], sure, np.ones(len(points)), PUPPET, INFO.input_size))
        return found


@pytest.fixture
def data(rng):
    """Five pictures of three sizes, two categories that share the points."""
    return PoseSet(5, rng, sizes=((80, 60), (50, 90), (64, 96)), names=("cat", "dog"))


def test_validation_maps_points_back(data):
    validation = PoseValidation(data, INFO, batch=2)
    validation.codec = Answer(data)
    network = TwoConvs(INFO.channels).train()
    scores = validation.scores(network)
    assert scores["AP"] == pytest.approx(1)
    assert scores["AR"] == pytest.approx(1)
    assert (scores.images, scores.boxes) == (5, sum(len(r.boxes) for r in data.records))
    assert [c.name for c in scores.classes] == ["cat or dog"]
    assert network.training
    validation.codec = Answer(data)
    entries = validation.detect(network)
    assert {e["image_id"] for e in entries} == set(data.image_ids)
    by_image = [e["keypoints"] for e in entries if e["image_id"] == data.image_ids[3]]
    wanted = data.records[3].keypoints
    for found, points in zip(by_image, wanted, strict=True):
        table = np.reshape(found, (-1, 3))
        np.testing.assert_allclose(table[:, :2], points[:, :2] * (points[:, 2:] > 0), atol=1e-3)


def test_scores_are_those_of_the_evaluator(data):
    """An untrained network: whatever it finds is scored as a file of the same entries would be."""
    validation = PoseValidation(data, INFO, threshold=0.01)
    network = TwoConvs(INFO.channels)
    entries = validation.detect(network)
    assert entries
    merged = as_one_category(data.to_coco())
    assert validation(network) == evaluate_keypoints(merged, entries, sigmas=PUPPET.sigmas).values


def test_pictures_that_cannot_be_read(data):
    network = TwoConvs(INFO.channels)
    whole = PoseValidation(data.part([0, 1, 3]), INFO, threshold=0.01).scores(network)
    data.damaged = {data.files[2], data.files[4]}
    left = PoseValidation(data, INFO, threshold=0.01, skip_bad=True)
    for _ in range(2):  # the second time from memory
        found = left.scores(network)
        assert found.values == whole.values
        assert (found.images, found.boxes) == (whole.images, whole.boxes)
        assert "cannot be read: 2" in found.notes[-1]
    with pytest.raises(DataError, match="damaged"):
        PoseValidation(data, INFO).scores(network)
    with pytest.raises(DataError, match="no picture is left"):
        PoseValidation(data.part([]), INFO)


def test_categories_with_points_are_one(rng):
    truth, _ = people(rng, skeletons=(PUPPET, PUPPET))
    boxes = {"id": 77, "name": "car"}
    row = {**truth["annotations"][0], "category_id": 77, "id": 999}
    truth["categories"].append(boxes)
    truth["annotations"].append(row)
    merged = as_one_category(truth)
    assert [c["id"] for c in merged["categories"]] == [5]
    assert len(merged["annotations"]) == len(truth["annotations"]) - 1
    assert {a["category_id"] for a in merged["annotations"]} == {5}
    assert truth["annotations"][-1]["category_id"] == 77  # what was given is as it was
    with pytest.raises(DataError, match="person_keypoints"):
        as_one_category({"images": [], "annotations": [], "categories": [boxes]})


def test_networks_of_one_person_see_crops(data):
    with pytest.raises(UsageError, match="crops"):
        PoseValidation(data, replace(INFO, people="one"))
