"""A file with a network of poses, under every verb that takes weights."""

import json
from dataclasses import replace

import numpy as np
import pytest

import visionkit as vk
from tests.kernels.narrow_layers import needs
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.kernels.narrow import INT8
from visionkit.models import zoo
from visionkit.vision.poses import Poses
from visionkit.vision.skeletons import COCO_17


@pytest.fixture
def picture(shapes):
    return min((shapes / "val" / "images").iterdir())


def test_load_gives_a_predictor_of_poses(pose_weights, picture):
    predictor = vk.load(pose_weights, confidence=0.5, flip=True)
    assert isinstance(predictor, PosePredictor)
    assert predictor.confidence == 0.5
    found = predictor(picture)
    assert isinstance(found, Poses)
    assert found.image_size == (64, 64)


def test_poses_of_an_untrained_network(visionkit, pose_weights, picture, tmp_path):
    flags = ("--weights", pose_weights, "--keypoint-confidence", "0.0001", "--confidence", "0")
    ran = visionkit("pose", picture, *flags, "--json", "--out", tmp_path, "--show-maps")
    assert ran.code == 0, ran.err
    one = json.loads(ran.out)
    assert one["skeleton"] == "coco-17"
    xy = np.array(one["xy"]).reshape(-1, 17, 2)
    assert ((xy >= 0) & (xy <= 64)).all()
    assert len(list(tmp_path.glob("*.jpg"))) == 3


def test_detectors_verbs_say_what_it_is(visionkit, pose_weights, picture):
    for words in (("detect", picture), ("bench", "--runs", "1")):
        ran = visionkit(*words, "--weights", pose_weights)
        assert ran.code == 2
        assert "a network of poses, not a detector" in ran.err
        assert "visionkit pose" in ran.err


def test_info(visionkit, pose_weights):
    facts = json.loads(visionkit("weights", "info", pose_weights, "--json").out)
    assert facts["skeleton"] == "coco-17"
    assert facts["keypoints"][0] == "nose"
    assert len(facts["sigmas"]) == 17
    assert facts["people"] == "many"
    assert facts["parameters"] > 1_000_000
    text = visionkit("weights", "info", pose_weights).out
    assert "nose, left_eye" in text
    assert "(pixel - 114) * 0.015625" in text


def test_warmup(visionkit, pose_weights):
    ran = visionkit("warmup", "--weights", pose_weights)
    assert ran.code == 0
    assert "PosePredictor(openpose-lite, 64x64, coco-17, 17 points of many) is ready" in ran.out


def test_int8_with_calibration(visionkit, pose_weights, shapes, picture, tmp_path):
    needs(INT8)
    folder, file = shapes / "train" / "images", tmp_path / "ranges.json"
    ran = visionkit("weights", "calibrate", pose_weights, "--images", folder, "--out", file)
    assert (ran.code, ran.last) == (0, str(file)), ran.err
    how = ("pose", picture, "--weights", pose_weights, "--precision", "int8")
    texts = [visionkit(*how, "--json", "--calibrate", given).out for given in (folder, file)]
    assert texts[0] == texts[1] != ""
    assert visionkit("pose", picture, "--weights", pose_weights, "--calibrate", file).code == 2


def test_export(visionkit, pose_weights, tmp_path):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'visionkit[onnx]'")
    path = tmp_path / "a.onnx"
    ran = visionkit("export", "--weights", pose_weights, "--to", "onnx", "--size", "64x96", "--out", path)
    assert ran.code == 0, ran.err
    assert "input   input: float32 1x3x64x96\n" in ran.out
    assert "output  heatmaps: float32 1x17x16x24\n" in ran.out
    assert "output  fields: float32 1x38x16x24\n" in ran.out
    ran = visionkit("export", "--weights", pose_weights, "--to", "onnx", "--decoded", "--out", path)
    assert ran.code == 2
    assert "--decoded" in ran.err


def test_one_person_behind_the_shipped_detector(visionkit, tmp_path):
    kind = zoo.pose_card("hourglass-lite")
    info = replace(kind.info(COCO_17, ["person"], [1]), input_size=(64, 64))
    path = tmp_path / "one.safetensors"
    zoo.save(path, kind.network(info.channels, seed=0), info)
    flags = ("--weights", path, "--keypoint-confidence", "0.0001", "--confidence", "0", "--json", "--demo")
    behind, whole = (visionkit("pose", *flags, *more) for more in ((), ("--detector", "none")))
    assert behind.code == whole.code == 0, behind.err
    (found,) = json.loads(behind.out)["xy"]  # the portrait shows one
    assert len(found) == 17
    assert behind.out != whole.out
    assert json.loads(whole.out)["image_size"] == [600, 512]


@pytest.mark.parametrize(
    "weights", [(), ("--weights", "openpose-lite"), ("--net-resolution", "384")], ids=["pair", "many", "size"]
)
def test_the_shipped_networks_find_the_woman_of_the_portrait(visionkit, weights):
    """Eyes above the nose, shoulders below and at either side, left and right as she has them."""
    one = json.loads(visionkit("pose", "--json", "--confidence", "0.15", *weights).out)
    assert one["skeleton"] == "coco-17"
    assert len(one["confidence"]) >= 1
    point = dict(zip(one["keypoints"], one["xy"][0], strict=True))
    sure = dict(zip(one["keypoints"], one["keypoint_confidence"][0], strict=True))
    seen = ("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder")
    assert min(sure[name] for name in seen) > 0.1
    assert max(point["left_eye"][1], point["right_eye"][1]) < point["nose"][1]
    assert point["nose"][1] < min(point["left_shoulder"][1], point["right_shoulder"][1])
    assert point["right_eye"][0] < point["nose"][0] < point["left_eye"][0]
    assert point["right_shoulder"][0] < point["right_eye"][0]
    assert point["left_eye"][0] < point["left_shoulder"][0]
