"""Boxes and scores of every place against loops that follow the papers' formulas, and against `decode`."""

from math import exp

import numpy as np
import pytest

from visionkit.errors import ShapeError
from visionkit.tensor import Tensor, no_grad
from visionkit.vision.dense import predictions
from visionkit.vision.yolo import YoloCodec

ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))
SIZE = (64, 96)


def sigmoid(t):
    return 1 / (1 + exp(-t))


def by_hand(codec, maps, picture):
    """Boxes and scores, place by place in plain numbers."""
    boxes, scores = [], []
    for level, values in enumerate(maps):
        stride = codec.strides[level]
        for y, x in np.ndindex(values.shape[1:3]):
            for (aw, ah), (tx, ty, tw, th, objectness, *classes) in zip(
                codec.anchors[level], values[picture, y, x].reshape(2, -1), strict=True
            ):
                if codec.form == "exp":
                    cx, cy, w, h = sigmoid(tx) + x, sigmoid(ty) + y, exp(tw) * aw, exp(th) * ah
                else:
                    cx, cy = 2 * sigmoid(tx) - 0.5 + x, 2 * sigmoid(ty) - 0.5 + y
                    w, h = (2 * sigmoid(tw)) ** 2 * aw, (2 * sigmoid(th)) ** 2 * ah
                cx, cy = cx * stride, cy * stride
                boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                if codec.class_scores == "softmax" and classes:
                    shares = [exp(c) / sum(exp(other) for other in classes) for c in classes]
                else:
                    shares = [sigmoid(c) for c in classes] or [1.0]
                scores.append([sigmoid(objectness) * share for share in shares])
    return np.array(boxes), np.array(scores)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("class_scores", ["sigmoid", "softmax"])
@pytest.mark.parametrize("form", ["v5", "exp"])
def test_every_place(form, class_scores, classes, rng):
    codec = YoloCodec(ANCHORS, (8, 16, 32), classes, form, class_scores=class_scores)
    maps = [rng.normal(size=(2, *size, codec.channels)) for size in codec.map_sizes(SIZE)]
    with no_grad():
        boxes, scores = (t.data for t in predictions(codec, [Tensor(values) for values in maps]))
    for picture in range(2):
        wanted = by_hand(codec, maps, picture)
        np.testing.assert_allclose(boxes[picture], wanted[0], atol=1e-9)
        np.testing.assert_allclose(scores[picture], wanted[1], atol=1e-12)

    # What `decode` finds among them: the best class of the best places, in the order of the scores.
    for picture, found in enumerate(codec.decode(maps, 0.3, iou=1.0, max_detections=5)):
        best = np.argsort(-scores[picture].max(axis=1))[: len(found)]
        assert len(found) == 5
        np.testing.assert_allclose(found.xyxy, boxes[picture][best], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.confidence, scores[picture][best].max(axis=1), rtol=1e-6)
        np.testing.assert_array_equal(found.class_id, scores[picture][best].argmax(axis=1))


def test_maps_of_another_codec_are_refused(rng):
    codec = YoloCodec(ANCHORS, (8, 16, 32), 3)
    with pytest.raises(ShapeError, match="expected 3 maps, got 2"):
        predictions(codec, [Tensor(np.zeros((1, 8, 8, codec.channels)))] * 2)
