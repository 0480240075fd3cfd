"""Transforms against slow, obvious versions: colour pixel by pixel, boxes by drawing them."""

import colorsys

import numpy as np
import pytest

from visionkit.data.placing import FILL, letterboxed, resized, visible
from visionkit.data.sample import Sample
from visionkit.data.transforms import CELLS, Augment, Colour, Flip, Mosaic, Place
from visionkit.kernels import colour


def rng(seed=0):
    return np.random.default_rng(seed)


PAINTS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)


def painted(height, width, boxes, first=0):
    """A black picture whose boxes are filled, each with its own paint."""
    image = np.zeros((height, width, 3), np.uint8)
    for k, (left, top, right, bottom) in enumerate(boxes, first):
        image[top:bottom, left:right] = PAINTS[k]
    count = len(boxes)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(image, found, np.arange(first, first + count), np.zeros(count, bool), 1, "painted")


def bounds(image, paint):
    """The box around the pixels that are mostly of a paint."""
    mask = (np.abs(image.astype(int) - PAINTS[paint]) < 127).all(axis=2)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def hsv_slow(pixel, hue, saturation, value):
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in pixel))
    return [
        round(c * 255) for c in colorsys.hsv_to_rgb((h * hue) % 1, min(s * saturation, 1), min(v * value, 1))
    ]


@pytest.mark.parametrize("gains", [(1, 1, 1), (1.015, 1.6, 0.6), (0.985, 0.4, 1.4), (1.3, 0, 1), (0.5, 9, 3)])
def test_hsv_gains_agree_with_colorsys(gains):
    image = rng().integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image[0, :9] = [
        [0, 0, 0],
        [255] * 3,
        [7] * 3,
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [9, 9, 0],
        [0, 9, 9],
        [9, 0, 9],
    ]
    expected = np.array([[hsv_slow(p, *gains) for p in row] for row in image.tolist()])
    colour.hsv_gains(image, *map(np.float32, gains))
    assert np.abs(image - expected).max() <= (1 if gains != (1, 1, 1) else 0)


@pytest.mark.parametrize("vertical", [False, True])
def test_flip_moves_boxes_with_pixels_and_is_its_own_inverse(vertical):
    sample = painted(40, 60, [(3, 5, 20, 30), (30, 10, 58, 39)])
    before = sample.image.copy()
    flip = Flip(p=1, vertical=vertical)
    once = flip(sample, rng())
    for k in range(2):
        assert (bounds(once.image, k) == once.boxes[k]).all()
    twice = flip(once, rng())
    assert (twice.image == before).all()
    assert (twice.boxes == sample.boxes).all()
    assert (sample.image == before).all()
    assert Flip(p=0)(sample, rng()) is sample


def test_place_moves_boxes_with_pixels():
    sample = painted(90, 120, [(30, 30, 60, 60), (70, 20, 110, 50)])
    inside = 0
    for seed in range(60):
        made = Place()(sample, (96, 128), rng(seed))
        assert made.image.shape == (96, 128, 3)
        for box, class_id, ignore in zip(made.boxes, made.class_id, made.ignore, strict=True):
            if not ignore:
                inside += 1
                assert np.abs(bounds(made.image, class_id) - box).max() <= 1.5
    assert inside > 60


def test_mosaic_moves_boxes_with_pixels_and_keeps_to_its_quarters():
    samples = [painted(90, 120, [(20, 20, 100, 70)], first=k) for k in range(4)]
    seen = 0
    for seed in range(60):
        made = Mosaic()(samples, (128, 128), rng(seed))
        for box, class_id, ignore in zip(made.boxes, made.class_id, made.ignore, strict=True):
            if not ignore:
                seen += 1
                assert np.abs(bounds(made.image, class_id) - box).max() <= 1.5
    assert seen > 120
    grey = np.mean((made.image == FILL).all(axis=2))
    assert grey < 0.8


def test_letterbox_moves_boxes_with_pixels():
    sample = painted(90, 120, [(30, 30, 60, 60)])
    made = letterboxed(sample, (64, 64))
    assert np.abs(bounds(made.image, 0) - made.boxes[0]).max() <= 1
    assert (made.image[:8] == FILL).all()
    assert (made.image[56:] == FILL).all()


def test_resized_only_shrinks():
    sample = painted(90, 120, [(30, 30, 60, 60)])
    assert resized(sample, 120) is sample
    small = resized(sample, 60)
    assert small.size == (45, 60)
    assert small.boxes.tolist() == [[15, 15, 30, 30]]


def test_which_boxes_count_after_a_crop():
    boxes = [
        (10, 10, 20, 20),  # whole
        (-5, 10, 15, 20),  # three quarters left
        (-15, 10, 5, 20),  # exactly a quarter left
        (-16, 10, 4, 20),  # a fifth left
        (-30, 10, -10, 20),  # gone
        (60, 60, 62.5, 70),  # too thin
        (0, 0, 100, 100),  # a crowd
    ]
    ignore = np.array([False] * 6 + [True])
    sample = Sample(
        np.zeros((100, 100, 3), np.uint8), np.array(boxes, np.float32), np.arange(7), ignore, 1, ""
    )
    left = visible(sample, (0, 0, 100, 100))
    assert left.class_id.tolist() == [0, 1, 2, 3, 5, 6]
    assert left.ignore.tolist() == [False, False, False, True, True, True]
    assert left.boxes[1].tolist() == [0, 10, 15, 20]


def test_the_recipe():
    assert (CELLS.mosaic_parts.scale, CELLS.place.scale, len(CELLS.flips)) == ((0.6, 1.2), (0.7, 1.4), 2)
    draws = [Augment().wants(0.5, rng(seed)) for seed in range(2000)]
    assert set(draws) == {0, 3}
    assert abs(np.mean(draws) / 3 - 0.5) < 0.04
    assert all(Augment().wants(0.9, rng(seed)) == 0 for seed in range(50))
    assert any(CELLS.wants(0.84, rng(seed)) for seed in range(50))
    assert not any(CELLS.wants(0.85, rng(seed)) for seed in range(50))


def test_colour_leaves_the_given_picture_alone():
    sample = painted(20, 20, [(3, 3, 9, 9)])
    before = sample.image.copy()
    changed = Colour(p=1)(sample, rng())
    assert (sample.image == before).all()
    assert (changed.image != before).any()
    assert changed.boxes is sample.boxes
