"""The codec: encode and decode as inverses, and decode against plain loops."""

import numpy as np
import pytest

from visionkit.errors import DataError, ShapeError, UnknownNameError, UsageError
from visionkit.vision.boxes import iou_matrix
from visionkit.vision.protocols import Codec
from visionkit.vision.yolo import YoloCodec

ANCHORS = [[[4, 8], [8, 15], [12, 27]], [[21, 33], [25, 66], [42, 51]], [[51, 101], [91, 158], [164, 210]]]
SIZE = (320, 416)


def separate_boxes(rng, anchors, n=12):
    """Boxes that a form with sizes up to 4 anchors can say, apart from each other."""
    boxes = np.zeros((0, 4))
    for _ in range(400):
        wh = rng.permutation(np.reshape(anchors, (-1, 2)))[0] * rng.uniform(0.75, 1.33, 2)
        centre = wh / 2 + rng.uniform(0, 1, 2) * (np.array([SIZE[1], SIZE[0]]) - wh)
        box = np.concatenate([centre - wh / 2, centre + wh / 2])[None]
        if not len(boxes) or iou_matrix(box, boxes).max() < 0.2:
            boxes = np.concatenate([boxes, box])
        if len(boxes) == n:
            break
    return boxes.astype(np.float32)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize(
    ("form", "rule"),
    [
        (form, rule)
        for form in ("v5", "exp")
        for rule in ("v5", "hy", "v3", "shape")
        if form + rule != "expv5"
    ],
)
def test_decode_of_ideal_maps_is_the_ground_truth(form, rule, classes):
    codec = YoloCodec(ANCHORS, (8, 16, 32), classes, form, rule)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        boxes = [separate_boxes(rng, ANCHORS), np.zeros((0, 4)), separate_boxes(rng, ANCHORS, 5)]
        labels = [rng.integers(0, classes, len(b)) for b in boxes]
        targets = codec.encode(boxes, labels, None, SIZE)
        for nms in ("hard", "soft"):
            confidence = 0.7 if nms == "soft" else 0.25  # soft: doubles fall to 0.14, neighbours to 0.92
            found = codec.decode(codec.ideal_maps(targets), confidence=confidence, nms=nms)
            assert [len(f) for f in found] == [len(b) for b in boxes]
            for truth, label, some in zip(boxes, labels, found, strict=True):
                assert some.image_size == SIZE
                if not len(truth):
                    continue
                pairs = iou_matrix(truth, some.xyxy).argmax(axis=1)
                np.testing.assert_allclose(some.xyxy[pairs], truth, atol=0.01)
                assert some.class_id[pairs].tolist() == label.tolist()
                assert (some.confidence > (0.99 if nms == "hard" else 0.7)).all()


def logistic(t):
    return 1 / (1 + np.exp(-t))


def slow_decode(codec, maps, picture, confidence, all_classes):
    """Every prediction, one by one, from the formulas."""
    found = []
    for values, anchors, stride in zip(maps, codec.anchors, codec.strides, strict=True):
        _, height, width, _ = values.shape
        rows = values[picture].astype(float).reshape(height, width, len(anchors), -1)
        for y in range(height):
            for x in range(width):
                for a, (aw, ah) in enumerate(anchors):
                    t, cell = rows[y, x, a], np.array([x, y])
                    if codec.form == "exp":
                        centre = (logistic(t[:2]) + cell) * stride
                        size = np.exp(t[2:4]) * (aw, ah)
                    else:
                        centre = (2 * logistic(t[:2]) - 0.5 + cell) * stride
                        size = (2 * logistic(t[2:4])) ** 2 * (aw, ah)
                    box = [*(centre - size / 2), *(centre + size / 2)]
                    share = np.ones(1)
                    if codec.classes > 1:
                        share = logistic(t[5:])
                        if codec.class_scores == "softmax":
                            share = np.exp(t[5:]) / np.exp(t[5:]).sum()
                    for c in range(codec.classes) if all_classes else [int(share.argmax())]:
                        if (score := logistic(t[4]) * share[c]) >= confidence:
                            found.append((score, c, *box))
    return np.array(sorted(found, reverse=True))


@pytest.mark.parametrize("scores", ["sigmoid", "softmax"])
@pytest.mark.parametrize("all_classes", [False, True])
@pytest.mark.parametrize(("form", "classes"), [("v5", 1), ("v5", 3), ("exp", 5)])
def test_decode_against_plain_loops(form, classes, all_classes, scores):
    codec = YoloCodec(ANCHORS, (8, 16, 32), classes, form, class_scores=scores)
    rng = np.random.default_rng(classes)
    maps = [rng.normal(-1, 1, (2, *s, codec.channels)).astype(np.float32) for s in codec.map_sizes((64, 96))]
    found = codec.decode(maps, 0.4, iou=1.0, max_detections=1000, all_classes=all_classes)
    for picture in range(2):
        expected = slow_decode(codec, maps, picture, 0.4, all_classes)
        some = found[picture]
        assert len(some) == len(expected) > 5
        np.testing.assert_allclose(some.confidence, expected[:, 0], rtol=1e-5)
        assert some.class_id.tolist() == expected[:, 1].tolist()
        np.testing.assert_allclose(some.xyxy, expected[:, 2:], rtol=1e-4, atol=1e-3)


def test_decode_keeps_the_best_thousand_and_the_limit():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 1)
    rng = np.random.default_rng(0)
    maps = [rng.normal(0, 2, (1, *s, codec.channels)).astype(np.float32) for s in codec.map_sizes(SIZE)]
    (found,) = codec.decode(maps, 0.001, iou=0.9, max_detections=7)
    assert len(found) == 7
    best = np.concatenate([m.reshape(-1, 5)[:, 4] for m in maps]).max()
    assert found.confidence[0] == pytest.approx(logistic(float(best)), rel=1e-5)
    assert (np.diff(found.confidence) <= 0).all()


def test_decode_is_safe_with_numbers_that_are_not():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 3, "exp")
    for poison in (np.nan, np.inf, -np.inf, 1e30):
        maps = [np.full((1, *s, codec.channels), poison, np.float32) for s in codec.map_sizes((64, 64))]
        (found,) = codec.decode(maps, 0.1)
        assert np.isfinite(found.xyxy).all()
        assert np.isfinite(found.confidence).all()
    for confidence in (0.0, 1.0):
        codec.decode(
            [np.zeros((1, *s, codec.channels), np.float32) for s in codec.map_sizes((64, 64))], confidence
        )


def test_ignored_boxes_are_masks_not_truths():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 1)
    boxes = [[[40, 40, 90, 70], [200, 100, 210, 130], [300, 8, 302, 30]], [[0, 0, 30, 30]]]
    targets = codec.encode(boxes, [[0, 0, 0], [0]], [[True, False, False], [True]], SIZE)
    np.testing.assert_array_equal(targets.truths, [[200, 100, 210, 130]])  # crowd and 2 pixel box are out
    assert targets.starts.tolist() == [0, 1, 1]
    for level, stride in zip(targets.levels, codec.strides, strict=True):
        expected = np.zeros(level.ignore.shape[:3], bool)
        for b, (x1, y1, x2, y2) in ((0, boxes[0][0]), (0, boxes[0][2]), (1, boxes[1][0])):
            for y in range(expected.shape[1]):
                for x in range(expected.shape[2]):
                    if (
                        x * stride < x2
                        and (x + 1) * stride > x1
                        and y * stride < y2
                        and (y + 1) * stride > y1
                    ):
                        expected[b, y, x] = True
        np.testing.assert_array_equal(level.ignore, np.repeat(expected[..., None], 3, axis=3))


def test_shape_rule_masks_other_anchors_alike():
    codec = YoloCodec([[[16, 16], [18, 18], [40, 40]]], (8,), 1, assignment="shape")
    (level,) = codec.encode([[[12, 12, 28, 28]]], [[0]], None, (32, 32)).levels
    assert level.cells.tolist() == [[0, 2, 2, 0]]
    assert np.argwhere(level.ignore).tolist() == [[0, 2, 2, 1]]


def test_fraction_is_kept_from_the_ends():
    """ERR-38: a centre exactly on a cell's corner has no finite logit, so it is moved by a hair."""
    codec = YoloCodec([[[16, 16]]], (8,), 1, "exp", "v3")
    targets = codec.encode([[[8, 8, 24, 24]]], [[0]], None, (32, 32))
    offsets = codec.offsets(0, targets.levels[0])
    assert np.isfinite(offsets).all()
    np.testing.assert_allclose(offsets[0, 2:], 0)
    (found,) = codec.decode(codec.ideal_maps(targets))
    np.testing.assert_allclose(found.xyxy, [[8, 8, 24, 24]], atol=0.01)


def test_one_class_with_a_logit_of_its_own():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 1, "exp", class_logit_of_one=True)
    assert codec.channels == 18
    truth = np.array([[20, 30, 60, 90]], np.float32)
    maps = codec.ideal_maps(codec.encode([truth], [[0]], None, SIZE))
    (found,) = codec.decode(maps)
    np.testing.assert_allclose(found.xyxy, truth, atol=0.01)
    for values in maps:
        values[..., 5::6] = 0.0  # a class score of one half
    assert codec.decode(maps)[0].confidence[0] == pytest.approx(0.5, rel=1e-4)


def test_inputs_are_left_alone():
    codec = YoloCodec(ANCHORS, (8, 16, 32), 2)
    boxes, labels, ignore = [np.array([[10.0, 10, 50, 60]], "f4")], [np.array([1])], [np.array([False])]
    kept = [a[0].copy() for a in (boxes, labels, ignore)]
    maps = codec.ideal_maps(codec.encode(boxes, labels, ignore, SIZE))
    before = [m.copy() for m in maps]
    codec.decode(maps)
    for old, new in zip([*kept, *before], [boxes[0], labels[0], ignore[0], *maps], strict=True):
        np.testing.assert_array_equal(old, new)


def test_wrong_arguments_are_named():
    codec: Codec = YoloCodec(ANCHORS, (8, 16, 32), 2)
    none = np.zeros((0, 4))
    with pytest.raises(ShapeError, match="multiple of 32"):
        codec.encode([none], [[]], None, (320, 300))
    with pytest.raises(UsageError, match=r"class_id must be in \[0, 2\)"):
        codec.encode([[[1, 1, 9, 9]]], [[2]], None, SIZE)
    with pytest.raises(DataError, match="finite"):
        codec.encode([[[1, 1, np.nan, 9]]], [[0]], None, SIZE)
    with pytest.raises(ShapeError, match="1 boxes but 2 classes"):
        codec.encode([[[1, 1, 9, 9]]], [[0, 1]], None, SIZE)
    with pytest.raises(ShapeError, match="expected 3 maps"):
        codec.decode([np.zeros((1, 4, 4, 21), np.float32)])
    with pytest.raises(ShapeError, match="2 classes"):
        codec.decode([np.zeros((1, 8 // k, 8 // k, 18), np.float32) for k in (1, 2, 4)])
    with pytest.raises(ShapeError, match="anchors"):
        YoloCodec(ANCHORS, (8, 16), 2)
    with pytest.raises(UsageError, match="v4"):
        YoloCodec(ANCHORS, (8, 16, 32), 2, "v4")
    with pytest.raises(UsageError, match="classes"):
        YoloCodec(ANCHORS, (8, 16, 32), 0)
    with pytest.raises(UsageError, match="neighbouring cell"):
        YoloCodec(ANCHORS, (8, 16, 32), 2, "exp", "v5")
    with pytest.raises(UnknownNameError):
        YoloCodec(ANCHORS, (8, 16, 32), 2, assignment="v9")
