"""Drawing poses, heat maps and fields: where they belong, in their colours, on any size of picture."""

import numpy as np
import pytest

from visionkit.errors import ShapeError
from visionkit.io.draw import draw
from visionkit.io.draw_maps import draw_fields, draw_heatmaps, over_picture
from visionkit.vision.affine import crop_matrix, move_keypoints
from visionkit.vision.fields import FieldCodec
from visionkit.vision.letterbox import Letterbox
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


@pytest.mark.parametrize(
    ("side", "length", "width"), [(800, 640, 8), (800, 100, 2), (200, 150, 2), (90, 60, 1)]
)
def test_lines_are_as_thick_as_the_pose_is_large(side, length, width):
    canvas = np.zeros((side, side, 3), np.uint8)
    poses = Poses(
        [[[10, 20], [10 + length / 2, 20], [10 + length, 20]]], [[1, 1, 1]], [1], STICK, (side, side)
    )
    picture = draw(canvas, poses)
    assert abs(picture[:, 10 + length // 4].any(axis=1).sum() - width) <= (width > 1)
    assert picture[:, 10 + length].any(axis=1).sum() == 2 * width + 1


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


def test_maps_of_an_input_are_laid_over_their_picture():
    """A letterboxed whole: points come to lie where they are in the picture, the padding nowhere."""
    codec = FieldCodec(STICK, 4)
    box = Letterbox((300, 500), (256, 256))
    points = np.array([[[[60, 40, 1], [60, 280, 1], [460, 280, 1]]]], np.float32)
    heat, fields = codec.encode([move_keypoints(box.matrix, points[0])], None, (256, 256)).maps
    over = over_picture([(heat[0], box.matrix)], 4, (300, 500), 3)
    height, width = over.shape[:2]
    assert abs(width / height - 5 / 3) < 0.05
    assert 0.9 < width / 64 < 1.1
    for k, (x, y, _) in enumerate(points[0, 0]):
        row, column = np.unravel_index(over[..., k].argmax(), (height, width))
        assert abs((column + 0.5) / width * 500 - x) < 5
        assert abs((row + 0.5) / height * 300 - y) < 5
        assert over[row, column, k] > 0.75
    along = over_picture([(fields[0], box.matrix)], 4, (300, 500), 4)
    assert along[height // 2, round(60 / 500 * width - 0.5), 1] > 0.9  # down from a to b


def test_crops_are_laid_beside_each_other_and_the_highest_value_counts():
    ones = np.ones((16, 16, 1), np.float32)
    left, right = (crop_matrix(box, (64, 64), 1.0) for box in ([0, 0, 100, 100], [50, 0, 150, 100]))
    over = over_picture([(ones * 0.5, left), (ones * -0.8, right)], 4, (100, 200), 1)[..., 0]
    assert over.shape == (16, 32)
    assert np.allclose(over[:, 1:7], 0.5)
    assert np.allclose(over[1:-1, 9:23], -0.8)
    assert (over[:, 25:] == 0).all()
    assert (over_picture([], 4, (100, 200), 3) == 0).all()
    vast = crop_matrix([0, 0, 1, 1], (64, 64), 1.0)
    assert over_picture([(ones, vast)], 4, (3000, 4000), 1).shape == (512, 512, 1)
    wild = np.full((16, 16, 1), np.nan, np.float32)
    assert np.isfinite(over_picture([(wild, left)], 4, (100, 200), 1)).all()
