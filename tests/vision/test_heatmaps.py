"""Heat maps: decode undoes encode, for every skeleton and to a fraction of a pixel."""

import numpy as np
import pytest

from visionkit.errors import DataError, ShapeError, UsageError
from visionkit.vision.heatmaps import HeatmapCodec, average_flipped
from visionkit.vision.poses import Poses
from visionkit.vision.skeletons import COCO_17, FACE_5, LSP_14, SKELETONS

SIZE = (96, 160)


def one_person(rng, skeleton, size=SIZE):
    """(1, K, 3) points anywhere in the picture, some unmarked."""
    points = rng.uniform([0, 0], [size[1], size[0]], (1, len(skeleton), 2))
    marked = 2.0 * (rng.random((1, len(skeleton), 1)) < 0.8)
    marked[0, 0] = 2
    return np.concatenate([points, marked], axis=2)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_decode_undoes_encode(rng, skeleton, stride):
    for background in (False, True):
        codec = HeatmapCodec(skeleton, stride, background=background)
        people = [one_person(rng, skeleton) for _ in range(4)]
        targets = codec.encode(people, None, SIZE)
        assert targets.maps[0].shape == (4, SIZE[0] // stride, SIZE[1] // stride, codec.channels)
        for person, pose in zip(people, codec.decode(targets.maps), strict=True):
            marked = person[0, :, 2] > 0
            assert len(pose) == 1
            assert pose.image_size == SIZE
            assert ((pose.keypoint_confidence[0] > 0) == marked).all()
            assert np.abs(pose.xy[0] - person[0, :, :2])[marked].max() < 0.01
            assert not pose.xy[0][~marked].any()
            assert pose.confidence[0] == pytest.approx(pose.keypoint_confidence[0].mean())


@pytest.mark.parametrize("stride", [4, 8])
def test_one_lit_pixel_is_found_where_it_is(stride):
    """Every pixel of a few cells and along the borders, at its centre: at most 0.25 pixels away."""
    codec = HeatmapCodec(FACE_5, stride)
    height, width = SIZE
    pixels = [(x, y) for y in range(32, 48) for x in range(40, 56)]
    pixels += [(x, y) for x in range(0, width, 3) for y in (0, height - 1)] + [
        (0, 0),
        (width - 1, height - 1),
    ]
    pixels += [(x, y) for y in range(height) for x in (0, width - 1)]
    lit = np.array(pixels) + 0.5
    people = [np.tile([*point, 1], (1, 5, 1)) for point in lit]
    found = codec.decode(codec.encode(people, None, SIZE).maps)
    errors = np.linalg.norm([pose.xy[0, 0] - point for pose, point in zip(found, lit, strict=True)], axis=1)
    assert errors.max() < 0.01


def test_the_peak_is_exactly_one_and_overlapping_people_take_the_higher():
    codec = HeatmapCodec(FACE_5, 4)
    person = np.full((1, 5, 3), 2.0)
    person[0, :, :2] = 4 * 10 + 2.0  # the centre of cell (10, 10)
    other = person.copy()
    other[..., 0] += 6  # one cell and a half further on
    alone, second, both = (
        codec.encode([people], None, SIZE).maps[0][0]
        for people in (person, other, np.concatenate([person, other]))
    )
    assert alone[10, 10].tolist() == [1] * 5
    assert alone.max() == 1
    np.testing.assert_allclose(alone[10, 11], np.exp(-0.5), rtol=1e-6)  # sigma is one cell (POS-07)
    assert alone[10, 14].max() < 4e-4
    np.testing.assert_array_equal(both, np.maximum(alone, second))


def test_the_background_is_what_no_point_claims(rng):
    codec = HeatmapCodec(COCO_17, 8, background=True)
    maps = codec.encode([one_person(rng, COCO_17), np.zeros((0, 17, 3))], None, SIZE).maps[0]
    np.testing.assert_array_equal(maps[..., -1], 1 - maps[..., :-1].max(axis=-1))
    assert (maps[1, ..., -1] == 1).all()
    assert maps[0, ..., -1].min() < 0.4


def test_ignored_regions_are_masked():
    codec = HeatmapCodec(FACE_5, 8)
    nobody = np.zeros((0, 5, 3))
    mask = codec.encode(
        [nobody] * 3, [[[8, 16, 17, 24], [150, 80, 900, 900]], [], [[-9, -9, 0, 0]]], SIZE
    ).mask
    wanted = np.ones((3, 12, 20, 1))
    wanted[0, 2, 1:3] = 0
    wanted[0, 10:, 18:] = 0
    np.testing.assert_array_equal(mask, wanted)
    assert codec.encode([nobody], None, SIZE).mask.all()


def test_nothing_is_found_in_nothing():
    codec = HeatmapCodec(COCO_17, 8)
    for value in (0, np.nan, -1):
        (pose,) = codec.decode([np.full((1, 12, 20, 17), value, np.float32)])
        assert len(pose) == 0
        assert pose.skeleton is COCO_17


def test_the_last_of_several_stages_speaks(rng):
    codec = HeatmapCodec(COCO_17, 8)
    good = codec.encode([one_person(rng, COCO_17)], None, SIZE).maps[0]
    pose, same = codec.decode([good * 0, good])[0], codec.decode([good])[0]
    np.testing.assert_array_equal(pose.xy, same.xy)
    assert not len(codec.decode([good, good * 0])[0])


def test_maps_of_any_float_type_and_layout(rng):
    codec = HeatmapCodec(COCO_17, 8)
    maps = codec.encode([one_person(rng, COCO_17)], None, SIZE).maps[0]
    wanted = codec.decode([maps])[0].xy
    channels_first = np.ascontiguousarray(maps.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    for same in (maps.astype(np.float64), channels_first):
        np.testing.assert_array_equal(codec.decode([same])[0].xy, wanted)


def test_missing_points_are_looked_for_in_the_persons_box(rng):
    """Where the map is highest within the box of the found points, a tenth wider; nothing else changes."""
    codec = HeatmapCodec(LSP_14, 4)
    heat = rng.random((40, 60, 14)).astype(np.float32)
    xy = rng.uniform([80, 40], [160, 140], (2, 14, 2)).astype(np.float32)
    sure = np.where(rng.random((2, 14)) < 0.5, 0.8, 0).astype(np.float32)
    poses = Poses(xy, sure, np.array([0.7, 0.3]), LSP_14, (160, 240))
    before = poses.xy.copy(), poses.keypoint_confidence.copy()
    found = codec.complete(poses, heat)
    centres = (np.stack(np.meshgrid(np.arange(60), np.arange(40)), axis=-1) + 0.5) * 4
    for n in range(2):
        there = sure[n] > 0
        np.testing.assert_array_equal(found.xy[n, there], xy[n, there])
        np.testing.assert_array_equal(found.keypoint_confidence[n, there], sure[n, there])
        low, high = xy[n, there].min(axis=0), xy[n, there].max(axis=0)
        wider = max(0.1 * (high - low).max(), 8)
        near = ((centres > low - wider - 4) & (centres < high + wider + 4)).all(axis=-1)
        for k in np.flatnonzero(~there):
            inside = np.where(near, heat[..., k], -1)
            y, x = np.unravel_index(inside.argmax(), inside.shape)
            np.testing.assert_allclose(found.xy[n, k], centres[y, x])
            assert found.keypoint_confidence[n, k] == heat[y, x, k]
    np.testing.assert_array_equal(found.confidence, poses.confidence)
    assert (poses.xy == before[0]).all()
    assert (poses.keypoint_confidence == before[1]).all()


def test_guessed_points_of_people_at_the_border_count(rng):
    """A map that is nowhere above 0, of somebody in the corner: a point in the picture, not missing."""
    codec = HeatmapCodec(LSP_14, 4)
    xy = np.full((1, 14, 2), 2.0)
    sure = np.zeros((1, 14))
    sure[0, 0] = 1
    found = codec.complete(Poses(xy, sure, np.ones(1), LSP_14, (16, 16)), np.full((4, 4, 15), -1, np.float32))
    assert (found.keypoint_confidence > 0).all()
    assert ((found.xy > 0) & (found.xy < 16)).all()
    nobody = codec.complete(found[:0], np.zeros((4, 4, 14), np.float32))
    assert len(nobody) == 0


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_averaging_a_mirror_image_changes_nothing(rng, skeleton):
    """The maps of the mirrored pose, averaged with those of the pose, are those of the pose."""
    for background in (False, True):
        codec = HeatmapCodec(skeleton, 4, background=background)
        person = one_person(rng, skeleton)
        mirror = person[:, list(skeleton.flips)] * [-1, 1, 1] + [SIZE[1], 0, 0]
        maps, mirrored = (codec.encode([p], None, SIZE).maps[0] for p in (person, mirror))
        np.testing.assert_allclose(average_flipped(maps, mirrored, skeleton), maps, atol=1e-6)
        assert np.abs(mirrored - maps).max() > 0.5


def test_what_does_not_fit_is_refused(rng):
    codec = HeatmapCodec(COCO_17, 8)
    person = one_person(rng, COCO_17)
    with pytest.raises(ShapeError, match="multiple of 8"):
        codec.encode([person], None, (100, 160))
    with pytest.raises(ShapeError, match="keypoints"):
        codec.encode([person[:, :16]], None, SIZE)
    broken = person.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"finite.*nan"):
        codec.encode([broken], None, SIZE)
    broken[0, 0, 2] = 0  # an unmarked point may be anything
    assert np.isfinite(codec.encode([broken], None, SIZE).maps[0]).all()
    with pytest.raises(ShapeError, match=r"heat maps \(B, h, w, 17\)"):
        codec.decode([np.zeros((1, 12, 20, 18), np.float32)])
    with pytest.raises(ShapeError, match="do not fit 17 points"):
        average_flipped(np.zeros((2, 3, 19)), np.zeros((2, 3, 19)), COCO_17)
    with pytest.raises(UsageError, match="threshold"):
        codec.decode([np.zeros((1, 12, 20, 17), np.float32)], threshold=0)
    with pytest.raises(UsageError, match="stride"):
        HeatmapCodec(COCO_17, 0)
    with pytest.raises(UsageError, match="sigma"):
        HeatmapCodec(COCO_17, 8, sigma=0.3)
