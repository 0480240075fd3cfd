"""Letterbox: where the picture lands, and the way back."""

import numpy as np
import pytest

from visionkit.errors import ShapeError, UsageError
from visionkit.vision.letterbox import Letterbox


def test_placement():
    box = Letterbox((480, 640), (320, 320))
    assert (box.resized, box.pad, box.scale) == ((240, 320), (40, 0), (0.5, 0.5))
    np.testing.assert_allclose(box.boxes([[0, 0, 640, 480]]), [[0, 40, 320, 280]])
    image = np.full((480, 640, 3), 7, np.uint8)
    out = box.apply(image)
    assert out.shape == (320, 320, 3)
    assert (out[40:280] == 7).all()
    assert (out[:40] == 114).all()
    assert (out[280:] == 114).all()
    tall = Letterbox((640, 320), (320, 416)).apply(np.zeros((640, 320, 3), np.uint8))
    assert (tall[:, :128] == 114).all()
    assert (tall[:, 128:288] == 0).all()
    assert (tall[:, 288:] == 114).all()


def test_apply_fills_a_given_array_fully():
    out = np.full((64, 64, 3), 1, np.uint8)
    box = Letterbox((30, 50), (64, 64))
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    assert box.apply(image, out) is out
    np.testing.assert_array_equal(out, box.apply(image))


def test_round_trip_of_ten_thousand_sizes():
    """Boxes come back within half a pixel, and placed pictures never leave the input (torture N10)."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(0, np.log(30000), (10_000, 2))).astype(int)
    sizes[:4] = [[1, 1], [1, 30000], [30000, 1], [2, 3]]
    worst = 0.0
    for height, width in sizes.tolist():
        box = Letterbox((height, width), (320, 416))
        (top, left), (h, w) = box.pad, box.resized
        assert 0 <= top <= top + h <= 320
        assert 0 <= left <= left + w <= 416
        assert h == 320 or w == 416
        corners = np.sort(rng.uniform(0, 1, (3, 2, 2)), axis=1).reshape(3, 4) * [width, height, width, height]
        corners = corners.astype(np.float32)
        back = box.undo(box.boxes(corners))
        assert back.dtype == np.float32
        worst = max(worst, float(np.abs(back - corners).max()))
    assert worst <= 0.5


def test_the_matrix_moves_points_as_boxes_are_moved():
    for size in ((480, 640), (7, 1000), (333, 11), (1, 1)):
        box = Letterbox(size, (96, 128))
        corners = np.array([[0, 0], [size[1], size[0]], [3, 5]])
        moved = corners @ box.matrix[:, :2].T + box.matrix[:, 2]
        boxes = box.boxes(np.concatenate([corners, corners], axis=1).astype(float))
        np.testing.assert_allclose(np.concatenate([moved, moved], axis=1), boxes, rtol=1e-12)


def test_undo_clips_to_the_picture_unless_told():
    box = Letterbox((100, 200), (64, 64))
    outside = np.array([[-5.0, -5.0, 70.0, 70.0]])
    np.testing.assert_array_equal(box.undo(outside), [[0, 0, 200, 100]])
    assert (box.undo(outside, clip=False)[0, :2] < 0).all()
    assert box.undo(np.zeros((0, 4))).shape == (0, 4)


def test_pixels_and_boxes_move_alike():
    """A white rectangle's edges in the resized picture lie where `boxes` says."""
    image = np.zeros((90, 130, 3), np.uint8)
    image[20:60, 30:100] = 255
    box = Letterbox((90, 130), (256, 256))
    x1, y1, x2, y2 = box.boxes([[30, 20, 100, 60]])[0]
    column = box.apply(image)[:, 128, 0] > 127
    row = box.apply(image)[(box.pad[0] + box.resized[0] // 2), :, 0] > 127
    rows, columns = np.flatnonzero(column[box.pad[0] : box.pad[0] + box.resized[0]]), np.flatnonzero(row)
    assert abs(rows[0] + box.pad[0] - y1) <= 0.5
    assert abs(rows[-1] + 1 + box.pad[0] - y2) <= 0.5
    assert abs(columns[0] - x1) <= 0.5
    assert abs(columns[-1] + 1 - x2) <= 0.5


def test_wrong_sizes_are_refused():
    with pytest.raises(UsageError, match="positive"):
        Letterbox((0, 5), (32, 32))
    with pytest.raises(ShapeError, match="expected a picture"):
        Letterbox((4, 5), (32, 32)).apply(np.zeros((5, 4, 3), np.uint8))
