"""Detectors as ONNX files: what runs them, what they say of themselves, and what is never written."""

import json
import sys

import cv2
import numpy as np
import pytest

from visionkit.engine import export
from visionkit.engine.export import export_onnx
from visionkit.engine.info import DetectorInfo
from visionkit.engine.predictor import Predictor
from visionkit.errors import FileError, ShapeError, TraceError, UsageError, WeightsError
from visionkit.models.zoo import CARDS, open_weights
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.nms import nms

REASON = "not installed: pip install 'visionkit[onnx]'"
onnx = pytest.importorskip("onnx", reason=f"onnx is {REASON}")
onnxruntime = pytest.importorskip("onnxruntime", reason=f"onnxruntime is {REASON}")

SIZE = (96, 128)


@pytest.fixture(scope="module")
def detector():
    """The shipped network and its description."""
    return open_weights("yolo-nano-person")


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(5).integers(0, 256, (60, 100, 3)).astype(np.uint8)


def feed(picture):
    """A picture as any program would feed it: letterboxed, RGB 0 to 255, (1, 3, H, W) float32."""
    return Letterbox(picture.shape[:2], SIZE).apply(picture).transpose(2, 0, 1)[None].astype(np.float32)


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_a_decoder_can_be_written_from_the_metadata(detector, picture, tmp_path):
    network, info = detector
    done = export_onnx(network, info, tmp_path / "person.onnx", size=SIZE)
    assert done.path == tmp_path / "person.onnx"
    assert done.inputs == {"input": (1, 3, *SIZE)}
    assert done.outputs == {"map_0": (1, 15, 12, 16), "map_1": (1, 15, 6, 8), "map_2": (1, 15, 3, 4)}
    assert done.difference < 1e-5
    running = session(done.path)
    maps = [m.transpose(0, 2, 3, 1).copy() for m in running.run(None, {"input": feed(picture)})]
    said = DetectorInfo.from_metadata(running.get_modelmeta().custom_metadata_map, done.path)
    assert said.input_size == SIZE
    assert said.names == info.names
    found = said.codec().decode(maps, 0.001)[0]
    wanted = Predictor(network, info, size=SIZE, confidence=0.001)(picture)
    assert len(wanted) > 3
    np.testing.assert_allclose(Letterbox(picture.shape[:2], SIZE).undo(found.xyxy), wanted.xyxy, atol=1e-2)
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-5)


def test_decoded_boxes_are_those_of_the_predictor(detector, picture, tmp_path):
    network, info = detector
    done = export_onnx(network, info, tmp_path / "person.onnx", size=SIZE, batch=None, decoded=True)
    places = 3 * (12 * 16 + 6 * 8 + 3 * 4)
    assert done.inputs == {"input": ("batch", 3, *SIZE)}
    assert done.outputs == {"boxes": ("batch", places, 4), "scores": ("batch", places, 1)}
    batch = np.concatenate([feed(picture), feed(picture[::-1].copy())])
    boxes, scores = session(done.path).run(None, {"input": batch})
    for i, given in enumerate((picture, picture[::-1].copy())):
        wanted = Predictor(network, info, size=SIZE, confidence=0.001)(given)
        sure = np.flatnonzero(scores[i, :, 0] >= 0.001)
        kept = sure[nms(boxes[i, sure], scores[i, sure, 0], 0.5, limit=100)]
        np.testing.assert_allclose(scores[i, kept, 0], wanted.confidence, atol=1e-5)
        inside = Letterbox(given.shape[:2], SIZE).undo(boxes[i, kept])
        np.testing.assert_allclose(inside, wanted.xyxy, atol=1e-2)


@pytest.mark.parametrize("decoded", [False, True])
def test_opencv_computes_the_same(detector, picture, tmp_path, decoded):
    """A second runtime reads the file: what it holds is not onnxruntime's private taste."""
    done = export_onnx(*detector, tmp_path / "person.onnx", size=SIZE, decoded=decoded)
    network = cv2.dnn.readNetFromONNX(str(done.path))
    network.setInput(feed(picture))
    found = network.forward(list(done.outputs))
    for one, other in zip(found, session(done.path).run(None, {"input": feed(picture)}), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("name", CARDS)
def test_every_card(name, decoded, tmp_path):
    card = CARDS[name]
    names = ("cat", "dog", "cow")
    done = export_onnx(
        card.network(3), card.info(names), tmp_path / "a.onnx", size=(64, 64), batch=3, decoded=decoded
    )
    assert done.inputs == {"input": (3, 3, 64, 64)}
    assert done.difference < 1e-5


def test_the_metadata_says_how_to_feed_and_read_it(detector, tmp_path):
    path = export_onnx(*detector, tmp_path / "person.onnx", size=SIZE, decoded=True).path
    said = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(said["input"]) == {
        "name": "input", "layout": "NCHW", "dtype": "float32", "channels": "RGB", "range": [0, 255],
        "normalisation": "inside the graph",
    }  # fmt: skip
    assert list(json.loads(said["outputs"])) == ["boxes", "scores"]
    assert said["licence"] == detector[1].licence


def test_the_network_stays_as_it_was(detector, tmp_path):
    network, info = detector
    network.train()
    before = {name: array.copy() for name, array in network.state_dict().items()}
    first = export_onnx(network, info, tmp_path / "a.onnx", size=SIZE).path.read_bytes()
    assert all(module.training for module in network.modules())
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert export_onnx(network, info, tmp_path / "b.onnx", size=SIZE).path.read_bytes() == first


def refused(error, match, tmp_path, *args, **options):
    with pytest.raises(error, match=match):
        export_onnx(*args, tmp_path / options.pop("file", "a.onnx"), **options)
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_written(detector, tmp_path, monkeypatch):
    exported = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", lambda *args, **o: exported(*args, **(o | {"mean": 113.9})))
    refused(TraceError, "onnxruntime computes something else", tmp_path, *detector, size=SIZE)


def test_weights_that_are_not_finite(tmp_path):
    card = CARDS["yolo-nano"]
    network = card.network(1)
    network.state_dict()["head.predict.1.bias"][2] = np.nan
    refused(WeightsError, r"head\.predict\.1\.bias", tmp_path, network, card.info(["cat"]), size=SIZE)


def test_sizes_and_names_that_cannot_be(detector, tmp_path):
    refused(ShapeError, "multiple of 32, got 96x100", tmp_path, *detector, size=(96, 100))
    refused(UsageError, "ends in .onnx", tmp_path, *detector, file="person.safetensors")
    refused(FileError, "cannot write", tmp_path, *detector, file="nowhere/a.onnx", size=SIZE)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_a_package(detector, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    refused(FileError, r"pip install 'visionkit\[onnx\]'", tmp_path, *detector, size=SIZE)
