"""A detector from data to predictions: description, training, fine-tuning, files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.engine.made_up import boxes_dataset
from visionkit.datasets.shapes import ShapesDataset
from visionkit.engine.detector import DataSettings, detector_trainer, fitted_anchors
from visionkit.engine.info import DetectorInfo
from visionkit.engine.predictor import Predictor
from visionkit.engine.settings import Settings
from visionkit.engine.transfer import transfer
from visionkit.engine.validation import DetectionValidation, inference_mode
from visionkit.errors import DataError, FileError, ShapeError, UnknownNameError, UsageError, WeightsError
from visionkit.kernels import jit
from visionkit.models import zoo
from visionkit.vision.results import Detections
from visionkit.weights import safetensors

SIZE = (64, 64)


@pytest.fixture(scope="module")
def trained(shapes, info, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer(shapes, info, folder).fit()
    return folder


def trainer(shapes, info, folder, epochs=2, **data):
    network = zoo.card("yolo-nano").network(3)
    return detector_trainer(network, info, *shapes, folder, Settings(epochs), DataSettings(batch=4, **data))


# The description


def test_description_survives_a_file(info):
    full = replace(info, licence="CC0", training={"epochs": 3}, category_ids=(7, 42, 9001))
    assert DetectorInfo.from_metadata(full.to_metadata()) == full
    assert json.loads(full.to_metadata({"x": 1})["training"]) == {"x": 1}
    preprocessing = json.loads(full.to_metadata()["preprocessing"])
    assert preprocessing["mean"] == 114
    assert preprocessing["channels"] == "RGB"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "visionkit-2"),
        ("task", "pose"),
        ("classes", "[]"),
        ("classes", '[{"id": 1}]'),
        ("classes", "3"),
        ("anchors", "[[1, 2]]"),
        ("anchors", "not json"),
        ("anchors", "[[[0,1],[1,1],[1,1]]]"),
        ("input_size", "[320]"),
        ("input_size", "[321, 320]"),
        ("preprocessing", "{}"),
        ("codec", '{"form": "v9", "class_scores": "sigmoid"}'),
        ("assignment", '"v9"'),
        ("strides", '["8"'),
    ],
)
def test_bad_descriptions_are_refused(info, key, value):
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        DetectorInfo.from_metadata({**info.to_metadata(), key: value}, "w.safetensors")


def test_missing_entries_are_named(info):
    for key in ("anchors", "architecture", "licence", "training"):
        metadata = info.to_metadata()
        del metadata[key]
        with pytest.raises(WeightsError, match=key):
            DetectorInfo.from_metadata(metadata)


def test_fitted_anchors_are_the_sizes_of_the_boxes():
    sizes = [(10, 20), (40, 30), (90, 90)]
    rows = [[((5, 5, 5 + w, 5 + h), 0, False) for w, h in sizes] for _ in range(3)]
    rows[0].append(((0, 0, 300, 300), 0, True))  # a crowd counts for nothing
    anchors = fitted_anchors(boxes_dataset(rows, (640, 640), ("a",)), (320, 320), 3, 1)
    assert anchors == (((5, 10),), ((20, 15),), ((45, 45),))


# Training


def test_run_and_its_weights(trained, shapes, info):
    predictor = zoo.load(trained / "best.safetensors", confidence=0.0)
    assert predictor.info.names == shapes[0].names
    assert predictor.info.training["epochs"] == 2
    assert "AP50" in predictor.info.training["metrics"]
    assert predictor.info.anchors == info.anchors
    found = predictor(shapes[1][0].image)
    assert isinstance(found, Detections)
    assert found.names == shapes[0].names


def test_resumed_training_gives_the_same_bits(trained, shapes, info, tmp_path):
    run = trainer(shapes, info, tmp_path, workers=0)
    batches = run.loader.batches

    def cut(epoch, start=0):
        for batch in batches(epoch, start):
            if (epoch, batch.step) == (1, 1):
                raise FileError("the picture is gone", file="x.png")  # data deleted during training
            yield batch

    run.loader.batches = cut
    with pytest.raises(FileError):
        run.fit()
    trainer(shapes, info, tmp_path, workers=2).fit(resume=True)
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_one_thread_gives_the_same_bits(trained, shapes, info, tmp_path):
    if jit.threads() < 2:
        pytest.skip("one thread only: nothing to compare")
    many = jit.threads()
    jit.set_threads(1)
    try:
        trainer(shapes, info, tmp_path, workers=3).fit()
    finally:
        jit.set_threads(many)
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_other_data_is_refused_at_resume(shapes, info, tmp_path):
    trainer(shapes, info, tmp_path, epochs=1).fit()
    with pytest.raises(UsageError, match=r"data\.validation was"):
        trainer((shapes[0], ShapesDataset(5, SIZE, seed=9)), info, tmp_path, epochs=1).fit(resume=True)
    with pytest.raises(UsageError, match=r"batches\.seed was 0, now 1"):
        trainer(shapes, info, tmp_path, epochs=1, seed=1).fit(resume=True)


def test_classes_must_be_those_of_the_data(shapes, info, tmp_path):
    with pytest.raises(DataError, match="classes are not"):
        trainer(shapes, replace(info, names=("x", "y", "z")), tmp_path)


# Validation


def test_validation_agrees_with_the_predictor(trained, shapes):
    network, info = zoo.open_weights(trained / "last.safetensors")
    validation = DetectionValidation(shapes[1], info, batch=2, confidence=0.001, iou=0.5)
    entries = validation.detect(network)
    predictor = Predictor(network, info, confidence=0.001, iou=0.5)
    for index, image_id in enumerate(shapes[1].image_ids):
        given = [entry for entry in entries if entry["image_id"] == image_id]
        # One class a prediction there, every class here: each of those is among these.
        single = predictor(shapes[1][index].image).to_coco(image_id, info.category_ids)
        assert len(given) >= len(single) > 0
        best = single[0]
        close = [e for e in given if e["category_id"] == best["category_id"]]
        assert any(
            np.allclose([*e["bbox"], e["score"]], [*best["bbox"], best["score"]], atol=1e-2) for e in close
        )


# Prediction


def test_predictor_takes_paths_arrays_and_pillow(trained, tmp_path):
    predictor = zoo.load(str(trained / "last.safetensors"), confidence=0.0, max_detections=7)
    picture = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    before = picture.copy()
    Image.fromarray(picture).save(tmp_path / "p.png")
    results = [
        predictor(source)
        for source in (picture, str(tmp_path / "p.png"), tmp_path / "p.png", Image.fromarray(picture),
                       (tmp_path / "p.png").read_bytes())
    ]  # fmt: skip
    for found in results:
        assert found.image_size == (50, 90)
        assert 0 < len(found) <= 7
        np.testing.assert_array_equal(found.xyxy, results[0].xyxy)
        assert (found.xyxy >= 0).all()
        assert (found.xyxy <= [90, 50, 90, 50]).all()
    assert (picture == before).all()
    frames = list(predictor.stream([picture, tmp_path / "p.png"]))
    assert len(frames) == 2
    np.testing.assert_array_equal(frames[1][0], picture)
    assert len(predictor(picture, confidence=1.0)) == 0
    with pytest.raises(ShapeError):
        predictor(picture.astype(np.float32))
    with pytest.raises(FileError):
        predictor(tmp_path / "none.png")


def test_predictor_sizes_and_thresholds(trained):
    network, info = zoo.open_weights(trained / "last.safetensors")
    assert Predictor(network, info, size=96).size == (96, 96)
    assert Predictor(network, info, size=(96, 160))(np.zeros((40, 30, 3), np.uint8)).image_size == (40, 30)
    for wrong in ({"size": 100}, {"size": (0, 32)}, {"confidence": 2}, {"iou": -1}, {"max_detections": 0}):
        with pytest.raises(UsageError):
            Predictor(network, info, **wrong)


def test_thin_and_tiny_pictures(trained):
    predictor = zoo.load(trained / "last.safetensors", confidence=0.0)
    for shape in ((1, 1, 3), (1, 3000, 3), (3000, 1, 3), (2, 1, 3)):
        found = predictor(np.zeros(shape, np.uint8))
        assert np.isfinite(found.xyxy).all()


def test_inference_mode_restores_modes():
    network = zoo.card("yolo-nano").network(1)
    network.neck.eval()
    modes = [module.training for module in network.modules()]
    with inference_mode(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes


# Files and names


def test_names_are_found_or_suggested(tmp_path):
    with pytest.raises(UnknownNameError, match="yolo-nano"):
        zoo.card("yolo-nana")
    with pytest.raises(UnknownNameError, match="without weights"):
        zoo.find("yolo-nano")
    with pytest.raises(UnknownNameError, match="no such weights"):
        zoo.find("whatever")
    with pytest.raises(FileError):
        zoo.load(tmp_path / "none.safetensors")


def test_weights_that_do_not_fit_name_the_file(trained, info, tmp_path):
    tensors, metadata = safetensors.read(trained / "last.safetensors")
    name = next(iter(tensors))
    tensors.pop(name)
    safetensors.write(tmp_path / "less.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match=r"less\.safetensors.*missing"):
        zoo.load(tmp_path / "less.safetensors")
    safetensors.write(tmp_path / "plain.safetensors", tensors, {})
    with pytest.raises(WeightsError, match="format visionkit-1"):
        zoo.load(tmp_path / "plain.safetensors")


def test_saved_detector_is_the_same(trained, tmp_path):
    network, info = zoo.open_weights(trained / "best.safetensors")
    zoo.save(tmp_path / "copy.safetensors", network, info)
    again, described = zoo.open_weights(tmp_path / "copy.safetensors")
    assert described == info
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, again.state_dict()[name])


# Fine-tuning


def test_classes_keep_their_rows_by_name(trained):
    """disc, square, triangle -> triangle, star, disc, moon."""
    old, _ = zoo.open_weights(trained / "last.safetensors")
    names = ("triangle", "star", "disc", "moon")
    network, info, done = zoo.fine_tuned(trained / "last.safetensors", names, (1, 2, 3, 4), seed=5)
    fresh = zoo.card("yolo-nano").network(4, 5)
    assert info.names == names
    assert set(done.classes) == {"triangle", "disc"}
    assert not done.fresh
    assert not done.unused
    before, after, new = (n.state_dict() for n in (old, network, fresh))
    for name in done.copied:
        np.testing.assert_array_equal(before[name], after[name])
    assert {name.split(".")[0] for name in done.matched} == {"head"}
    for name in done.matched:
        a, b, c = (state[name].reshape(3, -1, *state[name].shape[1:]) for state in (before, after, new))
        np.testing.assert_array_equal(a[:, :5], b[:, :5])  # boxes and objectness
        np.testing.assert_array_equal(a[:, 7], b[:, 5])  # triangle
        np.testing.assert_array_equal(a[:, 5], b[:, 7])  # disc
        np.testing.assert_array_equal(c[:, 6], b[:, 6])  # star is new
        np.testing.assert_array_equal(c[:, 8], b[:, 8])


def test_same_number_of_other_classes_is_not_taken_for_the_same(trained):
    network, _, done = zoo.fine_tuned(trained / "last.safetensors", ("square", "disc", "oval"), (1, 2, 3))
    old = zoo.open_weights(trained / "last.safetensors")[0].state_dict()
    name = next(name for name in done.matched if name.endswith("weight"))
    a, b = (state[name].reshape(3, 8, -1) for state in (old, network.state_dict()))
    np.testing.assert_array_equal(a[:, 6], b[:, 5])
    np.testing.assert_array_equal(a[:, 5], b[:, 6])
    assert not np.array_equal(a[:, 7], b[:, 7])


def test_one_class_has_no_class_rows(trained):
    network, info, done = zoo.fine_tuned(trained / "last.safetensors", ("disc",), (3,))
    old = zoo.open_weights(trained / "last.safetensors")[0].state_dict()
    for name in done.matched:
        rows = old[name].reshape(3, 8, -1)[:, :5]
        np.testing.assert_array_equal(rows, network.state_dict()[name].reshape(3, 5, -1))
    assert info.category_ids == (3,)


def test_nothing_fits(trained):
    network = zoo.card("yolo-nano").network(3)
    with pytest.raises(WeightsError, match="no tensor"):
        transfer(network, {"x": np.zeros(3, np.float32)}, ("a",), ("a",), 3, ())
