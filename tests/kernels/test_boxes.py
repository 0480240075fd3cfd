"""IoU and suppression against definitions in plain Python, and the awkward cases of torture N08-N09."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionkit.errors import ShapeError, UsageError
from visionkit.vision.boxes import iou_matrix
from visionkit.vision.nms import nms, soft_nms


def slow_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def slow_nms(boxes, scores, threshold, class_id):
    """Greedy suppression, straight from the definition."""
    left, kept = sorted(range(len(scores)), key=lambda i: -scores[i]), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            i for i in left if class_id[i] != class_id[best] or slow_iou(boxes[i], boxes[best]) <= threshold
        ]
    return kept


def slow_soft_nms(boxes, scores, sigma, threshold, class_id):
    """The loop of DET-28."""
    left, kept = {i: s for i, s in enumerate(scores) if s >= threshold}, []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        score = left.pop(best)
        if score < threshold:
            break
        kept.append((best, score))
        for i in left:
            if class_id[i] == class_id[best]:
                left[i] *= math.exp(-(slow_iou(boxes[i], boxes[best]) ** 2) / sigma)
    return kept


def crowd(rng, n, spread=60.0):
    corner, size = rng.uniform(0, spread, (n, 2)), rng.uniform(0, 30, (n, 2))
    return np.concatenate([corner, corner + size], axis=1)


corners = arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4, allow_subnormal=False))


@settings(max_examples=300, deadline=None)
@given(corners, corners)
def test_iou_is_symmetric_and_between_zero_and_one(p, q):
    a, b = (
        np.concatenate([np.minimum(x[:, :2], x[:, 2:]), np.maximum(x[:, :2], x[:, 2:])], 1) for x in (p, q)
    )
    found = iou_matrix(a, b)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found, iou_matrix(b, a).T, rtol=1e-12)
    sides = (a[:, 2:] - a[:, :2]).min(axis=1)
    np.testing.assert_allclose(np.diag(iou_matrix(a, a))[sides > 1e-3], 1, rtol=1e-6)


def test_iou_known_values():
    boxes = np.array(
        [[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 2, 2], [1, 1, 1, 1], [0, 0, 2, 0]], float
    )
    found = iou_matrix(boxes, boxes)
    assert found[0, 1] == pytest.approx(1 / 7)
    assert found[0, 2] == 0  # touching
    assert found[0, 3] == 1  # identical
    assert (found[4:] == 0).all()  # no area
    assert iou_matrix(np.zeros((0, 4)), boxes).shape == (0, 6)
    assert iou_matrix([[0, 0, 4, 4]], boxes.astype(np.int64)).dtype == np.float32


def test_iou_against_the_definition():
    rng = np.random.default_rng(0)
    a, b = crowd(rng, 20), crowd(rng, 31)
    expected = [[slow_iou(p, q) for q in b] for p in a]
    np.testing.assert_allclose(iou_matrix(a, b), expected, rtol=1e-12)
    np.testing.assert_allclose(iou_matrix(a.astype("f4"), b.astype("f4")), expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [0, 1, 2, 150])
def test_nms_against_the_definition(n, threshold):
    rng = np.random.default_rng(n)
    boxes, label = crowd(rng, n), rng.integers(0, 3, n)
    scores = rng.choice(np.linspace(0, 1, 50), n)  # with ties
    assert nms(boxes, scores, threshold, label).tolist() == slow_nms(boxes, scores, threshold, label)
    assert nms(boxes, scores, threshold).tolist() == slow_nms(boxes, scores, threshold, [0] * n)
    assert (
        nms(boxes, scores, threshold, label, limit=3).tolist()
        == slow_nms(boxes, scores, threshold, label)[:3]
    )


def test_nms_awkward_cases():
    same = np.tile([[1.0, 2, 30, 40]], (9, 1))
    assert nms(same, np.arange(9)).tolist() == [8]
    assert nms(same, np.ones(9)).tolist() == [0]  # equal scores: the first given
    assert nms(same, np.ones(9), class_id=np.arange(9)).tolist() == list(range(9))
    flat = np.array([[5.0, 5, 5, 5]] * 3)
    assert nms(flat, [0.1, 0.2, 0.3]).tolist() == [2, 1, 0]  # no area, no overlap
    third = np.array([[0.0, 0, 2, 1], [1, 0, 3, 1]])  # IoU exactly 1/3
    assert len(nms(third, [0.9, 0.8], 1 / 3)) == 2  # exactly at the threshold stays
    assert len(nms(third, [0.9, 0.8], np.nextafter(1 / 3, 0))) == 1
    boxes = np.array([[0.0, 0, 2, 2], [9, 9, 12, 12], [0, 0, np.nan, 2], [0, 0, np.inf, 2]])
    assert nms(boxes, [np.nan, 0.5, 0.9, 0.9]).tolist() == [1]
    assert soft_nms(boxes, [np.nan, 0.5, 0.9, 0.9])[0].tolist() == [1]


def test_nms_is_idempotent_and_blind_to_order():
    rng = np.random.default_rng(4)
    boxes, scores = crowd(rng, 200), rng.permutation(200) / 200
    kept = nms(boxes, scores, 0.4)
    assert nms(boxes[kept], scores[kept], 0.4).tolist() == list(range(len(kept)))
    shuffle = rng.permutation(200)
    assert shuffle[nms(boxes[shuffle], scores[shuffle], 0.4)].tolist() == kept.tolist()


def test_nms_of_ten_thousand_boxes():
    rng = np.random.default_rng(5)
    boxes, scores = crowd(rng, 10_000, spread=2000), rng.random(10_000)
    before = boxes.copy(), scores.copy()
    kept = nms(boxes, scores, 0.5)
    overlap = iou_matrix(boxes[kept], boxes[kept])
    np.fill_diagonal(overlap, 0)
    assert overlap.max() <= 0.5
    gone = np.setdiff1d(np.arange(10_000), kept)
    better = (iou_matrix(boxes[gone], boxes[kept]) > 0.5) & (scores[kept][None] > scores[gone][:, None])
    assert better.any(axis=1).all()  # every lost box lost to a better one
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


@pytest.mark.parametrize("n", [0, 1, 60])
def test_soft_nms_against_the_definition(n):
    rng = np.random.default_rng(n + 1)
    boxes, scores, label = crowd(rng, n), rng.random(n), rng.integers(0, 2, n)
    for sigma, threshold in ((0.5, 0.5), (0.5, 0.05), (0.1, 0.3)):
        expected = slow_soft_nms(boxes, scores, sigma, threshold, label)
        index, lowered = soft_nms(boxes, scores, sigma, threshold, label)
        assert index.tolist() == [i for i, _ in expected]
        np.testing.assert_allclose(lowered, [s for _, s in expected], rtol=1e-6)
        assert (np.diff(lowered) <= 0).all()


def test_soft_nms_factors_of_the_source():
    """DET-28: factors 1.0, 0.61, 0.14 at IoU 0, .5, 1."""
    boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 5], [0, 0, 10, 10]])
    index, lowered = soft_nms(boxes, [1.0, 0.9, 0.8, 0.7], threshold=0.0)
    factors = dict(zip(index.tolist(), lowered / np.array([1.0, 0.9, 0.8, 0.7])[index], strict=True))
    assert factors[1] == pytest.approx(1.0)
    assert factors[2] == pytest.approx(0.6065, abs=1e-4)
    assert factors[3] < 0.14  # lowered by the identical box, then by the half one
    assert math.exp(-1 / 0.5) == pytest.approx(0.1353, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: nms(np.zeros((2, 5)), [1, 1]), ShapeError),
        (lambda: nms(np.zeros((2, 4)), [1.0]), ShapeError),
        (lambda: nms(np.zeros((2, 4)), [1.0, 1], class_id=[0]), ShapeError),
        (lambda: nms(np.zeros((2, 4)), [1.0, 1], 1.5), UsageError),
        (lambda: nms(np.zeros((2, 4)), [1.0, 1], float("nan")), UsageError),
        (lambda: soft_nms(np.zeros((2, 4)), [1.0, 1], sigma=0), UsageError),
        (lambda: iou_matrix(np.zeros(4), np.zeros((1, 4))), ShapeError),
    ],
)
def test_wrong_arguments_are_refused(call, error):
    with pytest.raises(error):
        call()
