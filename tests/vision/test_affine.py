"""Affine maps: pictures against a loop over pixels, boxes and points, crops, and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit.errors import ShapeError, UsageError
from visionkit.vision.affine import (
    crop_matrix,
    invert,
    mirrors,
    move_boxes,
    move_keypoints,
    move_points,
    similarity,
    warp_affine,
)
from visionkit.vision.letterbox import Letterbox


def slow(source, matrix, size):
    """Every target pixel by itself, in float64: four taps, grey where there is no source."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    height, width, channels = source.shape
    out = np.empty((*size, channels))
    for y in range(size[0]):
        for x in range(size[1]):
            at = (inverse @ [x + 0.5, y + 0.5, 1])[:2] - 0.5
            left, top = np.floor(at).astype(int)
            total = np.zeros(channels)
            for j, across in ((left, 1 - (at[0] - left)), (left + 1, at[0] - left)):
                for i, down in ((top, 1 - (at[1] - top)), (top + 1, at[1] - top)):
                    inside = 0 <= i < height and 0 <= j < width
                    total += across * down * (source[i, j] if inside else 114)
            out[y, x] = total
    return out


def noise(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


MAPS = [
    similarity((10, 10), (10, 10), 1.0),
    similarity((10, 8), (14, 20), 1.3, degrees=25),
    similarity((10, 8), (14, 12), 0.7, degrees=-100, mirror=True),
    similarity((0, 0), (0, 0), 8.0, degrees=45),
    similarity((10, 8), (500, 500), 1.0),
    np.array([[1.2, 0.3, -4], [-0.2, 0.9, 6]]),
]


@pytest.mark.parametrize("matrix", MAPS)
@pytest.mark.parametrize("shape", [(17, 23, 3), (1, 1, 3), (1, 9, 3), (12, 2, 1)])
def test_pictures_are_those_of_the_loop(rng, matrix, shape):
    source = noise(rng, *shape)
    before = source.copy()
    found = warp_affine(source, matrix, (24, 31))
    assert found.dtype == np.uint8
    assert np.abs(found - slow(source, matrix, (24, 31))).max() <= 0.51
    assert (source == before).all()


def test_whole_pixels_move_exactly(rng):
    source = noise(rng, 20, 30, 3)
    assert (warp_affine(source, similarity((0, 0), (0, 0), 1), (20, 30)) == source).all()
    moved = warp_affine(source, similarity((0, 0), (5, -3), 1), (20, 30))
    assert (moved[:17, 5:] == source[3:, :25]).all()
    assert (moved[:, :5] == 114).all()
    assert (moved[17:] == 114).all()
    mirrored = warp_affine(source, similarity((15, 0), (15, 0), 1, mirror=True), (20, 30))
    assert (mirrored == source[:, ::-1]).all()
    turned = warp_affine(source, similarity((15, 10), (10, 15), 1, degrees=90), (30, 20))
    assert (turned == np.rot90(source, -1)).all()


def test_a_given_array_is_filled(rng):
    source, whole = noise(rng, 9, 9, 3), np.zeros((20, 40, 3), np.uint8)
    matrix = similarity((4, 4), (10, 10), 2, degrees=10)
    view = whole[:, 10:30]
    assert warp_affine(source, matrix, view) is view
    assert (view == warp_affine(source, matrix, (20, 20))).all()
    assert not whole[:, :10].any()
    assert not whole[:, 30:].any()


def test_fine_stripes_do_not_alias_when_they_shrink():
    """Stripes one pixel wide become grey; two taps a pixel would pick one colour or the other."""
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    small = warp_affine(stripes, similarity((60, 60), (15, 15), 0.24, degrees=20), (30, 30))
    middle = small[10:20, 10:20].astype(int)
    assert np.abs(middle - 127.5).max() < 12


def test_shrinking_is_the_resize_where_nothing_turns(rng):
    source = noise(rng, 90, 60, 3)
    box = Letterbox((90, 60), (30, 20))
    assert (warp_affine(source, box.matrix, (30, 20)) == box.apply(source)).all()


scales, angles = st.floats(0.2, 4), st.floats(-180, 180)


@given(scale=scales, angle=angles, mirror=st.booleans(), x=st.floats(-50, 50), y=st.floats(-50, 50))
@settings(deadline=None)
def test_maps_are_undone_by_their_inverses(scale, angle, mirror, x, y):
    matrix = similarity((x, y), (y, 7), scale, degrees=angle, mirror=mirror)
    points = np.array([[x, y], [x + 3, y - 1], [0, 0]])
    moved = move_points(matrix, points)
    np.testing.assert_allclose(moved[0], [y, 7], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(moved[1] - moved[0]), scale * np.sqrt(10))
    np.testing.assert_allclose(move_points(invert(matrix), moved), points, atol=1e-9)
    assert mirrors(matrix) == mirror == (np.linalg.det(matrix[:, :2]) < 0)
    np.testing.assert_allclose(invert(matrix)[:, :2], np.linalg.inv(matrix[:, :2]), rtol=1e-12)


def test_clockwise_is_as_seen():
    right = move_points(similarity((0, 0), (0, 0), 1, degrees=90), [[1.0, 0.0]])
    np.testing.assert_allclose(right, [[0, 1]], atol=1e-12)  # y points down


def test_points_and_boxes():
    matrix = similarity((0, 0), (10, 0), 2, degrees=90)
    assert move_points(matrix, np.zeros((4, 2, 2), np.float32)).dtype == np.float32
    points = np.array([[[1, 0, 2], [3, 4, 1], [5, 6, 0]]], np.float32)
    moved = move_keypoints(matrix, points)
    np.testing.assert_allclose(moved, [[[10, 2, 2], [2, 6, 1], [0, 0, 0]]], atol=1e-6)
    assert moved.dtype == np.float32
    assert points[0, 2].tolist() == [5, 6, 0]
    np.testing.assert_allclose(move_boxes(matrix, [[1, 2, 3, 5]]), [[0, 2, 6, 6]], atol=1e-6)
    assert move_boxes(matrix, np.empty((0, 4), np.float32)).shape == (0, 4)
    straight = similarity((0, 0), (3, 4), 0.5)
    np.testing.assert_allclose(move_boxes(straight, [[2, 2, 6, 10]]), [[4, 5, 6, 9]])


def test_crops_show_the_padded_box_in_the_middle():
    matrix = crop_matrix([10, 20, 50, 100], (128, 96), 1.25)
    np.testing.assert_allclose(move_points(matrix, [[30.0, 60.0]]), [[48, 64]])
    x1, y1, x2, y2 = move_boxes(matrix, [10.0, 20, 50, 100])
    assert (y2 - y1) * 1.25 == pytest.approx(128)
    assert (x2 - x1) * 1.25 < 96
    assert (x2 - x1) / (y2 - y1) == pytest.approx(0.5)
    wide = move_boxes(crop_matrix([0, 0, 80, 10], (128, 96), 1.0), [0.0, 0, 80, 10])
    np.testing.assert_allclose(wide, [0, 58, 96, 70])
    assert np.isfinite(crop_matrix([5, 5, 5, 5], (64, 64))).all()


def test_what_makes_no_sense_is_refused(rng):
    source = noise(rng, 4, 4, 3)
    with pytest.raises(UsageError, match="inverse"):
        warp_affine(source, np.zeros((2, 3)), (4, 4))
    with pytest.raises(UsageError, match="finite"):
        warp_affine(source, np.full((2, 3), np.nan), (4, 4))
    with pytest.raises(ShapeError, match="uint8"):
        warp_affine(source.astype(np.float32), MAPS[0], (4, 4))
    with pytest.raises(ShapeError, match="uint8"):
        warp_affine(source[:0], MAPS[0], (4, 4))
    with pytest.raises(UsageError, match="finite"):
        crop_matrix([0, 0, np.inf, 4], (4, 4))
    with pytest.raises(UsageError, match="above 0"):
        crop_matrix([0, 0, 4, 4], (4, 4), 0)
    with pytest.raises(ShapeError, match="box"):
        crop_matrix([0, 0, 4], (4, 4))


@pytest.mark.parametrize("scale", [0.9, 0.6, 0.3, 0.11])
@pytest.mark.parametrize("place", [(700, 500), (30, 560), (1190, 20), (2500, 300)])
@pytest.mark.parametrize("degrees", [0, 35])
def test_a_crop_of_a_large_picture_is_what_the_picture_shows_there(scale, place, degrees):
    """Only what is shown is made smaller; a slow wave comes out as it went in, and grey around it."""
    y, x = np.mgrid[:600, :1200] + 0.5
    source = np.uint8(np.round(127 + 100 * np.sin(x / 90) * np.cos(y / 70)))[..., None]
    matrix = similarity(place, (48, 32), scale, degrees=degrees)
    found = warp_affine(source, matrix, (64, 96))[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :96] + 0.5
    at_x, at_y = np.moveaxis(move_points(invert(matrix), np.stack([columns, rows], axis=-1)), -1, 0)
    margin = 1.5 / scale
    inside = (at_x > margin) & (at_x < 1200 - margin) & (at_y > margin) & (at_y < 600 - margin)
    outside = (at_x < -margin) | (at_x > 1200 + margin) | (at_y < -margin) | (at_y > 600 + margin)
    wave = 127 + 100 * np.sin(at_x / 90) * np.cos(at_y / 70)
    assert np.abs(found - wave)[inside].max(initial=0) < 3
    assert (found[outside] == 114).all()
    assert (inside | outside).mean() > 0.5
