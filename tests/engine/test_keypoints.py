"""AP of keypoints: the ten numbers, skeletons of all kinds, refusals, and why AP may be zero."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.made_up import people
from visionkit.datasets.coco import CocoDataset
from visionkit.engine.keypoints import NAMES, evaluate_keypoints
from visionkit.errors import DataError
from visionkit.vision.skeletons import COCO_17

#: pycocotools' own on the pair of files in `eval_refs/keypoints_dataset`.
OFFICIAL = (
    0.5048844884488449, 0.7227722772277227, 0.6336633663366337, 0.46633663366336636, 0.7504950495049505,
    0.5181818181818182, 0.7272727272727273, 0.6363636363636364, 0.4666666666666666, 0.75,
)  # fmt: skip


@pytest.fixture
def official(real_data):
    folder = real_data / "eval_refs" / "keypoints_dataset"
    return folder / "gt_dataset.json", folder / "dt_dataset.json"


@pytest.mark.parametrize("through_the_reader", [False, True])
def test_the_ten_numbers(official, through_the_reader, capsys):
    truth = json.loads(official[0].read_text())
    if through_the_reader:
        truth = CocoDataset(official[0]).to_coco()
    before = copy.deepcopy(truth)
    scores = evaluate_keypoints(truth, official[1])
    assert tuple(scores.values) == NAMES
    np.testing.assert_allclose(list(scores.values.values()), OFFICIAL, rtol=0, atol=1e-10)
    assert (scores.boxes, scores.detections, scores.images) == (11, 128, 1)
    assert truth == before
    assert capsys.readouterr().out == ""
    (one,) = scores.classes
    np.testing.assert_allclose([one.AP, one.AR], [OFFICIAL[0], OFFICIAL[5]], rtol=0, atol=1e-12)
    assert scores.precision.shape == (10, 101, 1)


def test_num_keypoints_is_counted_anew(official):
    """J34: pycocotools believes it, and an object of 0 is not looked for."""
    truth = json.loads(official[0].read_text())
    for annotation in truth["annotations"]:
        annotation["num_keypoints"] = 0
    counted = evaluate_keypoints(truth, official[1])
    np.testing.assert_allclose(list(counted.values.values()), OFFICIAL, rtol=0, atol=1e-10)


def test_ids_of_annotations_change_nothing(official):
    truth = json.loads(official[0].read_text())
    for number, annotation in enumerate(reversed(truth["annotations"])):
        annotation["id"] = number  # 0 among them
    scores = evaluate_keypoints(truth, official[1])
    np.testing.assert_allclose(list(scores.values.values()), OFFICIAL, rtol=0, atol=1e-10)


def test_against_pycocotools_alone(rng):
    """Ours and COCOeval as it comes, on sets with crowds, unlabelled people and areas of all sizes."""
    for k in range(10):
        truth, found = people(rng, images=6, noise=6.0)
        if k % 2:  # then their area says whether a false detection is medium or large, not the points' extent
            for entry in found:
                entry["bbox"] = [0, 0, *rng.uniform(5, 150, 2).tolist()]
        for annotation in truth["annotations"]:
            annotation["iscrowd"] = int(rng.random() < 0.15)
            if rng.random() < 0.2:
                annotation |= {"keypoints": [0] * 51, "num_keypoints": 0}
        ours = evaluate_keypoints(truth, found)
        expected = [-1 if v is None else v for v in ours.values.values()]
        np.testing.assert_allclose(expected, pycocotools_alone(truth, found), rtol=0, atol=1e-12)
        assert 0.05 < (ours["AP"] or 0) < 0.999


def pycocotools_alone(truth, found):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    side = COCO()
    side.dataset = copy.deepcopy(truth)
    side.createIndex()
    result = COCOeval(side, side.loadRes(copy.deepcopy(found)), "keypoints")
    result.evaluate()
    result.accumulate()
    result.summarize()
    return result.stats


def test_perfect_points_give_one(rng):
    truth, found = people(rng)
    scores = evaluate_keypoints(truth, found)
    assert scores["AP"] == pytest.approx(1)
    assert scores["AR"] == 1
    assert scores.notes == ()
    assert json.loads(json.dumps(scores.to_dict()))["classes"][0]["AR"] == 1


def small(names, name="own", **more):
    """A category of a skeleton of one's own."""
    return {"id": 5, "name": name, "keypoints": list(names), **more}


def one_object(points, category, area=900.0):
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 5,
        "bbox": [0, 0, 30, 30],
        "area": area,
        "iscrowd": 0,
    }
    return {
        "images": [{"id": 1, "file_name": "1.png", "width": 100, "height": 100}],
        "categories": [category],
        "annotations": [annotation | {"keypoints": points, "num_keypoints": len(points) // 3}],
    }


def highest_threshold(truth, found, **how):
    """The OKS of the only pair, from below: AP counts the thresholds .50 to .95 that it reaches."""
    return evaluate_keypoints(truth, found, **how)["AP"] * 0.5 + 0.45


@pytest.mark.parametrize(
    ("category", "given", "sigma"),
    [
        (small(["tip", "tail"]), None, 0.05),
        (small(["tip", "tail"], sigmas=[0.1, 0.1]), None, 0.1),
        (small(["tip", "tail"]), (0.2, 0.2), 0.2),
        (small(["left_hip", "right_hip"]), None, 0.107),
        ({"id": 5, "name": "nameless"}, None, 0.05),
    ],
)
def test_tolerances_of_own_skeletons(category, given, sigma):
    """The category's own, what COCO knows by name, or .05 with a note; the similarity follows."""
    truth = one_object([10, 10, 2, 20, 20, 2], category)
    for oks in (0.62, 0.78, 0.93):
        away = np.sqrt(-2 * np.log(oks) * 900) * 2 * sigma
        found = [
            {"image_id": 1, "category_id": 5, "keypoints": [10 + away, 10, 1, 20, 20 - away, 1], "score": 1}
        ]
        assert 0 <= oks - highest_threshold(truth, found, sigmas=given) < 0.05
    notes = "".join(evaluate_keypoints(truth, found, sigmas=given).notes)
    assert ("nobody has measured" in notes) == (sigma == 0.05)


def test_seventeen_points_without_names_are_people():
    truth = one_object([10, 10, 2] * 17, {"id": 5, "name": "person"})
    found = [{"image_id": 1, "category_id": 5, "keypoints": [10, 10, 1] * 17, "score": 1}]
    assert evaluate_keypoints(truth, found).notes[1:] == ()
    assert "one place" in evaluate_keypoints(truth, found).notes[0]


def test_categories_of_different_skeletons(rng):
    """J33: each class by its own points; the mean is over classes."""
    from visionkit.vision.skeletons import ANIMAL_20, LSP_14

    kinds = (COCO_17, ANIMAL_20, LSP_14)
    truth, found = people(rng, images=30, noise=4.0, skeletons=kinds)
    truth["categories"].append({"id": 99, "name": "car"})
    truth["annotations"].append({"id": 9999, "image_id": 1, "category_id": 99, "bbox": [1, 1, 9, 9]})
    scores = evaluate_keypoints(truth, found)
    assert [c.name for c in scores.classes] == [kind.name for kind in kinds]
    for k, one in enumerate(scores.classes):
        alone = {**truth, "categories": [truth["categories"][k]]}
        alone["annotations"] = [a for a in truth["annotations"] if a["category_id"] == 5 + k]
        expected = evaluate_keypoints(alone, [d for d in found if d["category_id"] == 5 + k])
        for name in ("AP", "AP50", "AR"):
            assert getattr(one, name) == expected[name]
        assert one.boxes == expected.boxes > 5
    assert scores["AP"] == pytest.approx(np.mean([one.AP for one in scores.classes]))
    with pytest.raises(DataError, match="positive sigmas"):
        evaluate_keypoints(truth, found, sigmas=[0.1] * 17)


def test_equal_skeletons_are_read_once(rng, caplog):
    """Five kinds of animals have one skeleton, and one line in the log says how its limbs count."""
    truth, found = people(rng)
    first = truth["categories"][0]
    truth["categories"] += [{**first, "id": 50 + k, "name": f"kind {k}"} for k in range(4)]
    with caplog.at_level("INFO"):
        assert len(evaluate_keypoints(truth, found).classes) == 5
    assert caplog.text.count("limbs count from") == 1


def test_crowds_and_unlabelled_people_are_neither_found_nor_false(rng):
    truth, found = people(rng)
    for annotation in truth["annotations"][::3]:
        annotation["iscrowd"] = 1
    for annotation in truth["annotations"][1::3]:
        del annotation["keypoints"], annotation["num_keypoints"]
    scores = evaluate_keypoints(truth, found)
    assert scores["AP"] == pytest.approx(1)
    assert scores.boxes == len(truth["annotations"][2::3])


def test_no_ground_truth_gives_no_number(rng):
    truth, found = people(rng)
    for annotation in truth["annotations"]:
        annotation["keypoints"][2::3] = [0] * 17
    scores = evaluate_keypoints(truth, found)
    assert set(scores.values.values()) == {None}
    assert f"none of {len(found)} objects has a labelled point" in scores.notes[0]
    assert "no object to find" in evaluate_keypoints({**truth, "annotations": []}, found).notes[0]


def test_no_detections_give_zero(rng):
    scores = evaluate_keypoints(people(rng)[0], [])
    assert (scores["AP"], scores["AR"]) == (0, 0)
    assert "no detections" in scores.notes[0]


def test_subset_of_images(rng):
    truth, found = people(rng)
    scores = evaluate_keypoints(truth, found, image_ids=[1, 2])
    assert scores["AP"] == pytest.approx(1)
    assert scores.images == 2
    assert "lie on images outside" in scores.notes[0]


BAD = {
    "nan": ({7: float("nan")}, r"\[2\]\.keypoints\[7\]: keypoints: not a finite"),
    "infinity": ({4: float("inf")}, r"\[2\]\.keypoints\[4\]: keypoints: not a finite"),
    "nan confidence": ({50: float("nan")}, r"\[2\]\.keypoints\[50\]: keypoints: not a finite"),
    "huge": ({0: 1e308}, r"\[2\]\.keypoints\[0\]"),
    "text": ({3: "7"}, r"\[2\]\.keypoints\[3\]: keypoints: expected numbers"),
    "bool": ({3: True}, r"\[2\]\.keypoints\[3\]: keypoints: expected numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_points_are_refused_with_their_place(rng, name):
    """J36: pycocotools gives NaN points a perfect AP."""
    changes, text = BAD[name]
    truth, found = people(rng)
    for place, value in changes.items():
        found[2]["keypoints"][place] = value
    with pytest.raises(DataError, match=text) as caught:
        evaluate_keypoints(truth, found)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keypoints": [1.0] * 54}, "54 numbers instead of 51.*17 points; are they those of openpose-18"),
        ({"keypoints": [1.0] * 34}, "34 numbers instead of 51.*confidences missing"),
        ({"keypoints": []}, "0 numbers instead of 51, x, y and a confidence for each of 17 points \\("),
        ({"keypoints": None}, "expected a list"),
        ({"category_id": 99}, "has no keypoints"),
        ({"category_id": 7}, "unknown category_id"),
        ({"image_id": 99}, "unknown image_id"),
        ({"image_id": "1"}, "expected an integer"),
        ({"score": float("nan")}, "score: not finite"),
        ({"bbox": [1, 2, 3]}, "bbox: expected four"),
    ],
)
def test_bad_entries_are_refused_with_their_place(rng, change, text, tmp_path):
    truth, found = people(rng)
    truth["categories"].append({"id": 99, "name": "car"})
    found[3].update(change)
    with pytest.raises(DataError, match=text) as caught:
        evaluate_keypoints(truth, found)
    assert "[3]" in str(caught.value)
    if change.get("score") is None:
        (tmp_path / "found.json").write_text(json.dumps(found))
        with pytest.raises(DataError, match=r"found\.json.*\[3\]"):
            evaluate_keypoints(truth, tmp_path / "found.json")


def test_entries_without_points_and_files_of_boxes(rng):
    truth, found = people(rng)
    with pytest.raises(DataError, match=r"\[0\].*missing key keypoints"):
        evaluate_keypoints(truth, [{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 4], "score": 1.0}])
    boxes = {**truth, "categories": [{"id": 5, "name": "cat"}]}
    boxes["annotations"] = [{**a, "keypoints": []} for a in truth["annotations"]]
    with pytest.raises(DataError, match="no category and no annotation has keypoints"):
        evaluate_keypoints(boxes, found)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"keypoints": [1, 2, 2]}, r"annotations\[1\]\.keypoints: expected 51 numbers.*found 3"),
        ({"keypoints": [float("nan"), 1, 2] * 17}, r"annotations\[1\]\.keypoints\[0\]: expected a finite"),
        ({"keypoints": [1, "1", 2] * 17}, r"annotations\[1\]\.keypoints\[1\]: expected a finite"),
        ({"area": float("nan")}, r"annotations\[1\]\.area"),
        ({"area": -1.0}, r"annotations\[1\]\.area"),
        ({"bbox": [1, 2, float("inf"), 4]}, r"annotations\[1\]\.bbox"),
    ],
)
def test_bad_ground_truth_is_refused_with_its_place(rng, change, text):
    truth, found = people(rng)
    truth["annotations"][1].update(change)
    with pytest.raises(DataError, match=text):
        evaluate_keypoints(truth, found)


def test_real_people_through_the_reader(real_data):
    """Labelled people that are their own detection: AP 1 on 300 pictures, crowds and all."""
    truth = CocoDataset(Path(real_data) / "coco_person" / "val.json").to_coco()
    wanted = [a for a in truth["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    found = [
        {key: a[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 0.5 + a["area"] / 1e7}
        for a in wanted
    ]
    scores = evaluate_keypoints(truth, found)
    assert scores["AP"] == pytest.approx(1)
    assert scores.boxes == len(wanted) > 500
