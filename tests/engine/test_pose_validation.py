"""A pose network scored on a data set: points mapped back, categories as one, unreadable pictures."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.made_up import people
from tests.engine.pose_made_up import PUPPET, PoseSet, TwoConvs
from visionkit.data.dataset import Record
from visionkit.engine.keypoints import evaluate_keypoints
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.engine.pose_validation import CropValidation, PoseValidation, as_one_category, pose_validation
from visionkit.errors import DataError, UsageError
from visionkit.vision.affine import move_keypoints
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.poses import Poses
from visionkit.vision.skeleton import Skeleton

INFO = PoseInfo("stub", PUPPET, input_size=(64, 96), stride=4)


class Answer:
    """A codec that gives each picture its ground truth, letterboxed: a perfect network."""

    def __init__(self, dataset):
        self.dataset, self.next = dataset, 0

    def decode(self, maps, confidence, max_people, *, threshold, min_keypoints, complete):
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


@pytest.mark.parametrize("people", ["many", "one"])
def test_flipping_is_what_the_predictor_does(data, people):
    info = replace(INFO, people=people)
    validation = pose_validation(data, info, flip=True)
    network = TwoConvs(info.channels)
    predictor = PosePredictor(network, info, flip=True)
    placed = [(index, validation.matrix(index)) for index in range(validation.count)]
    maps = [predictor.forward(validation.read(index)[0]) for index, _ in placed]
    whole = tuple(np.concatenate(parts) for parts in zip(*maps, strict=True))
    wanted = validation.found(whole, placed)
    found = validation.detect(network)
    assert found
    assert [e["image_id"] for e in found] == [e["image_id"] for e in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=1e-2)
    assert found != pose_validation(data, info).detect(network)
    assert validation.on(data.part([0]), skip_bad=False).flip


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
    assert "skeleton" not in merged["categories"][0]
    assert truth["annotations"][-1]["category_id"] == 77  # what was given is as it was
    with pytest.raises(DataError, match="person_keypoints"):
        as_one_category({"images": [], "annotations": [], "categories": [boxes]})


def test_other_points_are_refused(data):
    other = replace(PUPPET, keypoints=("head", "left_paw", "right_paw", "left_foot", "right_foot"))
    with pytest.raises(DataError, match=r"other points.*left_hand.*left_paw"):
        PoseValidation(data, replace(INFO, skeleton=other))


ONE = replace(INFO, people="one", input_size=(64, 48))


def labelled(data):
    """(image id, points) of everybody who has a labelled point."""
    return [
        (record.image_id, pose)
        for record in data.records
        for pose in record.keypoints
        if (pose[:, 2] > 0).any()
    ]


class Crops:
    """A codec that gives every crop the points of its person."""

    def __init__(self, validation):
        self.validation, self.next = validation, 0

    def decode(self, maps, threshold):
        found = []
        for _ in range(len(maps[0])):
            index = self.next % self.validation.count
            self.next += 1
            points = move_keypoints(
                self.validation.matrix(index), self.validation.items.records[index].keypoints
            )
            sure = (points[..., 2] > 0).astype(np.float32)
            found.append(Poses(points[..., :2], sure, np.ones(1), PUPPET, ONE.input_size))
        return found


def test_networks_of_one_person_see_crops(data):
    validation = pose_validation(data, ONE)
    assert isinstance(validation, CropValidation)
    validation.codec = Crops(validation)
    network = TwoConvs(ONE.channels)
    entries = validation.detect(network)
    wanted = labelled(data)
    assert [e["image_id"] for e in entries] == [image for image, _ in wanted]
    for entry, (_, points) in zip(entries, wanted, strict=True):
        table = np.reshape(entry["keypoints"], (-1, 3))
        np.testing.assert_allclose(table[:, :2], points[:, :2] * (points[:, 2:] > 0), atol=1e-3)
    scores = validation.score(entries)
    assert scores["AP"] == pytest.approx(1)
    with pytest.raises(UsageError, match="crops"):
        PoseValidation(data, ONE)
    with pytest.raises(UsageError, match="pictures"):
        CropValidation(data, INFO)


def test_crops_are_those_of_the_whole_picture(data):
    """What a network sees of a person lies where the map says."""
    validation = CropValidation(data, ONE)
    spots = 0
    for index, record in enumerate(validation.items.records):
        pixels, matrix = validation.read(index)
        np.testing.assert_array_equal(matrix, validation.matrix(index))
        for k, (x, y, v) in enumerate(move_keypoints(matrix, record.keypoints)[0]):
            inside = v and 2 <= x < 46 and 2 <= y < 62
            gaps = [abs(record.keypoints[0, k, :2] - other).max() for other in everybody(data, record)]
            if inside and sorted(gaps)[1] > 8:  # no other spot covers this one
                spots += 1
                assert pixels[int(y), int(x), 0 if k % 2 else 1] > 200
    assert spots > 10


def everybody(data, record):
    """All points of a picture, of everybody."""
    (whole,) = (r for r in data.records if r.image_id == record.image_id)
    return [xy for pose in whole.keypoints for xy in pose[pose[:, 2] > 0, :2]]


def test_part_of_the_torso():
    """Two people, of one the torso is labelled; a point further than a fifth of it counts as wrong."""
    names = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    body = Skeleton("body", names, ((0, 1), (0, 2), (1, 3)), sigmas=(0.1,) * 4)
    points = np.array([[[40, 10, 2], [20, 10, 2], [40, 50, 2], [20, 50, 2]]], np.float32)
    record = Record.of(1, "1.png", None, (64, 64), [((10, 0, 50, 60), 0, False)])
    data = PoseSet(1, np.random.default_rng(0))
    data.skeleton, data.records = body, (replace(record, keypoints=points),)
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}],
        "categories": [{"id": 3, "name": "person", "keypoints": list(names)}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 0, 40, 60], "area": 1200,
                         "iscrowd": 0, "keypoints": [int(n) for n in points.ravel()], "num_keypoints": 4}],
    }  # fmt: skip
    data.to_coco = lambda: document
    validation = CropValidation(data, replace(ONE, skeleton=body))
    torso = np.hypot(20, 40)
    moved = points.copy()
    moved[0, 0, 0] += 0.19 * torso
    moved[0, 1, 0] -= 0.21 * torso
    entry = {"image_id": 1, "category_id": 3, "keypoints": moved.ravel().tolist(), "score": 1.0}
    scores = validation.score([entry])
    assert scores["PCK"] == pytest.approx(3 / 4)
    assert next(iter(scores.values)) == "AP"
