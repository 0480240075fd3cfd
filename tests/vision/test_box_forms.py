"""Box forms and their named inverses."""

import numpy as np
import pytest

from visionkit.errors import ShapeError
from visionkit.vision import boxes as b

INVERSES = [
    (b.xyxy_to_xywh, b.xywh_to_xyxy),
    (b.xyxy_to_cxcywh, b.cxcywh_to_xyxy),
    (lambda x: b.xyxy_to_bxbybhbw(x, (480, 640)), lambda x: b.bxbybhbw_to_xyxy(x, (480, 640))),
]


@pytest.mark.parametrize(("there", "back"), INVERSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 4), (4,), (3, 5, 4)])
def test_inverses(there, back, dtype, shape):
    xyxy = np.random.default_rng(0).uniform(0, 400, shape).astype(dtype)
    kept = xyxy.copy()
    round_trip = back(there(xyxy))
    assert round_trip.dtype == dtype
    assert round_trip.shape == shape
    np.testing.assert_allclose(round_trip, xyxy, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-4)
    np.testing.assert_array_equal(xyxy, kept)


def test_known_values():
    np.testing.assert_array_equal(b.xyxy_to_xywh([10, 20, 40, 80]), [10, 20, 30, 60])
    np.testing.assert_array_equal(b.xyxy_to_cxcywh([10, 20, 40, 80]), [25, 50, 30, 60])
    # height before width (DET-01): 60/100 comes before 30/200
    np.testing.assert_allclose(b.xyxy_to_bxbybhbw([10, 20, 40, 80], (100, 200)), [0.125, 0.5, 0.6, 0.15])
    np.testing.assert_array_equal(b.area([[10, 20, 40, 80], [5, 5, 4, 9]]), [1800, 0])
    np.testing.assert_array_equal(b.clip_boxes([[-5, 3, 900, 700]], (480, 640)), [[0, 3, 640, 480]])


def test_shape_iou():
    np.testing.assert_allclose(
        b.shape_iou([[2, 2], [0, 0]], [[2, 2], [4, 1], [4, 4]]), [[1, 1 / 3, 0.25], [0, 0, 0]]
    )


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError):
        b.area(np.zeros((3, 5)))
    with pytest.raises(ShapeError):
        b.shape_iou(np.zeros((3, 4)), np.zeros((3, 2)))
