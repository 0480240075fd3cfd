"""Drawing: boxes where they belong, nothing elsewhere, on any size of picture."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import visionkit as vk
from visionkit.errors import ShapeError, UsageError
from visionkit.io.draw import colour_of, draw


def found(size, boxes, confidence=None, names=("thing", "other")):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    confidence = np.ones(len(boxes)) if confidence is None else np.array(confidence)
    return vk.Detections(boxes, confidence.astype(np.float32), np.zeros(len(boxes), np.int64), names, size)


def test_the_outline_lies_on_the_box_and_the_source_is_untouched():
    """A half-open box 20..60 x 40..80 has its outermost pixels at 20, 59, 40 and 79."""
    grey = np.full((100, 100, 3), 128, np.uint8)
    picture = draw(grey, found((100, 100), [[20, 40, 60, 80]]))
    assert (grey == 128).all()
    assert picture.shape == (100, 100, 3)
    assert picture.dtype == np.uint8
    colour = np.array(colour_of(0))
    assert (picture[79, 20:60] == colour).all()
    assert (picture[40:80, 20] == colour).all()
    assert (picture[40:80, 59] == colour).all()
    assert (picture[41:79, 21:59] == 128).all()
    assert (picture[80:] == 128).all()
    assert (picture[40:, :20] == 128).all()


def test_nothing_found_changes_nothing(rng):
    picture = rng.integers(0, 256, (37, 53, 3), np.uint8)
    assert (draw(picture, vk.Detections.empty((37, 53))) == picture).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (17, 23), (1500, 2000)])
def test_any_size_and_any_box(size):
    height, width = size
    boxes = [[0, 0, width, height], [width, height, width, height], [-9, -9, 2 * width, 2 * height]]
    picture = draw(np.zeros((*size, 3), np.uint8), found(size, boxes, names=("é\n\x1b[31m" + "x" * 90,)))
    assert picture.shape == (*size, 3)
    assert picture.any()


def test_letters_grow_with_the_picture():
    """The label's height: rows of solid colour above the box."""
    heights = []
    for side in (320, 1280):
        box = [side / 4, side / 2, side * 3 / 4, side * 3 / 4]
        picture = draw(np.zeros((side, side, 3), np.uint8), found((side, side), [box]))
        heights.append(int((picture[: side // 2] == colour_of(0)).all(axis=2).any(axis=1).sum()))
    assert 10 <= heights[0] <= 40
    assert heights[1] > 2.5 * heights[0]


def test_the_surest_is_on_top():
    two = vk.Detections(
        np.array([[10, 40, 90, 90], [10, 40, 90, 90]], np.float32), np.array([0.9, 0.3], np.float32),
        np.array([1, 0]), ("a", "b"), (100, 100),
    )  # fmt: skip
    assert (draw(np.zeros((100, 100, 3), np.uint8), two)[89, 50] == colour_of(1)).all()


def test_paths_and_pillow_images_are_taken_and_results_saved(tmp_path, rng):
    array = rng.integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(array).save(tmp_path / "in.png")
    one = found((40, 60), [[5, 15, 50, 35]])
    pictures = [draw(source, one) for source in (array, Image.fromarray(array), tmp_path / "in.png")]
    assert all((picture == pictures[0]).all() for picture in pictures)
    pictures[0].save(tmp_path / "out.png")
    assert (np.asarray(Image.open(tmp_path / "out.png")) == pictures[0]).all()
    with pytest.raises(UsageError, match="format"):
        pictures[0].save(tmp_path / "out.xyz")


def test_detections_of_another_picture_are_refused():
    with pytest.raises(ShapeError, match="100x100"):
        draw(np.zeros((50, 50, 3), np.uint8), found((100, 100), [[0, 0, 9, 9]]))


def test_one_that_is_followed_has_a_colour_and_a_number_of_its_own():
    """Both are of class 0; their boxes differ in colour, and their labels in their first letters."""
    grey, boxes = np.full((200, 400, 3), 128, np.uint8), [[20, 60, 180, 180], [220, 60, 380, 180]]
    two = replace(found(grey.shape[:2], boxes), tracker_id=np.array([4, 17]))
    picture = draw(grey, two)
    assert (picture[179, 20:180] == colour_of(4)).all()
    assert (picture[179, 220:380] == colour_of(17)).all()
    labels = [draw(grey, replace(two[0], tracker_id=np.array([n])))[:60] for n in (4, 17)]
    wide = [(label != 128).any(axis=(0, 2)).sum() for label in labels]
    plain = draw(grey, replace(two[0], tracker_id=None))[:60]
    assert (plain != 128).any(axis=(0, 2)).sum() < wide[0] < wide[1]


def test_neighbouring_classes_differ_in_colour():
    colours = np.array([colour_of(n) for n in range(20)])
    apart = np.abs(colours[1:] - colours[:-1]).sum(axis=1)
    assert apart.min() > 100
