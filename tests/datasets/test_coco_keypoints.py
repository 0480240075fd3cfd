"""Keypoints as training sees them: one skeleton, labels, crowds, original ids."""

import json

import numpy as np
import pytest

from visionkit.datasets.coco import CocoDataset, write_coco
from visionkit.datasets.coco_keypoints import CocoKeypoints
from visionkit.errors import DataError
from visionkit.vision.skeletons import ANIMAL_20, COCO_17, LSP_14

NAMES = ["left_ear", "right_ear", "tail"]


def document():
    """Two pictures; a labelled cat, a crowd of dogs with points, a dog without, and a car."""

    def row(key, image, category, box, **more):
        area = box[2] * box[3]
        return {
            "id": key,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": area,
            "iscrowd": 0,
        } | more

    return {
        "images": [
            {"id": 8, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 4, "file_name": "b.png", "width": 48, "height": 64},
        ],
        "categories": [
            {"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 3], [2, 3]]},
            {"id": 9, "name": "dog", "keypoints": NAMES, "skeleton": [[1, 3], [2, 3]]},
        ],
        "annotations": [
            row(71, 8, 3, [4, 6, 20, 30], keypoints=[10.5, 8, 2, 20, 9, 1, 0, 0, 0], num_keypoints=2),
            row(72, 4, 9, [1, 1, 40, 40], keypoints=[5, 5, 2, 6, 6, 2, 7, 7, 2], num_keypoints=3, iscrowd=1),
            row(73, 8, 9, [30, 6, 20, 30]),
        ],
    }


@pytest.fixture
def written(tmp_path):
    """Writes a document and gives its path."""

    def write(doc):
        write_coco(tmp_path / "x.json", doc)
        return tmp_path / "x.json"

    return write


def test_points_stand_beside_the_boxes(written):
    dataset = CocoKeypoints(written(document()))
    assert dataset.skeleton.keypoints == tuple(NAMES)
    assert dataset.skeleton.limbs == ((0, 2), (1, 2))
    first, second = dataset.records
    expected = [[[10.5, 8, 2], [20, 9, 1], [0, 0, 0]], np.zeros((3, 3))]
    np.testing.assert_array_equal(first.keypoints, np.array(expected, np.float32))
    assert first.keypoints.dtype == np.float32
    assert len(first.keypoints) == len(first.boxes) == 2
    assert second.keypoints.shape == (1, 3, 3)
    assert second.crowd.tolist() == [True]
    assert dataset.image_ids == (8, 4)
    assert dataset.to_coco() == document()
    assert len(dataset.problems) == 0
    assert [r.keypoints for r in CocoDataset(written(document())).records] == [None, None]


def test_pictures_without_objects(written):
    doc = document()
    doc["annotations"] = doc["annotations"][:1]
    assert CocoKeypoints(written(doc)).records[1].keypoints.shape == (0, 3, 3)


def test_the_hash_sees_the_points(written):
    before = CocoKeypoints(written(document())).hash()
    assert CocoKeypoints(written(document())).hash() == before
    changed = document()
    changed["annotations"][0]["keypoints"][0] = 10.25
    assert CocoKeypoints(written(changed)).hash() != before
    assert CocoDataset(written(changed)).hash() == CocoDataset(written(document())).hash()


def test_problems_are_those_of_the_reader_of_boxes(written):
    doc = document()
    doc["annotations"][0]["keypoints"][3] = 1e8
    doc["annotations"][2]["image_id"] = 5
    with pytest.raises(DataError, match="2 problems") as caught:
        CocoKeypoints(written(doc))
    assert "annotations[0] (id 71).keypoints[3]" in str(caught.value)
    assert "annotations[2] (id 73).image_id" in str(caught.value)
    dataset = CocoKeypoints(written(doc), skip_bad=True)
    assert dataset.problems.counts() == {"keypoint-range": 1, "unknown-image": 1}
    assert [len(record.boxes) for record in dataset.records] == [0, 1]


def test_num_keypoints_is_counted(written):
    doc = document()
    doc["annotations"][0]["num_keypoints"] = 17
    dataset = CocoKeypoints(written(doc))
    assert dataset.problems.counts() == {"num-keypoints": 1}
    assert dataset.to_coco() == document()


def test_sets_that_have_no_skeleton_or_two(written):
    doc = document()
    for category in doc["categories"]:
        del category["keypoints"]
    for annotation in doc["annotations"]:
        annotation.pop("keypoints", None)
    with pytest.raises(DataError, match=r"x\.json.*no category has keypoints"):
        CocoKeypoints(written(doc))
    doc = document()
    doc["categories"][1]["keypoints"] = [*NAMES[:2], "nose"]
    with pytest.raises(DataError, match=r"x\.json.*same points"):
        CocoKeypoints(written(doc))


def test_sets_without_labels_cannot_train(written):
    CocoKeypoints(written(document())).require_points()
    doc = document()
    doc["annotations"][0]["iscrowd"] = 1
    with pytest.raises(DataError, match="no labelled keypoint"):
        CocoKeypoints(written(doc)).require_points()


@pytest.mark.parametrize(
    ("name", "skeleton"), [("coco_person", COCO_17), ("animal_pose", ANIMAL_20), ("lspet", LSP_14)]
)
def test_real_sets(real_data, name, skeleton):
    path = real_data / name / "val.json"
    dataset = CocoKeypoints(path)
    assert dataset.skeleton == skeleton
    rows = json.loads(path.read_text())["annotations"]
    labelled = sum(int((record.keypoints[..., 2] > 0).sum()) for record in dataset.records)
    assert labelled == sum(row["num_keypoints"] for row in rows) > 1000
    assert sum(len(record.keypoints) for record in dataset.records) == len(rows)
    by_place = {(row["image_id"], *row["keypoints"][:9]) for row in rows}
    record = next(r for r in dataset.records if len(r.boxes) and r.keypoints[0, :, 2].any())
    assert any(
        np.allclose(key[1:], record.keypoints[0].ravel()[:9]) for key in by_place if key[0] == record.image_id
    )
