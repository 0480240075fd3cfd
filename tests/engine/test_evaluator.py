"""The official COCO numbers, and the detections that must be refused (torture 3.3 A, J57-J62)."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

from visionkit.engine.evaluator import NAMES, evaluate, match_classes
from visionkit.errors import DataError

DATA = os.environ.get("VISIONKIT_TEST_DATA")
OFFICIAL = (
    0.5045806987249628, 0.6969727247299577, 0.5729816669904824, 0.5856257209410443, 0.5193996948036719,
    0.5013978986347466, 0.38681277964578054, 0.5936795762842003, 0.595352982877607, 0.6398109626113442,
    0.5664205978994309, 0.5642905982905982,
)  # fmt: skip


@pytest.fixture(scope="module")
def official():
    if not DATA:
        pytest.skip("VISIONKIT_TEST_DATA is not set")
    refs = Path(DATA) / "eval_refs"
    truth = json.loads((refs / "coco_gt/instances_val2014_100.json").read_text())
    return truth, refs / "cocoapi_results/instances_val2014_fakebbox100_results.json"


def test_official_numbers(official, capsys):
    truth, results = official
    before = copy.deepcopy(truth)
    scores = evaluate(truth, results)
    for name, expected in zip(NAMES, OFFICIAL, strict=True):
        assert scores[name] == pytest.approx(expected, abs=1e-12)
    assert truth == before
    assert capsys.readouterr().out == ""
    known = [c.AP for c in scores.classes if c.AP is not None]
    assert np.mean(known) == pytest.approx(OFFICIAL[0], abs=1e-12)
    assert scores.detections == 734
    assert json.loads(json.dumps(scores.to_dict()))["AP50"] == scores["AP50"]


def test_official_numbers_through_the_reader(official):
    from visionkit.datasets.coco import CocoDataset

    truth = CocoDataset(Path(DATA) / "eval_refs/coco_gt/instances_val2014_100.json", None).to_coco()
    scores = evaluate(truth, official[1])
    for name, expected in zip(NAMES, OFFICIAL, strict=True):
        assert scores[name] == pytest.approx(expected, abs=1e-12)


def test_renumbering_annotations_changes_nothing(official):
    truth, results = official
    changed = copy.deepcopy(truth)
    for number, annotation in enumerate(reversed(changed["annotations"])):
        annotation["id"] = number  # 0 among them
    assert evaluate(changed, results).values == evaluate(truth, results).values


def truth():
    boxes = {1: [(10, 10, 40, 40), (60, 60, 30, 30)], 7: [(20, 5, 50, 30)], 9: [(5, 30, 64, 48)]}
    annotations = []
    for image, rows in boxes.items():
        for k, box in enumerate(rows):
            annotations.append({"id": len(annotations), "image_id": image, "category_id": (7, 42)[k % 2],
                                "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
    images = [{"id": key, "file_name": f"{key}.png", "width": 200, "height": 100} for key in boxes]
    names = [{"id": 7, "name": "cat"}, {"id": 42, "name": "dog"}, {"id": 9001, "name": "emu"}]
    return {"images": images, "annotations": annotations, "categories": names}


def perfect(data):
    return [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": list(a["bbox"]),
            "score": 0.9 - a["id"] / 9,
        }
        for a in data["annotations"]
    ]


def test_perfect_detections_give_one_with_id_zero_and_gaps():
    data = truth()
    scores = evaluate(data, perfect(data))
    assert scores["AP"] == pytest.approx(1)
    assert scores["AR100"] == 1
    assert [c.AP for c in scores.classes] == [pytest.approx(1), pytest.approx(1), None]
    assert scores["APl"] is None
    assert scores.notes == ()
    assert "n/a" in scores.table()


def test_crowds_are_neither_found_nor_false():
    data = truth()
    data["annotations"][0]["iscrowd"] = 1
    detections = perfect(data)
    detections.append({"image_id": 1, "category_id": 7, "bbox": [12, 12, 20, 20], "score": 0.95})
    scores = evaluate(data, detections)
    assert scores["AP"] == pytest.approx(1)
    assert scores.boxes == 3


def test_no_detections_give_zero():
    scores = evaluate(truth(), [])
    assert scores["AP"] == 0
    assert scores["AR100"] == 0
    assert "no detections" in scores.notes[0]


def test_no_ground_truth_gives_no_number():
    data = truth()
    detections = perfect(data)
    del data["annotations"]
    scores = evaluate(data, detections)
    assert scores["AP"] is None
    assert "no ground truth" in scores.notes[0]


BAD = {
    "unknown image": ({"image_id": 5}, "unknown image_id"),
    "unknown category": ({"category_id": 8}, "unknown category_id"),
    "string id": ({"image_id": "1"}, "expected an integer"),
    "bool id": ({"image_id": True}, "expected an integer"),
    "string score": ({"score": "0.5"}, "expected a number"),
    "nan score": ({"score": float("nan")}, "not finite"),
    "nan box": ({"bbox": [float("nan")] * 4}, "finite"),
    "inf box": ({"bbox": [0, 0, float("inf"), 1]}, "finite"),
    "huge box": ({"bbox": [0, 0, 1e308, 1]}, "finite"),
    "three numbers": ({"bbox": [1, 2, 3]}, "four"),
    "box of text": ({"bbox": ["1", 2, 3, 4]}, "numbers"),
    "box null": ({"bbox": None}, "four"),
    "negative": ({"bbox": [1, 2, -3, 4]}, "negative"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_detections_are_refused_with_their_place(name):
    change, text = BAD[name]
    data = truth()
    detections = perfect(data)
    detections[2].update(change)
    with pytest.raises(DataError, match=text) as caught:
        evaluate(data, detections)
    assert "[2]" in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_score_and_several_problems():
    data = truth()
    detections = perfect(data)
    del detections[1]["score"]
    detections[3]["bbox"] = [0, 0, float("nan"), 1]
    with pytest.raises(DataError, match=r"\[1\].*missing key score.*2 of 4"):
        evaluate(data, detections)


def test_all_nan_boxes_cannot_score(official):
    data, results = official
    detections = json.loads(results.read_text())
    for entry in detections:
        entry["bbox"] = [float("nan")] * 4
    with pytest.raises(DataError, match="734 of 734"):
        evaluate(data, detections)


def test_warnings_that_are_no_errors():
    data = truth()
    data["annotations"][0]["ignore"] = 1
    detections = perfect(data)
    detections[0]["score"] = 2.0
    detections += [dict(detections[1]), dict(detections[1])]
    notes = "\n".join(evaluate(data, detections).notes)
    assert "1 scores lie outside" in notes
    assert "3 detections share" in notes
    assert "`ignore`" in notes


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{}", "annotation file"),
        (b"[", "d.json"),
        (b'[{"score": NaN}]', "NaN"),
        (b"\xff\xfe", "UTF-8"),
        (b"3", "list"),
        (b"[" * 200_000, "nested"),
    ],
)
def test_bad_files(tmp_path, content, text):
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(DataError, match=text) as caught:
        evaluate(truth(), tmp_path / "d.json")
    assert "d.json" in str(caught.value)


def many(count=12):
    rng = np.random.default_rng(5)
    data = {"images": [], "annotations": [], "categories": [{"id": k, "name": f"c{k}"} for k in range(5)]}
    for image in range(count):
        data["images"].append({"id": image, "width": 640, "height": 480, "file_name": f"{image}"})
        for _ in range(3):
            box = [*rng.uniform(50, 300, 2), *rng.uniform(30, 150, 2)]
            row = {"id": len(data["annotations"]), "image_id": image, "category_id": int(rng.integers(5))}
            data["annotations"].append({**row, "bbox": box, "area": box[2] * box[3]})
    detections = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": list(a["bbox"]),
            "score": 0.5 + a["id"] / 100,
        }
        for a in data["annotations"]
    ]
    return data, detections


def as_xyxy(d, _):
    d["bbox"] = [d["bbox"][0], d["bbox"][1], d["bbox"][0] + d["bbox"][2], d["bbox"][1] + d["bbox"][3]]


def centred(d, _):
    d["bbox"] = [d["bbox"][0] + d["bbox"][2] / 2, d["bbox"][1] + d["bbox"][3] / 2, *d["bbox"][2:]]


def swapped(d, _):
    d["bbox"] = [d["bbox"][k] for k in (1, 0, 3, 2)]


def relative(d, _):
    d["bbox"] = [v / s for v, s in zip(d["bbox"], (640, 480, 640, 480), strict=True)]


def scaled(d, _):
    d["bbox"] = [v * 0.5 for v in d["bbox"]]


def next_class(d, _):
    d["category_id"] = (d["category_id"] + 1) % 5


def next_image(d, images):
    d["image_id"] = (d["image_id"] + 1) % images


CAUSES = {
    as_xyxy: "x1, y1, x2, y2",
    centred: "centre x",
    swapped: "swapped",
    relative: "relative to the image",
    scaled: "scaled by 2 in x",
    next_class: "shifted by -1",
    next_image: "off by one",
}


@pytest.mark.parametrize("spoil", CAUSES, ids=lambda spoil: spoil.__name__)
def test_diagnosis_names_the_cause(spoil):
    data, detections = many()
    assert evaluate(data, detections)["AP"] == pytest.approx(1)
    for entry in detections:
        spoil(entry, len(data["images"]))
    # Only a matching cause may be named, whatever is left of AP.
    from visionkit.engine.diagnosis import diagnose

    notes = diagnose(
        {i["id"]: i for i in data["images"]},
        [a | {"iscrowd": 0} for a in data["annotations"]],
        {c["id"]: c for c in data["categories"]},
        detections,
    )
    assert CAUSES[spoil] in notes[0], notes


def test_diagnosis_of_noise_and_of_foreign_images():
    data, detections = many()
    rng = np.random.default_rng(1)
    for entry in detections:
        entry["bbox"] = [*rng.uniform(0, 500, 2), *rng.uniform(2, 9, 2)]
    scores = evaluate(data, detections)
    assert scores["AP50"] < 0.01
    assert "has not learned" in scores.notes[-1]
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] < 6]
    assert "disjoint" in evaluate(data, [d for d in detections if d["image_id"] >= 7]).notes[-1]


def test_subset_of_images():
    data = truth()
    scores = evaluate(data, perfect(data), image_ids=[1])
    assert scores["AP"] == pytest.approx(1)
    assert scores.images == 1
    assert "2 detections lie" in scores.notes[0]


def test_match_classes():
    assert match_classes(["dog", "cow", "cat"], truth()["categories"]) == [42, None, 7]
