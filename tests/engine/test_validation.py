"""A network scored on a data set: classes, shapes and boxes mapped back, pictures that cannot be read."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.datasets.shapes import ShapesDataset
from visionkit.engine.validation import DetectionValidation, ValidationAndTraining
from visionkit.errors import DataError
from visionkit.models import zoo
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.results import Detections


class Answer:
    """A codec that gives each picture its ground truth, letterboxed: a perfect network."""

    def __init__(self, dataset, info):
        self.dataset, self.info, self.next = dataset, info, 0

    def decode(self, maps, confidence, iou, max_detections, all_classes):
        found = []
        for _ in range(len(maps[0])):
            record = self.dataset.records[self.next % len(self.dataset)]
            self.next += 1
            boxes = Letterbox(record.size, self.info.input_size).boxes(record.boxes)
            order = [self.info.names.index(self.dataset.names[c]) for c in record.class_id]
            scores = np.linspace(0.9, 0.8, len(boxes), dtype=np.float32)
            found.append(Detections(boxes, scores, np.array(order, np.int64), (), self.info.input_size))
        return found


def test_validation_maps_back_boxes_and_classes(shapes):
    """Another input shape, other class order, one class more: perfect answers still score 1."""
    names = ("ghost", "triangle", "disc", "square")
    info = replace(zoo.card("yolo-nano").info(names), input_size=(96, 160))
    validation = DetectionValidation(shapes[1], info, batch=2)
    validation.codec = Answer(shapes[1], info)
    network = zoo.card("yolo-nano").network(4)
    network.backbone.training = False
    scores = validation.scores(network)
    assert scores["AP"] == pytest.approx(1)
    assert scores.images == 5
    assert "ghost" in scores.notes[-1]
    assert network.training
    assert not network.backbone.training
    with pytest.raises(DataError, match="no class"):
        DetectionValidation(shapes[1], replace(info, names=("a", "b", "c", "d")))


def test_training_pictures_are_scored_beside_the_validation(shapes, info):
    """Perfect answers about the part of the training data; untrained ones about the validation."""
    plain = DetectionValidation(shapes[1], info, batch=2)
    network = zoo.card("yolo-nano").network(3)
    both = ValidationAndTraining(plain, shapes[0])
    chosen = [0, 1, 3, 4, 6]  # 5 of 8, evenly
    assert both.training.dataset.image_ids == tuple(shapes[0].image_ids[k] for k in chosen)
    both.training.codec = Answer(both.training.dataset, info)
    scores = both(network)
    assert scores["train/AP"] == scores["train/AP50"] == pytest.approx(1)
    assert {k: v for k, v in scores.items() if not k.startswith("train/")} == plain(network)
    assert len(shapes[0]) == 8


def test_training_pictures_that_cannot_be_read_are_not_scored(shapes, info, monkeypatch):
    network, part = zoo.card("yolo-nano").network(3), shapes[0].part(range(4))
    whole = DetectionValidation(part.part([0, 1, 3]), info).scores(network)
    read = ShapesDataset._picture

    def damaged(self, record):
        if record.image_id == part.image_ids[2]:
            raise DataError("damaged", file=record.file)
        return read(self, record)

    monkeypatch.setattr(ShapesDataset, "_picture", damaged)
    left = DetectionValidation(part, info, skip_bad=True)
    for _ in range(2):  # the second time from memory
        found = left.scores(network)
        assert found.values == whole.values
        assert (found.images, found.boxes) == (whole.images, whole.boxes)
        assert "cannot be read: 1" in found.notes[-1]
        assert list(left.failed) == [part.files[2]]
    with pytest.raises(DataError, match="damaged"):
        DetectionValidation(part, info).scores(network)


def test_a_validation_without_a_single_picture(shapes, info, monkeypatch):
    """All damaged: no score, and no failure either. None to begin with: refused."""

    def damaged(self, record):
        raise DataError("damaged", file=record.file)

    monkeypatch.setattr(ShapesDataset, "_picture", damaged)
    scores = DetectionValidation(shapes[1], info, skip_bad=True).scores(zoo.card("yolo-nano").network(3))
    assert (scores.images, scores.boxes, scores["AP"]) == (0, 0, None)
    assert "cannot be read: 5" in scores.notes[-1]
    with pytest.raises(DataError, match="no picture is left"):
        DetectionValidation(shapes[1].part([]), info)
