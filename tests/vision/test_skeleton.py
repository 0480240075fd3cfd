"""Skeletons: mirror images undone by mirroring, limbs that exist, tolerances as pycocotools has them."""

import json
import logging
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from visionkit.errors import DataError, ShapeError, UsageError
from visionkit.vision.skeleton import GUESSED_SIGMA, Skeleton, mirrored
from visionkit.vision.skeletons import (
    ANIMAL_20,
    BODY_25,
    COCO_17,
    FACE_5,
    FACE_49,
    FACE_68,
    FACE_194,
    LSP_14,
    MPI_15,
    OPENPOSE_18,
    SKELETONS,
    skeleton_from_coco,
)  # fmt: skip

ALL = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
BODIES = (COCO_17, OPENPOSE_18, BODY_25, MPI_15, LSP_14, ANIMAL_20)


def joints(skeleton):
    return [{skeleton.keypoints[a], skeleton.keypoints[b]} for a, b in skeleton.limbs]


def test_every_set_has_its_number_of_points():
    sizes = {name: len(skeleton) for name, skeleton in SKELETONS.items()}
    assert all(int(name.rsplit("-", 1)[1]) == size for name, size in sizes.items())
    assert len(sizes) == 10


@ALL
def test_flips_are_undone_by_flipping(skeleton):
    flips = np.array(skeleton.flips)
    assert (flips[flips] == np.arange(len(skeleton))).all()
    assert (flips != np.arange(len(skeleton))).any()


@pytest.mark.parametrize("skeleton", [*BODIES, FACE_5], ids=lambda s: s.name)
def test_flips_swap_left_and_right_and_nothing_else(skeleton):
    for name, twin in zip(skeleton.keypoints, skeleton.flips, strict=True):
        swapped = name.replace("left", "*").replace("right", "left").replace("*", "right")
        assert skeleton.keypoints[twin] == swapped


@ALL
def test_both_sides_have_the_same_tolerance(skeleton):
    assert np.array(skeleton.sigmas)[list(skeleton.flips)].tolist() == list(skeleton.sigmas)


@ALL
def test_mirrored_limbs_are_limbs(skeleton):
    """The limbs of a mirrored pose are those of the pose: what averaging flipped fields relies on."""
    for (a, b), (other, sign) in zip(skeleton.limbs, skeleton.limb_flips(), strict=True):
        ends = (skeleton.flips[a], skeleton.flips[b])
        assert skeleton.limbs[other] == (ends if sign == 1 else ends[::-1])
    assert skeleton.field_channels == 2 * len(skeleton.limbs)


@pytest.mark.parametrize("skeleton", BODIES, ids=lambda s: s.name)
def test_limbs_reach_every_point(skeleton):
    reached, grown = {skeleton.limbs[0][0]}, True
    while grown:
        more = {end for limb in skeleton.limbs if reached & set(limb) for end in limb}
        grown, reached = not more <= reached, reached | more
    assert reached == set(range(len(skeleton)))


@pytest.mark.parametrize("skeleton", BODIES[:5], ids=lambda s: s.name)
def test_limbs_join_neighbours_outwards(skeleton):
    """MPP-07: shoulder and wrist are no limb; an arm and a leg run from the trunk outwards."""
    order = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    for a, b in skeleton.limbs:
        for chain in order:
            at = [
                next((i for i, part in enumerate(chain) if part in skeleton.keypoints[k]), None)
                for k in (a, b)
            ]
            if None not in at and at[0] != at[1]:
                assert at[1] == at[0] + 1


def test_cocos_tolerances_are_those_of_pycocotools():
    np.testing.assert_allclose(COCO_17.sigmas, Params("keypoints").kpt_oks_sigmas, rtol=1e-14)
    assert not COCO_17.guessed
    assert FACE_68.guessed
    assert set(FACE_68.sigmas) == {GUESSED_SIGMA}


def test_openposes_field_channels():
    """Channels of the two networks as published: (limb's ends) -> first channel."""
    coco = {(1, 2): 12, (1, 5): 20, (2, 3): 14, (3, 4): 16, (5, 6): 22, (6, 7): 24, (1, 8): 0, (8, 9): 2,
            (9, 10): 4, (1, 11): 6, (11, 12): 8, (12, 13): 10, (1, 0): 28, (0, 14): 30, (14, 16): 34,
            (0, 15): 32, (15, 17): 36, (2, 16): 18, (5, 17): 26}  # fmt: skip
    body = {(1, 8): 0, (1, 2): 14, (1, 5): 22, (2, 3): 16, (3, 4): 18, (5, 6): 24, (6, 7): 26, (8, 9): 6,
            (9, 10): 2, (10, 11): 4, (8, 12): 8, (12, 13): 10, (13, 14): 12, (1, 0): 30, (0, 15): 32,
            (15, 17): 36, (0, 16): 34, (16, 18): 38, (2, 17): 20, (5, 18): 28, (14, 19): 40, (19, 20): 42,
            (14, 21): 44, (11, 22): 46, (22, 23): 48, (11, 24): 50}  # fmt: skip
    for skeleton, wanted in ((OPENPOSE_18, coco), (BODY_25, body)):
        assert {limb: 2 * i for i, limb in enumerate(skeleton.limbs)} == wanted
    assert MPI_15.field_channels == 28
    assert {"neck", "chest"} in joints(MPI_15)


def test_faces_share_their_points():
    assert set(FACE_49.keypoints) < set(FACE_68.keypoints)
    assert not any(name.startswith("jaw") for name in FACE_49.keypoints)
    assert {"eye_a_0", "eye_a_5"} in joints(FACE_68)  # a ring is closed
    assert {"jaw_0", "jaw_16"} not in joints(FACE_68)  # a line is not
    assert len({name.rsplit("_", 1)[0] for name in FACE_194.keypoints}) == 8


def test_the_68_points_of_a_face_lie_where_their_twins_mirror_them(real_data):
    """In the mean of 1,504 faces, mirrored, the point nearest to each is its twin."""
    rows = np.loadtxt(real_data / "ytfaces68/keypoints.csv", delimiter=",", skiprows=1, usecols=range(1, 137))
    faces = rows.reshape(-1, 68, 2)
    faces = faces - faces.mean(axis=1, keepdims=True)
    mean = (faces / np.sqrt((faces**2).mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    other = mean[list(FACE_68.flips)] * [-1, 1]
    distance = np.linalg.norm(other[:, None] - mean, axis=2)
    assert (distance.argmin(axis=1) == np.arange(68)).all()


@ALL
def test_a_category_brings_back_the_same_skeleton(skeleton):
    again = skeleton_from_coco([json.loads(json.dumps(skeleton.to_coco()))])
    assert again == skeleton


@pytest.mark.parametrize(
    ("name", "wanted"), [("coco_person", COCO_17), ("lspet", LSP_14), ("animal_pose", ANIMAL_20)]
)
def test_real_files_bring_known_skeletons(real_data, name, wanted):
    categories = json.loads((real_data / name / "val.json").read_text())["categories"]
    assert skeleton_from_coco(categories) is wanted


def own(**more):
    names = ["nose", "left_fin", "right_fin", "tail"]
    return {"name": "fish", "keypoints": names, "skeleton": [[1, 2], [1, 3], [1, 4]]} | more


def test_a_skeleton_of_ones_own(caplog):
    caplog.set_level(logging.INFO, "visionkit")
    fish = skeleton_from_coco([{"name": "water"}, own()], "fish.json")
    assert fish.name == "fish"
    assert fish.limbs == ((0, 1), (0, 2), (0, 3))
    assert fish.flips == (0, 2, 1, 3)
    assert fish.guessed
    assert fish.sigmas == (0.026, GUESSED_SIGMA, GUESSED_SIGMA, GUESSED_SIGMA)
    assert "fish.json: limbs count from 1" in caplog.text
    assert caplog.records[-1].levelno == logging.INFO
    zero = skeleton_from_coco([own(skeleton=[[0, 1], [0, 2]])], "fish.json")
    assert zero.limbs == ((0, 1), (0, 2))
    assert "limbs count from 0" in caplog.text
    skeleton_from_coco([own(skeleton=[[1, 2]])], "fish.json")
    assert caplog.records[-1].levelno == logging.WARNING  # could be either
    said = skeleton_from_coco([own(sigmas=[0.1, 0.2, 0.2, 0.3], flips=[["nose", "tail"]])])
    assert said.sigmas == (0.1, 0.2, 0.2, 0.3)
    assert said.flips == (3, 1, 2, 0)
    assert not said.guessed
    assert skeleton_from_coco([own(skeleton=[])]).limbs == ()


@pytest.mark.parametrize(
    ("categories", "say"),
    [
        ([{"name": "x"}], "no category has keypoints"),
        ([], "no category has keypoints"),
        ([own(), own(keypoints=["nose", "a", "b", "c"])], "/categories/1/keypoints: all categories"),
        ([own(), own(skeleton=[])], "/categories/1/skeleton: all categories"),
        ([own(skeleton=[[1, 5]])], r"count from 1 and there are 4 points \(found \[1, 5\]\)"),
        ([own(skeleton=[[0, 4]])], "count from 0 and there are 4 points"),
        ([own(skeleton=[[-1, 2]])], "count from 1"),
        ([own(skeleton=[[1, 2, 3]])], "pairs of whole numbers"),
        ([own(skeleton=[[1, 2], [3]])], "pairs of whole numbers"),
        ([own(skeleton=[[1.5, 2]])], "pairs of whole numbers"),
        ([own(skeleton=[[2, 2]])], "a limb joins two"),
        ([own(skeleton=[[1, 2], [2, 1]])], "named twice"),
        ([own(keypoints=["a", "a", "b", "c"])], "a name|names"),
        ([own(keypoints="nose")], "a list of names"),
        ([own(keypoints=["nose", "left_fin", "b", "c"])], "no counterpart right_fin.*Name both sides"),
        ([own(sigmas=[0.1])], "as many sigmas"),
        ([own(sigmas=[0.1, 0.1, 0.1, 0])], "positive"),
        ([own(sigmas=["a", 1, 1, 1])], "list of numbers"),
        ([own(flips=[["nose", "ear"]])], "pairs of names"),
        ([own(flips=[["nose", "tail"], ["tail", "left_fin"]])], "undone by flipping"),
    ],
)  # fmt: skip
def test_bad_files_say_what_is_wrong(categories, say):
    with pytest.raises(DataError, match=say) as error:
        skeleton_from_coco(categories, "bad.json")
    assert str(error.value).startswith("bad.json: /categories") or "bad.json" in str(error.value)


def test_names_of_sides():
    names = [
        "LEye",
        "REye",
        "l_ear",
        "r_ear",
        "earLeft",
        "earRight",
        "lower_lip",
        "rump",
        "bright",
        "LEFT_A",
        "RIGHT_A",
    ]
    assert mirrored(names) == (1, 0, 3, 2, 5, 4, 6, 7, 8, 10, 9)


def test_colours_tell_the_sides():
    for skeleton in BODIES:
        for name, (red, _, blue) in zip(skeleton.keypoints, skeleton.colours, strict=True):
            if "left" in name:
                assert red > blue
            elif "right" in name:
                assert blue > red
        assert len(set(skeleton.colours)) == len(skeleton)


def test_it_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        COCO_17.name = "other"
    assert hash(COCO_17) == hash(replace(COCO_17))
    with pytest.raises(UsageError, match="as many colours"):
        Skeleton("x", ("a", "b"), (), colours=((0, 0, 0),))


def test_coco_becomes_openpose(rng):
    xy = rng.uniform(1, 100, (5, 17, 2)).astype(np.float32)
    sure = rng.uniform(0.1, 1, (5, 17)).astype(np.float32)
    sure[1, 5] = 0  # no left shoulder, so no neck
    points, confidence = COCO_17.convert(xy, sure, OPENPOSE_18)
    for t, name in enumerate(OPENPOSE_18.keypoints):
        if name != "neck":
            k = COCO_17.keypoints.index(name)
            np.testing.assert_array_equal(points[:, t], xy[:, k] * (sure[:, k, None] > 0))
            np.testing.assert_array_equal(confidence[:, t], sure[:, k])
    np.testing.assert_allclose(points[0, 1], (xy[0, 5] + xy[0, 6]) / 2, rtol=1e-6)
    assert confidence[0, 1] == min(sure[0, 5], sure[0, 6])
    assert confidence[1, 1] == 0
    assert not points[1, 1].any()
    back, again = OPENPOSE_18.convert(points, confidence, COCO_17)
    np.testing.assert_array_equal(again, sure)
    np.testing.assert_array_equal(back, xy * (sure[..., None] > 0))


def test_points_that_a_skeleton_lacks_are_missing():
    points, confidence = COCO_17.convert(np.ones((17, 2)), np.ones(17), BODY_25)
    missing = {name for name, sure in zip(BODY_25.keypoints, confidence, strict=True) if not sure}
    assert missing == {
        f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")
    }
    assert (points[confidence > 0] == 1).all()
    empty, none = COCO_17.convert(np.zeros((0, 17, 2)), np.zeros((0, 17)), LSP_14)
    assert empty.shape == (0, 14, 2)
    assert none.shape == (0, 14)
    with pytest.raises(ShapeError, match="xy"):
        COCO_17.convert(np.ones((18, 2)), np.ones(17), BODY_25)
