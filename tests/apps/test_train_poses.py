"""`visionkit train` and `eval` on a skeleton of the user's own: data in, weights that score the same out."""

import csv
import json

import numpy as np
import pytest

from tests.engine.pose_made_up import PUPPET, PoseSet
from tests.kernels.narrow_layers import needs
from visionkit.datasets.convert import convert
from visionkit.kernels.narrow import BFLOAT16, INT8
from visionkit.models import zoo
from visionkit.weights import safetensors

SHIPPED = "yolo-nano-person"
HOW = ("--size", "64", "--epochs", "1", "--batch", "4", "--threads", "2")


@pytest.fixture(scope="module")
def puppets(tmp_path_factory):
    """train/ and val/ in COCO layout: five points, two categories that share them, limbs from 0."""
    folder = tmp_path_factory.mktemp("puppets")
    for name, count, seed in (("train", 8, 0), ("val", 4, 1)):
        made = PoseSet(count, np.random.default_rng(seed), names=("cat", "dog"))
        convert(made, "coco", folder / name, split=name)
    return folder


def flags(folder):
    return [
        word for name in ("train", "val")
        for word in (
            f"--{name}-json", folder / name / f"{name}.json", f"--{name}-images", folder / name / "images",
        )
    ]  # fmt: skip


@pytest.fixture(scope="module", params=sorted(zoo.POSE_CARDS))
def run(request, puppets, tmp_path_factory):
    """A short run of every architecture: its name and folder."""
    from visionkit.apps.cli import main

    folder = tmp_path_factory.mktemp("runs") / request.param
    argv = ["train", "--model", request.param, *flags(puppets), *HOW, "--out", folder]
    assert main([str(word) for word in argv]) == 0
    return request.param, folder


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_a_run_ends_in_weights_that_say_what_they_are_and_score_the_same(visionkit, run, puppets):
    name, folder = run
    (row,) = rows(folder)
    val = ("--json-annotations", puppets / "val" / "val.json", "--images", puppets / "val" / "images")
    ran = visionkit("eval", "--weights", folder / "last.safetensors", *val, "--json")
    assert ran.code == 0, ran.err
    scores = json.loads(ran.out)
    for key in ("AP", "AP50", "AR"):
        assert scores[key] == pytest.approx(float(row[key]), abs=1e-9)
    assert scores["classes"][0]["name"] == "cat or dog"
    assert "points of cat, of cat or dog" in ran.err
    assert ran.err.count("limbs count from 0") == 1
    low = visionkit("eval", "--weights", folder / "last.safetensors", *val, "--min-ap", "0.99")
    assert low.code == 1
    facts = json.loads(visionkit("weights", "info", folder / "last.safetensors", "--json").out)
    assert facts["architecture"] == name
    assert facts["input_size"] == [64, 64]
    assert facts["keypoints"] == list(PUPPET.keypoints)
    assert [one["name"] for one in facts["classes"]] == ["cat", "dog"]


def test_a_run_is_resumed_from_its_folder_alone(visionkit, run):
    _, folder = run
    before = {name: (folder / name).read_bytes() for name in ("last.safetensors", "metrics.csv")}
    ran = visionkit("train", "--resume", folder)
    assert ran.code == 0, ran.err
    assert ran.last == str(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    refused = visionkit("train", "--resume", folder, "--size", "96")
    assert refused.code == 2
    assert "pose.input_size was" in refused.err


def test_weights_are_tuned_for_other_points(visionkit, run, puppets, tmp_path):
    """A point renamed and a category less: the rest is kept, and the file is for the new points."""
    _, folder = run
    for part in ("train", "val"):
        target = tmp_path / part
        target.mkdir()
        document = json.loads((puppets / part / f"{part}.json").read_text())
        for category in document["categories"]:
            category["keypoints"][0] = "nose"
        (target / f"{part}.json").write_text(json.dumps(document))
        (target / "images").symlink_to(puppets / part / "images")
    start = safetensors.read(folder / "last.safetensors")[0]
    (first,) = {key.split(".")[0] for key in start} & {"backbone", "stem"}
    how = ("--weights", folder / "last.safetensors", "--freeze", f"{first}.*", "--no-train-ap")
    ran = visionkit("train", *flags(tmp_path), *how, *HOW, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "maps kept for left_hand, right_hand, left_foot, right_foot" in ran.err
    assert "train/AP" not in rows(tmp_path / "run")[0]
    facts = json.loads(visionkit("weights", "info", tmp_path / "run" / "last.safetensors", "--json").out)
    assert facts["keypoints"][0] == "nose"
    end = safetensors.read(tmp_path / "run" / "last.safetensors")[0]
    changed = {key.split(".")[0] for key in start if not np.array_equal(start[key], end[key])}
    assert changed
    assert first not in changed
    val = ("--json-annotations", puppets / "val" / "val.json", "--images", puppets / "val" / "images")
    other = visionkit("eval", "--weights", tmp_path / "run" / "last.safetensors", *val)
    assert other.code == 3
    assert "other points than the network" in other.err


def test_a_pose_network_begins_with_the_backbone_of_a_detector(visionkit, puppets, tmp_path):
    """At a learning rate of nearly nothing the parameters are still the detector's."""
    how = ("--model", "openpose-lite", "--backbone", SHIPPED, "--lr", "1e-9", *HOW)
    ran = visionkit("train", *flags(puppets), *how, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "tensors taken over; new: neck." in ran.out + ran.err
    ours, _ = safetensors.read(tmp_path / "run" / "last.safetensors")
    theirs, _ = safetensors.read(zoo.find(SHIPPED))
    names = [name for name in ours if name.startswith("backbone.") and "running" not in name]
    assert len(names) > 50
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


def test_boxes_are_learned_from_the_same_file(visionkit, puppets, tmp_path):
    ran = visionkit(
        "train", "--model", "yolo-nano", *flags(puppets), *HOW, "--no-train-ap", "--out", tmp_path / "run"
    )
    assert ran.code == 0, ran.err
    assert float(rows(tmp_path / "run")[0]["AR100"]) >= 0


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        (["--model", "openpose-lit"], 2, ["Did you mean openpose-lite"]),
        (["--model", "openpose-lite", "--assignment", "v3"], 2, ["--assignment is about detectors"]),
        (["--model", "openpose-lite", "--augment", "cells"], 2, ["--augment is about detectors"]),
        (["--model", "openpose-lite", "--batch", "9"], 2, ["--batch"]),
        (["--model", "hourglass-lite", "--backbone", SHIPPED], 4, [SHIPPED, "another backbone"]),
        (["--model", "openpose-lite", "--backbone", "none.safetensors"], 5, ["none.safetensors"]),
        (["--weights", SHIPPED, "--backbone", SHIPPED], 2, ["exclude each other"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_what_cannot_be_trained_says_why(visionkit, puppets, tmp_path, extra, code, words):
    ran = visionkit("train", *flags(puppets), *extra, "--size", "64", "--out", tmp_path / "run")
    assert ran.code == code
    assert all(word in ran.err for word in words), ran.err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_boxes_alone_are_not_enough(visionkit, shapes, puppets, tmp_path):
    boxes = visionkit("train", "--model", "openpose-lite", *flags(shapes), "--out", tmp_path / "run")
    assert boxes.code == 3
    assert "train.json" in boxes.err
    assert "no category has keypoints" in boxes.err
    folder = tmp_path / "yolo"
    convert(PoseSet(4, np.random.default_rng(0)), "yolo", folder)
    layout = visionkit(
        "train", "--model", "openpose-lite", "--train", folder, "--val", folder, "--out", "run"
    )
    assert layout.code == 5
    assert "key-points" in layout.err


def test_points_that_nobody_labelled(visionkit, puppets, tmp_path):
    document = json.loads((puppets / "train" / "train.json").read_text())
    for row in document["annotations"]:
        row["keypoints"], row["num_keypoints"] = [0] * 15, 0
    (tmp_path / "none.json").write_text(json.dumps(document))
    given = flags(puppets)
    given[1] = tmp_path / "none.json"
    ran = visionkit("train", "--model", "openpose-lite", *given, "--out", tmp_path / "run")
    assert ran.code == 3
    assert "no labelled keypoint" in ran.err


def test_limbs_that_join_nothing(visionkit, puppets, tmp_path):
    """Without limbs there is no telling people apart; a network of one person needs none."""
    document = json.loads((puppets / "train" / "train.json").read_text())
    for category in document["categories"]:
        category["skeleton"] = []
    (tmp_path / "train.json").write_text(json.dumps(document))
    given = flags(puppets)
    given[1] = tmp_path / "train.json"
    ran = visionkit("train", "--model", "openpose-lite", *given, "--out", tmp_path / "run")
    assert ran.code in (2, 3)
    assert "limbs" in ran.err
    assert "skeleton" in ran.err


def test_the_oracle_tells_what_perfect_maps_would_score(visionkit, puppets):
    data = ("--json-annotations", puppets / "train" / "train.json", "--oracle", "--json", "--size", "64x96")
    many = visionkit("data", "check", *data, "--model", "openpose-lite")
    facts = json.loads(many.out)["oracle"]
    hidden = sum(
        not row["keypoints"][2]  # the head, where all limbs begin
        for row in json.loads((puppets / "train" / "train.json").read_text())["annotations"]
    )
    assert hidden
    assert 0.5 < facts["AR"] <= 1 - hidden / facts["boxes"]
    one = visionkit("data", "check", *data, "--model", "hourglass-lite")
    assert one.code == 0
    assert json.loads(one.out)["oracle"]["AP"] == pytest.approx(1)
    text = visionkit("data", "check", *data[:3], "--model", "hourglass-lite").out
    assert "a perfect network would reach AP 100.0 %" in text


def test_the_oracle_takes_a_model_or_weights(visionkit, puppets):
    data = ("--json-annotations", puppets / "train" / "train.json", "--oracle")
    ran = visionkit("data", "check", *data, "--model", "hourglass-lite", "--weights", SHIPPED)
    assert ran.code == 2
    assert "model and weights exclude each other" in ran.err


@pytest.mark.parametrize(("precision", "kind"), [("bfloat16", BFLOAT16), ("int8", INT8)])
def test_scores_of_other_precisions_are_compared(visionkit, run, puppets, tmp_path, precision, kind):
    needs(kind)
    _, folder = run
    images = puppets / "val" / "images"
    val = ("--json-annotations", puppets / "val" / "val.json", "--images", images, "--report", tmp_path / "r")
    how = ("--precision", precision, *(("--calibrate", images) if precision == "int8" else ()))
    ran = visionkit("eval", "--weights", folder / "last.safetensors", *val, *how)
    assert ran.code == 0, ran.err
    assert f"{precision} against float32: AP" in ran.out
    assert (tmp_path / "r" / "precision_recall.png").is_file()
    assert all("keypoints" in row for row in json.loads((tmp_path / "r" / "detections.json").read_text()))
