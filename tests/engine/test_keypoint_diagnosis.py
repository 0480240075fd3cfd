"""Why the AP of keypoints is zero: every cause is made, and must be named."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.made_up import people
from visionkit.engine.keypoints import evaluate_keypoints
from visionkit.vision.skeletons import COCO_17


def xy(entry):
    return np.array(entry["keypoints"]).reshape(-1, 3)


def put(entry, points):
    entry["keypoints"] = points.ravel().tolist()


def swapped(entry):
    put(entry, xy(entry)[:, [1, 0, 2]])


def planar(entry):
    entry["keypoints"] = xy(entry).T.ravel().tolist()


def sides(entry):
    put(entry, xy(entry)[list(COCO_17.flips)])


def relative(entry):
    put(entry, xy(entry) / [640, 480, 1])


def mirrored(entry):
    points = xy(entry)
    points[:, 0] = 640 - points[:, 0]
    put(entry, points[list(COCO_17.flips)])


def halved(entry):
    put(entry, xy(entry) * [0.5, 0.25, 1])


def padded(entry):
    put(entry, xy(entry) + np.array([0, 80, 0]))


def reordered(entry):
    put(entry, np.roll(xy(entry), -5, axis=0))


def in_the_box(entry):
    corner = xy(entry)[:, :2].min(0)
    entry["bbox"] = [*corner.tolist(), 60.0, 60.0]
    put(entry, xy(entry) - [*corner, 0])


def next_image(entry):
    entry["image_id"] = entry["image_id"] % 40 + 1


CAUSES = {
    swapped: "x and y were swapped",
    planar: "all x, then all y",
    sides: "left and right were swapped",
    relative: "relative to the image (0..1)",
    mirrored: "mirrored images",
    halved: "scaled by 2 in x and 4 in y",
    padded: "moved by 0 in x and -80 in y (padding?)",
    reordered: "another order in the detections, where nose is 13 (not 1), left_eye is 14 (not 2)",
    in_the_box: "relative to the corner of their `bbox`",
    next_image: "off by one",
}


@pytest.mark.parametrize("spoil", CAUSES, ids=lambda spoil: spoil.__name__)
def test_diagnosis_names_the_cause(rng, spoil):
    truth, found = people(rng, images=40, most=1)
    for annotation in truth["annotations"]:
        # strict enough that points of a wrong name are no near misses
        annotation["area"] *= 0.3
    assert evaluate_keypoints(truth, found)["AP"] == pytest.approx(1)
    for entry in found:
        spoil(entry)
    scores = evaluate_keypoints(truth, found)
    assert scores["AP50"] < 0.01
    assert CAUSES[spoil] in scores.notes[-1] or CAUSES[spoil] in scores.notes[-2], scores.notes


def test_diagnosis_of_noise_of_foreign_images_and_of_flat_areas(rng):
    truth, found = people(rng, images=20)
    noise = [{**d, "keypoints": rng.uniform(0, 400, 51).tolist()} for d in found]
    assert "has not learned" in evaluate_keypoints(truth, noise).notes[-1]
    part = {**truth, "annotations": [a for a in truth["annotations"] if a["image_id"] < 8]}
    assert "disjoint" in evaluate_keypoints(part, [d for d in found if d["image_id"] > 12]).notes[-1]
    flat = {**truth, "annotations": [{**a, "area": 0} for a in truth["annotations"]]}
    near = [{**d, "keypoints": (np.array(d["keypoints"]) + 0.01).tolist()} for d in found]
    assert "area of 0" in evaluate_keypoints(flat, near).notes[0]


def test_diagnosis_of_a_wrong_class(rng):
    truth, found = people(rng, images=20, skeletons=(COCO_17, replace(COCO_17, name="statue")))
    for entry in found:
        entry["category_id"] = 11 - entry["category_id"]
    note = evaluate_keypoints(truth, found).notes[-1]
    assert "100 % of the objects are covered when classes are left aside" in note
    assert "5 (coco-17) where it is 6 (statue)" in note
