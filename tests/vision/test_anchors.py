"""k-means with 1 - IoU."""

import numpy as np
import pytest

from visionkit.errors import DataError, UsageError
from visionkit.vision.anchors import COCO_ANCHORS, balanced, kmeans_anchors, mean_best_iou
from visionkit.vision.boxes import shape_iou


def around(rng, centres, n):
    return np.concatenate([np.array(c) * rng.uniform(0.9, 1.1, (n, 2)) for c in centres])


def test_finds_planted_sizes():
    rng = np.random.default_rng(0)
    centres = [(10, 30), (60, 20), (80, 200)]
    wh = rng.permutation(around(rng, centres, 200))
    found = kmeans_anchors(wh, 3, np.random.default_rng(1))
    np.testing.assert_allclose(found, centres, rtol=0.03)
    assert found.dtype == np.float32
    assert mean_best_iou(wh, found) > 0.85


def test_result_is_a_fixed_point_sorted_and_repeatable():
    rng = np.random.default_rng(2)
    wh = np.exp(rng.uniform(1, 5, (400, 2)))
    found = kmeans_anchors(wh, 9, np.random.default_rng(3))
    assert (np.diff(found.prod(axis=1)) >= 0).all()
    nearest = shape_iou(wh, found).argmax(axis=1)
    medians = [np.median(wh[nearest == k], axis=0) for k in range(9)]
    np.testing.assert_allclose(found, medians, rtol=1e-5)
    np.testing.assert_array_equal(found, kmeans_anchors(wh, 9, np.random.default_rng(3)))
    assert mean_best_iou(wh, found) > mean_best_iou(wh, found[:5])


def test_few_boxes():
    wh = [[3.0, 4], [3, 4], [10, 2]]
    np.testing.assert_array_equal(kmeans_anchors(wh, 2, np.random.default_rng(0)), [[3, 4], [10, 2]])
    with pytest.raises(DataError, match="3 anchors need at least 3 different boxes"):
        kmeans_anchors(wh, 3, np.random.default_rng(0))
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="positive"):
            kmeans_anchors([[3.0, bad]], 1, np.random.default_rng(0))
    with pytest.raises(UsageError):
        kmeans_anchors(wh, 0, np.random.default_rng(0))


def test_balanced_gives_rare_classes_a_voice():
    rng = np.random.default_rng(0)
    wh = np.concatenate([around(rng, [(10, 10)], 990), around(rng, [(100, 100)], 10)])
    label = np.array([0] * 990 + [1] * 10)
    even = balanced(wh, label, 50, rng)
    assert even.shape == (100, 2)
    assert (even[:, 0] > 50).sum() == 50


def test_coco_anchors():
    assert np.shape(COCO_ANCHORS) == (3, 3, 2)
    assert (np.diff(np.prod(COCO_ANCHORS, axis=2).ravel()) > 0).sum() >= 7  # small to large, by and large
