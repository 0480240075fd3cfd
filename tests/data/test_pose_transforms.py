"""Poses under augmentation: marks painted at the points are found again where the points went."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.data.placing import FILL, letterboxed, resized, visible
from visionkit.data.pose_transforms import PoseAugment, warped
from visionkit.data.sample import Sample
from visionkit.data.transforms import Colour, Flip, Place
from visionkit.vision.affine import similarity
from visionkit.vision.skeleton import Skeleton

TRIO = Skeleton("trio", ("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)))
PAINTS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]], float)


def rng(seed=0):
    return np.random.default_rng(seed)


def marked(points, size=(100, 140), radius=4):
    """A black picture with a disc of its own paint about every labelled point; (N, K, 3) points."""
    points = np.array(points, np.float32)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.zeros((*size, 3), np.uint8)
    for (x, y, v), paint in zip(points.reshape(-1, 3), PAINTS, strict=False):
        if v:
            image[np.hypot(columns - x, rows - y) < radius] = paint
    low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
    boxes = np.concatenate([low - 6, high + 6], axis=1)
    count = len(points)
    return Sample(image, boxes, np.arange(count), np.zeros(count, bool), 7, "marked", points)


def found(image, paint):
    """The centre of the pixels of a paint, or None."""
    near = np.clip(1 - np.abs(image - PAINTS[paint]).sum(axis=2) / 255, 0, 1)
    if near.sum() < 8:
        return None
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(columns * near).sum(), (rows * near).sum()]) / near.sum()


PEOPLE = [[[40, 30, 2], [30, 50, 2], [55, 48, 1]], [[100, 60, 2], [90, 75, 2], [112, 80, 2]]]
PLAIN = PoseAugment(TRIO, colour=Colour(p=0))


def test_points_move_with_their_marks_and_swap_in_a_mirror():
    sample, seen, mirrored = marked(PEOPLE), 0, 0
    for seed in range(80):
        made = PLAIN([sample], (96, 128), rng(seed))
        assert made.image.shape == (96, 128, 3)
        flipped = bool(rng_flip(seed))
        mirrored += flipped
        for row, person in enumerate(made.class_id):
            for k in range(3):
                # in a mirrored picture the point called left is the mark of the one called right
                at, paint = made.keypoints[row, k, :2], 3 * person + (TRIO.flips[k] if flipped else k)
                if ((at > 6) & (at < [122, 90])).all():
                    seen += 1
                    assert np.abs(found(made.image, paint) - at).max() < 0.6
    assert seen > 250
    assert 20 < mirrored < 60


def rng_flip(seed):
    """Whether the recipe mirrors with this seed: the fifth of its draws."""
    generator = rng(seed)
    generator.random(4)
    return generator.random() < 0.5


def test_boxes_hold_the_marks():
    sample = marked(PEOPLE)
    for seed in range(40):
        made = PLAIN([sample], (96, 128), rng(seed))
        assert (made.boxes >= 0).all()
        assert (made.boxes <= [128, 96, 128, 96]).all()
        assert len(made.boxes) == len(made.keypoints) == len(made.class_id) == len(made.ignore)
        for box, points in zip(made.boxes, made.keypoints, strict=True):
            at = np.clip(points[:, :2], 0, [128, 96])
            assert ((at >= box[:2] - 1e-3) & (at <= box[2:] + 1e-3)).all()


def test_pictures_lie_anywhere_inside_or_cover_the_input():
    sample = marked(PEOPLE)  # 100 x 140: as wide as the input, and 36 pixels lower, at scale 1
    whole = replace(sample, boxes=np.array([[0, 0, 140, 100]] * 2, np.float32))
    for scale, width, height in ((0.5, 70, 50), (2.0, 280, 200)):
        recipe = PoseAugment(TRIO, (scale, scale), rotation=0, flip=0, colour=Colour(p=0))
        corners = []
        for seed in range(300):
            points = recipe([whole], (136, 140), rng(seed)).keypoints[0, 0, :2]
            corners.append(points - scale * sample.keypoints[0, 0, :2])
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        expected = np.sort([[0, 0], [140 - width, 136 - height]], axis=0)
        spread = expected[1] - expected[0]
        assert (low >= expected[0] - 0.01).all()
        assert (high <= expected[1] + 0.01).all()
        assert (low < expected[0] + 0.05 * spread).all()
        assert (high > expected[1] - 0.05 * spread).all()


def test_nothing_is_changed_in_place():
    sample = marked(PEOPLE)
    before = [getattr(sample, f).copy() for f in ("image", "boxes", "keypoints", "ignore", "class_id")]
    for seed in range(5):
        PoseAugment(TRIO)([sample], (64, 64), rng(seed))
    after = [getattr(sample, f) for f in ("image", "boxes", "keypoints", "ignore", "class_id")]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_who_leaves_the_picture_is_gone_and_points_outside_keep_their_label():
    sample = marked(PEOPLE)
    made = warped(sample, similarity((0, 0), (-70, 0), 1), (100, 40), TRIO)
    assert made.class_id.tolist() == [1]
    assert made.keypoints[0].tolist() == [[30, 60, 2], [20, 75, 2], [42, 80, 2]]
    assert made.boxes[0, 2] == 40


def test_unlabelled_people_and_crowds_stay():
    sample = marked([*PEOPLE, np.zeros((3, 3))])
    sample = replace(sample, ignore=np.array([False, True, False]))
    made = warped(sample, similarity((0, 0), (9, 9), 0.8, degrees=3), (96, 140), TRIO)
    assert made.ignore.tolist() == [False, True, False]
    assert not made.keypoints[2].any()
    assert made.keypoints.dtype == made.boxes.dtype == np.float32


def test_pictures_without_people_and_sets_without_points():
    empty = Sample(np.zeros((50, 60, 3), np.uint8), np.empty((0, 4), np.float32), np.empty(0, np.int64),
                   np.empty(0, bool), 1, "", np.empty((0, 3, 3), np.float32))  # fmt: skip
    made = PLAIN([empty], (64, 64), rng())
    assert made.keypoints.shape == (0, 3, 3)
    assert made.boxes.shape == (0, 4)
    assert PLAIN([replace(marked(PEOPLE), keypoints=None)], (64, 64), rng()).keypoints is None


def test_without_turning_and_chance_it_is_the_letterbox():
    sample = marked(PEOPLE)
    still = PoseAugment(TRIO, (1, 1), rotation=0, shift=0, flip=0, colour=Colour(p=0))
    made, boxed = still([sample], (70, 98), rng()), letterboxed(sample, (70, 98))
    np.testing.assert_allclose(made.keypoints, boxed.keypoints, atol=1e-4)
    np.testing.assert_allclose(made.boxes, boxed.boxes, atol=1e-4)
    assert np.abs(made.image.astype(int) - boxed.image).mean() < 1.5


@pytest.mark.parametrize("size", [(64, 64), (200, 150), (90, 200)])
def test_letterbox_and_resize_move_points_with_their_marks(size):
    sample = marked(PEOPLE, radius=8)
    for made in (letterboxed(sample, size), resized(sample, 80)):
        assert made.keypoints.dtype == np.float32
        for person in range(2):
            for k in range(3):
                at = made.keypoints[person, k, :2]
                assert np.abs(found(made.image, 3 * person + k) - at).max() < 0.6
        assert (made.keypoints[..., 2] == sample.keypoints[..., 2]).all()


def test_transforms_of_boxes_leave_points_out_but_colour_and_windows_do_not():
    sample = marked(PEOPLE)
    assert Flip(p=1)(sample, rng()).keypoints is None
    assert Place()(sample, (64, 64), rng()).keypoints is None
    assert Colour(p=1)(sample, rng()).keypoints is sample.keypoints
    left = visible(sample, (0, 0, 75, 100))
    assert left.class_id.tolist() == [0]
    assert (left.keypoints == sample.keypoints[:1]).all()


def test_grey_lies_around():
    made = PoseAugment(TRIO, (0.5, 0.5), 0, 0, 0, Colour(p=0))([marked(PEOPLE)], (100, 140), rng())
    assert (made.image[:24] == FILL).all()
    assert (made.image[:, :34] == FILL).all()
    assert (made.image[26:74, 36:104] != FILL).any(axis=2).all()
