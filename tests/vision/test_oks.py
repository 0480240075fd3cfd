"""Object keypoint similarity against pycocotools and against its formula."""

import numpy as np
import pytest

from visionkit.errors import ShapeError
from visionkit.vision.oks import oks_matrix

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000


def people(rng, count):
    xy = rng.uniform(0, 200, (1, 17, 2)) + rng.normal(0, 8, (count, 17, 2))
    return xy, rng.random((count, 17)) < 0.7, rng.uniform(500, 9000, count)


def test_against_pycocotools(rng):
    from pycocotools.cocoeval import COCOeval

    for _ in range(20):
        truth, labelled, area = people(rng, 3)
        labelled[:, 0] = True
        found = people(rng, 5)[0]
        theirs = COCOeval(iouType="keypoints")
        theirs._gts = {(1, 1): [
            {"keypoints": np.column_stack([*xy.T, 2 * known]).ravel(), "area": size, "bbox": [0, 0, 1, 1]}
            for xy, known, size in zip(truth, labelled, area, strict=True)
        ]}  # fmt: skip
        theirs._dts = {(1, 1): [
            {"keypoints": np.column_stack([xy, np.ones(17)]).ravel(), "score": 1 - k / 10}
            for k, xy in enumerate(found)
        ]}  # fmt: skip
        ours = oks_matrix(truth, labelled, area, found, SIGMAS)
        np.testing.assert_allclose(ours.T, theirs.computeOks(1, 1), rtol=1e-12)
        assert 0 < ours.max() < 1


def test_by_the_formula():
    """One labelled point, moved by one tolerance: exp(-1/2)."""
    truth, known = np.zeros((1, 2, 2)), np.array([[True, False]])
    moved = np.array([[[2 * 0.1 * 30, 0], [500, 500]], [[0, 0], [1, 1]]])
    similar = oks_matrix(truth, known, [900.0], moved, [0.1, 0.1])
    np.testing.assert_allclose(similar, [[np.exp(-0.5), 1]], rtol=1e-12)


def test_nothing_labelled_and_nothing_there():
    truth = np.zeros((2, 3, 2))
    assert (oks_matrix(truth, np.zeros((2, 3), bool), [9.0, 9.0], truth, [0.1] * 3) == 0).all()
    assert oks_matrix(truth, np.ones((2, 3), bool), [9.0, 9.0], truth[:0], [0.1] * 3).shape == (2, 0)
    with pytest.raises(ShapeError, match="sigmas"):
        oks_matrix(truth, np.ones((2, 3), bool), [9.0, 9.0], truth, [0.1] * 4)
