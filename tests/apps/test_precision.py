"""`--precision` and `--calibrate` of the command line."""

import json

import pytest

from tests.kernels.narrow_layers import needs
from visionkit.graph import Ranges
from visionkit.kernels.narrow import BFLOAT16, INT8


@pytest.fixture
def data(shapes):
    return ("--json-annotations", shapes / "val" / "val.json", "--images", shapes / "val" / "images")


def test_scores_say_what_a_precision_loses(visionkit, weights, data):
    needs(BFLOAT16)
    ran = visionkit("eval", "--weights", weights, *data, "--precision", "bfloat16")
    assert ran.code == 0, ran.err
    assert "note: bfloat16 against float32: AP 0." in ran.out
    assert "against" not in visionkit("eval", "--weights", weights, *data).out


def test_int8_on_a_folder_of_pictures(visionkit, weights, shapes, data, tmp_path):
    needs(INT8)
    folder, file = shapes / "train" / "images", tmp_path / "ranges.json"
    ran = visionkit("weights", "calibrate", weights, "--images", folder, "--out", file)
    assert (ran.code, ran.last) == (0, str(file)), ran.err
    picture = next((shapes / "val" / "images").iterdir())
    results = []
    for given in (folder, file):
        how = ("--weights", weights, "--precision", "int8", "--calibrate", given)
        scores = visionkit("eval", *how, *data, "--json")
        assert any("int8 against float32" in note for note in json.loads(scores.out)["notes"])
        found = visionkit("detect", picture, *how, "--confidence", "0.01", "--json")
        assert found.code == 0, found.err
        assert visionkit("bench", *how, "--runs", "1", "--json").code == 0
        results.append((scores.out, found.out))
    assert results[0] == results[1], "the file holds what the folder gives"


def test_ranges_beside_the_weights_are_found(visionkit, weights, shapes, tmp_path):
    needs(INT8)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    picture = next((shapes / "val" / "images").iterdir())
    how = ("detect", picture, "--weights", copy, "--precision", "int8")
    without = visionkit(*how)
    assert without.code == 2
    assert "visionkit weights calibrate" in without.err
    beside = tmp_path / "copy.ranges.json"
    folder = shapes / "train" / "images"
    assert visionkit("weights", "calibrate", copy, "--images", folder, "--out", beside).code == 0
    assert visionkit(*how).code == 0
    Ranges(("input",), (1.0,)).write(beside)
    other = visionkit(*how)
    assert other.code == 2
    assert "another network" in other.err


def test_the_shipped_detector_runs_in_int8(visionkit):
    needs(INT8)
    ran = visionkit("detect", "--precision", "int8", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["name"] == ["person"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [(("--calibrate", "."), "--precision int8"), (("--precision", "float16"), "bfloat16")],
)
def test_what_does_not_go_together(visionkit, weights, flags, word):
    ran = visionkit("detect", "--weights", weights, *flags)
    assert ran.code == 2
    assert word in ran.err
