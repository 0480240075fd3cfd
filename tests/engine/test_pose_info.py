"""A pose network's description, there and back."""

import json
from dataclasses import replace

import pytest

from tests.engine.pose_made_up import PUPPET
from visionkit.engine.info import DetectorInfo
from visionkit.engine.pose_info import PoseInfo
from visionkit.errors import WeightsError
from visionkit.vision.fields import FieldCodec
from visionkit.vision.heatmaps import HeatmapCodec
from visionkit.vision.skeletons import SKELETONS

INFO = PoseInfo("net", PUPPET, ("cat", "dog"), (3, 9001), (64, 96), 4, sigma=1.5, limb_width=2.5,
                background=True, mean=100.0, scale=1 / 58, padding=1.1, focus=2.0)  # fmt: skip


def test_description_survives_a_file():
    full = replace(INFO, licence="CC0", training={"epochs": 3})
    assert PoseInfo.from_metadata(full.to_metadata()) == full
    assert json.loads(full.to_metadata({"x": 1})["training"]) == {"x": 1}
    assert json.loads(full.to_metadata()["preprocessing"])["resize"] == "letterbox"
    one = replace(full, people="one")
    assert json.loads(one.to_metadata()["preprocessing"])["resize"] == "crop"
    assert PoseInfo.from_metadata(one.to_metadata()) == one


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_every_skeleton_travels_whole(skeleton):
    info = PoseInfo("net", skeleton)
    assert PoseInfo.from_metadata(info.to_metadata()).skeleton == skeleton


def test_codec_channels_and_criterion_follow():
    many, one = INFO.codec(), replace(INFO, people="one").codec()
    assert isinstance(many, FieldCodec)
    assert isinstance(one, HeatmapCodec)
    assert INFO.channels == many.channels == (6, 8)
    assert replace(INFO, people="one", background=False).channels == (5,)
    assert (many.stride, many.heatmaps.sigma, many.limb_width, one.sigma) == (4, 1.5, 2.5, 1.5)
    assert INFO.criterion().focus == 2
    assert INFO.criterion().codec.stride == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "visionkit-2"),
        ("task", "detect"),
        ("classes", '[{"id": 1}]'),
        ("classes", "3"),
        ("skeleton", "{}"),
        ("skeleton", '{"name": "x", "keypoints": ["a"], "limbs": [[0, 1]], "flips": [0], "sigmas": [1], '
         '"guessed": true, "colours": [[1, 2, 3]]}'),
        ("skeleton", "not json"),
        ("input_size", "[320]"),
        ("input_size", "[66, 64]"),
        ("people", '"few"'),
        ("codec", '{"stride": 4}'),
        ("codec", '{"stride": 0, "sigma": 1, "limb_width": 2, "background": false}'),
        ("preprocessing", "{}"),
        ("crop", "{}"),
        ("loss", '{"focus": "much"}'),
        ("loss", '{"focus": -1}'),
    ],
)  # fmt: skip
def test_bad_descriptions_are_refused(key, value):
    with pytest.raises(WeightsError, match=r"w\.safetensors.*"):
        PoseInfo.from_metadata({**INFO.to_metadata(), key: value}, "w.safetensors")


def test_missing_entries_are_named():
    for key in ("skeleton", "architecture", "licence", "training", "people", "loss"):
        metadata = INFO.to_metadata()
        del metadata[key]
        with pytest.raises(WeightsError, match=key):
            PoseInfo.from_metadata(metadata)


def test_the_two_tasks_refuse_each_other():
    with pytest.raises(WeightsError, match="task"):
        DetectorInfo.from_metadata(INFO.to_metadata())
