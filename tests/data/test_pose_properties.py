"""Any picture, any map: painted points and boxes are found where their numbers went."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit.data.placing import letterboxed, resized
from visionkit.data.pose_transforms import PersonAugment, PoseAugment, warped
from visionkit.data.sample import Sample
from visionkit.data.transforms import Colour
from visionkit.vision.affine import similarity
from visionkit.vision.skeleton import Skeleton

TRIO = Skeleton("trio", ("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)))
PAINTS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]])
PLAIN = PoseAugment(TRIO, colour=Colour(p=0))
SIZE = (110, 150)

unit = st.floats(0, 1, width=32)
jitters = st.lists(st.tuples(unit, unit), min_size=6, max_size=6)
labels = st.lists(st.integers(0, 2), min_size=6, max_size=6)
maps = st.builds(
    lambda scale, degrees, mirror, x, y: similarity((75, 55), (x, y), scale, degrees=degrees, mirror=mirror),
    st.floats(0.4, 2.5), st.floats(-180, 180), st.booleans(), st.floats(-20, 150), st.floats(-20, 120),
)  # fmt: skip


def scene(jitter, shown):
    """Two people on black, a disc about each labelled point in a paint of its own, in cells of a grid."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    image, points = np.zeros((*SIZE, 3), np.uint8), np.zeros((6, 3), np.float32)
    for k, ((across, down), v) in enumerate(zip(jitter, shown, strict=True)):
        x, y = (k % 3) * 50 + 12 + 26 * across, (k // 3) * 55 + 12 + 31 * down
        if v:
            image[np.hypot(columns - x, rows - y) < 8] = PAINTS[k]
            points[k] = x, y, v
    points = points.reshape(2, 3, 3)
    boxes = np.array([[2, 2, 148, 54], [2, 56, 148, 109]], np.float32)
    return Sample(image, boxes, np.arange(2), np.zeros(2, bool), 1, "scene", points)


def found(image, paint):
    """Where the pixels of a paint have their centre, and how many they are."""
    near = np.clip(1 - np.abs(image - PAINTS[paint].astype(float)).sum(axis=2) / 255, 0, 1)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    total = max(near.sum(), 1e-9)
    return np.array([(columns * near).sum(), (rows * near).sum()]) / total, total


def check_marks(before, made, mirrored, margin):
    """Every labelled point well inside is on its mark; labels go with it, left and right swapped."""
    height, width = made.size
    seen = 0
    for row, person in enumerate(made.class_id):
        for k in range(3):
            origin = TRIO.flips[k] if mirrored else k
            x, y, v = made.keypoints[row, k]
            assert v == before.keypoints[person, origin, 2]
            if not v:
                assert x == y == 0
            elif margin < x < width - margin and margin < y < height - margin:
                at, total = found(made.image, 3 * person + origin)
                assert total > 5
                assert np.abs(at - [x, y]).max() < 0.4
                seen += 1
    return seen


@given(jitter=jitters, shown=labels, matrix=maps)
@settings(max_examples=60, deadline=None)
def test_points_follow_any_map(jitter, shown, matrix):
    sample = scene(jitter, shown)
    copies = sample.image.copy(), sample.boxes.copy(), sample.keypoints.copy()
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    made = warped(sample, matrix, (120, 140), TRIO)
    check_marks(sample, made, np.linalg.det(matrix[:, :2]) < 0, 10 * scale + 2)
    for array, copy in zip((sample.image, sample.boxes, sample.keypoints), copies, strict=True):
        assert (array == copy).all()


@given(jitter=jitters, seed=st.integers(0, 2**32), height=st.integers(60, 200), width=st.integers(60, 200))
@settings(max_examples=60, deadline=None)
def test_points_follow_the_recipe(jitter, seed, height, width):
    sample = scene(jitter, [2] * 6)
    made = PLAIN([sample], (height, width), np.random.default_rng(seed))
    again = PLAIN([sample], (height, width), np.random.default_rng(seed))
    assert (made.image == again.image).all()
    chance = np.random.default_rng(seed)
    chance.random(4)  # scale, two shifts and the turn come first
    check_marks(sample, made, chance.random() < PLAIN.flip, 26)


@given(jitter=jitters, shown=labels, height=st.integers(50, 300), width=st.integers(50, 300))
@settings(max_examples=40, deadline=None)
def test_points_follow_letterbox_and_resize(jitter, shown, height, width):
    sample = scene(jitter, shown)
    assert check_marks(sample, letterboxed(sample, (height, width)), False, 0) == np.count_nonzero(shown)
    assert check_marks(sample, resized(sample, max(height, width)), False, 0) == np.count_nonzero(shown)


@given(
    left=st.integers(50, 70), top=st.integers(30, 50), wide=st.integers(8, 30), high=st.integers(8, 30),
    matrix=maps,
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_boxes_are_the_bounds_of_what_they_held(left, top, wide, high, matrix):
    image = np.zeros((*SIZE, 3), np.uint8)
    image[top : top + high, left : left + wide] = 255
    box = np.array([[left, top, left + wide, top + high]], np.float32)
    sample = Sample(image, box, np.zeros(1, np.int64), np.zeros(1, bool), 1, "")
    matrix = matrix + np.array([[0, 0, 100], [0, 0, 100]])
    made = warped(sample, matrix, (320, 350), TRIO)
    grown = warped(replace(sample, image=np.full_like(image, 255)), matrix, (320, 350), TRIO)
    mask = (made.image[..., 0] > 127) & (grown.image[..., 0] > 200)  # not the grey around
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    bounds = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    # bilinear sampling rounds a corner by half a source pixel, and its tip may lie between two centres
    assert np.abs(bounds - made.boxes[0]).max() < 1.6


@given(jitter=jitters, shown=labels)
@settings(max_examples=30, deadline=None)
def test_mirroring_twice_changes_nothing(jitter, shown):
    sample = scene(jitter, shown)
    mirror = similarity((75, 0), (75, 0), 1, mirror=True)
    once = warped(sample, mirror, SIZE, TRIO)
    twice = warped(once, mirror, SIZE, TRIO)
    assert (once.image == sample.image[:, ::-1]).all()
    assert (twice.image == sample.image).all()
    np.testing.assert_allclose(twice.keypoints, sample.keypoints, atol=1e-4)
    np.testing.assert_allclose(twice.boxes, sample.boxes, atol=1e-4)
    assert (once.keypoints[:, 0, 2] == sample.keypoints[:, 0, 2]).all()
    assert (once.keypoints[:, 1, 2] == sample.keypoints[:, 2, 2]).all()


@given(jitter=jitters, shown=labels, seed=st.integers(0, 2**32), half=st.sampled_from([0.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_points_follow_the_crops_of_one_person(jitter, shown, seed, half):
    sample = scene(jitter, shown).of(np.array([1]))
    recipe = PersonAugment(TRIO, half_body=half, flip=0, colour=Colour(p=0))
    made = recipe([sample], (96, 72), np.random.default_rng(seed))
    assert made.image.shape == (96, 72, 3)
    assert made.boxes.shape == (1, 4)
    check_marks(scene(jitter, shown), made, False, 8)
