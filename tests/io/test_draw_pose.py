"""Drawing poses, heat maps and fields: where they belong, in their colours, on any size of picture."""

import numpy as np
import pytest

from visionkit.errors import ShapeError
from visionkit.io.draw import draw
from visionkit.io.draw_maps import draw_fields, draw_heatmaps
from visionkit.vision.fields import FieldCodec
from visionkit.vision.poses import Poses
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import COCO_17, FACE_68

STICK = Skeleton("stick", ("a", "b", "c"), ((0, 1), (1, 2)), colours=((255, 0, 0), (0, 255, 0), (0, 0, 255)))
GREY = np.full((100, 120, 3), 128, np.uint8)


def stick(sure=(1, 1, 1), xy=((20, 20), (20, 70), (90, 70)), tracker_id=None):
    return Poses(np.array([xy], float), np.array([sure], float), [0.9], STICK, GREY.shape[:2], tracker_id)


def test_limbs_run_between_points_in_the_colour_of_the_outer_end():
    picture = draw(GREY, stick())
    assert (GREY == 128).all()
    assert (picture[25:65, 20] == (0, 255, 0)).all()
    assert (picture[70, 25:85] == (0, 0, 255)).all()
    assert (picture[20, 20] == (255, 0, 0)).all()
    changed = (picture != 128).any(axis=2)
    assert changed.sum() < 300
    assert not changed[:, 25:].any(axis=1)[:60].any()


def test_missing_points_are_not_drawn():
    picture = draw(GREY, stick((1, 0, 1)))
    changed = (picture != 128).any(axis=2)
    assert changed[20, 20]
    assert changed[70, 90]
    assert changed.sum() < 30
    assert (draw(GREY, stick((0, 0, 0))) == GREY).all()
    assert (draw(GREY, Poses.empty(GREY.shape[:2], STICK)) == GREY).all()


def test_the_number_of_a_followed_person_is_written():
    with_number = draw(GREY, stick(tracker_id=np.array([12])))
    assert ((with_number != draw(GREY, stick())).any(axis=2)).sum() > 50


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (900, 1200)])
def test_any_size_and_any_place(size, rng):
    for xy in ([[-1e9, 1e9], [5, 5], [1e30, 0]], [[np.nan, 1], [np.inf, 2], [1, 1]]):
        with np.errstate(all="ignore"):
            poses = Poses([xy], [[1.0, 1, 1]], [1.0], STICK, size, np.array([3]))
        assert draw(np.zeros((*size, 3), np.uint8), poses).shape == (*size, 3)
    face = Poses(rng.uniform(0, 900, (1, 68, 2)), np.ones((1, 68)), [1.0], FACE_68, size)
    assert draw(np.zeros((*size, 3), np.uint8), face).shape == (*size, 3)


def test_poses_of_another_picture_are_refused():
    with pytest.raises(ShapeError, match="100x120"):
        draw(GREY[:50], stick())


def test_heat_maps_glow_at_the_points():
    codec = FieldCodec(STICK, 4)
    heat, fields = codec.encode([[[[20, 22, 1], [22, 70, 1], [90, 70, 1]]]], None, (100, 120)).maps
    picture = draw_heatmaps(GREY, heat[0], STICK)
    assert (picture[90, 60] == 64).all()  # nothing there: dimmed
    for (x, y), colour in (((20, 22), 0), ((22, 70), 1), ((90, 70), 2)):
        assert picture[y, x].argmax() == colour
        assert picture[y, x, colour] > 200
    with_background = np.concatenate([heat[0], np.ones((25, 30, 1), np.float32)], axis=2)
    assert (draw_heatmaps(GREY, with_background, STICK) == picture).all()
    lines = draw_fields(GREY, fields[0], STICK)
    assert (lines[5, 60] == 64).all()
    down, right = lines[45, 21].astype(int), lines[70, 60].astype(int)
    assert right[0] > 240 > 20 > right[1]  # to the right is red, downwards (a quarter on) yellowish green
    assert down[0] > 100
    assert down[1] > 240 > 20 > down[2]
    assert (GREY == 128).all()


def test_maps_that_are_not_numbers_can_be_looked_at():
    wild = np.array([np.nan, np.inf, -np.inf], np.float32)[np.arange(16 * 20 * 38) % 3].reshape(16, 20, 38)
    assert draw_fields(GREY, wild, COCO_17).shape == GREY.shape
    assert draw_heatmaps(GREY, wild[..., :17], COCO_17).shape == GREY.shape


def test_maps_of_another_skeleton_are_refused():
    with pytest.raises(ShapeError, match=r"heat map \(h, w, 17\)"):
        draw_heatmaps(GREY, np.zeros((4, 4, 16)), COCO_17)
    with pytest.raises(ShapeError, match=r"fields \(h, w, 38\)"):
        draw_fields(GREY, np.zeros((4, 4, 36)), COCO_17)
