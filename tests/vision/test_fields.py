"""Part affinity fields: scenes of made-up people, rendered, decoded and grouped."""

import itertools

import numpy as np
import pytest

from tests.vision.pose_scenes import SIZE, groups, scene, score
from visionkit.errors import ShapeError, UsageError
from visionkit.vision.fields import FieldCodec, average_flipped_fields, hungarian
from visionkit.vision.heatmaps import average_flipped
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import BODY_25, COCO_17, LSP_14, OPENPOSE_18, SKELETONS

PEOPLE = (COCO_17, OPENPOSE_18, BODY_25, LSP_14)


def decoded(codec, scenes):
    """Wanted groups, how many of them were found right, and the largest error in pixels."""
    wanted, right, worst = 0, 0, 0.0
    for seed in range(scenes):
        people = scene(np.random.default_rng(seed), 1 + seed % 10, codec.skeleton, codec.stride)
        truth = groups(people, codec.skeleton)
        found, _, error = score(codec.decode(codec.encode([people], None, SIZE).maps)[0], truth)
        wanted, right, worst = wanted + len(truth), right + found, max(worst, error)
    return wanted, right, worst


@pytest.mark.parametrize("integral", ["rectangle", "samples"])
def test_made_up_people_are_found(integral):
    """One to ten people with crossing limbs, missing joints and parts beyond the border (torture N11)."""
    wanted, right, worst = decoded(FieldCodec(COCO_17, integral=integral), 60)
    assert wanted > 300
    assert right >= 0.995 * wanted
    assert worst < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("matching", ["greedy", "hungarian"])
@pytest.mark.parametrize("skeleton", PEOPLE, ids=lambda s: s.name)
def test_a_thousand_scenes(skeleton, matching):
    wanted, right, worst = decoded(FieldCodec(skeleton, matching=matching), 1000)
    assert wanted > 5000
    assert right >= 0.995 * wanted
    assert worst < 1


def test_missing_points_are_guessed_if_asked(rng):
    codec = FieldCodec(COCO_17)
    people = scene(rng, 3)
    maps = codec.encode([people], None, SIZE).maps
    (found,), (whole,) = (codec.decode(maps, complete=complete) for complete in (False, True))
    assert (found.keypoint_confidence == 0).any()
    expected = codec.heatmaps.complete(found, maps[0][0])
    np.testing.assert_array_equal(whole.xy, expected.xy)
    assert (whole.keypoint_confidence > 0).all()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_decode_undoes_encode_for_every_skeleton(rng, skeleton):
    """Two of each, their points at random, apart from each other: all connected parts come back."""
    codec = FieldCodec(skeleton, 4)
    width = 320
    left = rng.uniform([10, 10], [width - 10, 310], (1, len(skeleton), 2))
    both = np.concatenate([left, left + np.array([width, 0])])
    people = np.concatenate([both, np.ones((2, len(skeleton), 1))], axis=2)
    (found,) = codec.decode(codec.encode([people], None, (320, 2 * width)).maps)
    truth = groups(people, skeleton)
    right, _, worst = score(found, truth)
    assert right == len(truth) >= 2
    assert worst < 0.1


def test_the_rows_come_sure_first_and_can_be_limited():
    codec = FieldCodec(COCO_17)
    people = scene(np.random.default_rng(4), 6)
    maps = codec.encode([people, people[:1]], None, SIZE).maps
    (six, one) = codec.decode(maps)
    assert (np.diff(six.confidence) <= 0).all()
    assert len(one) < len(six)
    assert len(codec.decode(maps, max_people=2)[0]) == 2
    np.testing.assert_array_equal(codec.decode(maps, max_people=2)[0].xy, six.xy[:2])
    middle = float(np.median(six.confidence))
    assert len(codec.decode(maps, confidence=middle)[0]) == (six.confidence >= middle).sum()
    full = codec.decode(maps, min_keypoints=15)[0]
    assert ((full.keypoint_confidence > 0).sum(axis=1) >= 15).all()
    assert six.image_size == SIZE


def test_crossed_arms_stay_with_their_owners():
    """Two forearms cross at a right angle; each wrist has the other's elbow nearer than its own."""
    skeleton = Skeleton("arm", ("elbow", "wrist"), ((0, 1),))
    codec = FieldCodec(skeleton, 4)
    arms = np.array([[[40, 80, 1], [120, 80, 1]], [[80, 40, 1], [80, 120, 1]]], float)
    (found,) = codec.decode(codec.encode([arms], None, (160, 160)).maps, min_keypoints=2)
    assert sorted(found.xy.round(3).tolist()) == sorted(arms[..., :2].tolist())


def test_assignment_against_every_permutation(rng):
    """Hungarian: the sum over all permutations is never greater, up to four people (torture N11)."""
    for size in (1, 2, 3, 4):
        for _ in range(20):
            scores = rng.random((3, size, size)).astype(np.float32) * (rng.random((3, size, size)) < 0.7)
            chosen = hungarian(scores.astype(np.float32))
            for kept, values in zip(chosen, scores, strict=True):
                best = max(
                    sum(values[i, p] for i, p in enumerate(way))
                    for way in itertools.permutations(range(size))
                )
                assert kept.sum() == pytest.approx(best, rel=1e-5)
                assert ((kept > 0).sum(axis=0) <= 1).all()
                assert ((kept > 0).sum(axis=1) <= 1).all()
                assert (kept[kept > 0] == values[kept > 0]).all()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_averaging_a_mirror_image_changes_nothing(rng, skeleton):
    codec, size = FieldCodec(skeleton, 4), (96, 160)
    person = np.concatenate(
        [rng.uniform([0, 0], [160, 96], (2, len(skeleton), 2)), np.ones((2, len(skeleton), 1))], axis=2
    )
    mirror = person[:, list(skeleton.flips)] * [-1, 1, 1] + [size[1], 0, 0]
    (heat, fields), (heat_m, fields_m) = (codec.encode([p], None, size).maps for p in (person, mirror))
    np.testing.assert_allclose(average_flipped(heat, heat_m, skeleton), heat, atol=1e-6)
    np.testing.assert_allclose(average_flipped_fields(fields, fields_m, skeleton), fields, atol=1e-6)
    assert np.abs(fields - fields_m).max() > 0.5


def test_nobody_is_found_in_noise_or_nothing(rng):
    codec = FieldCodec(COCO_17)
    for heat in (0.0, np.nan, 1.0):
        maps = [np.full((1, 46, 82, 17), heat, np.float32), np.zeros((1, 46, 82, 38), np.float32)]
        assert len(codec.decode(maps)[0]) == 0
    assert len(codec.decode(codec.encode([np.zeros((0, 17, 3))], None, SIZE).maps)[0]) == 0
    # a diverged network: thousands of peaks, fields of noise; it must end, with no more than was asked for
    wild = [rng.random((1, 46, 82, 17)), rng.normal(0, 1, (1, 46, 82, 38))]
    found = codec.decode(wild, max_people=5)[0]
    assert len(found) <= 5
    assert np.isfinite(found.xy).all()
    wild[1][:] = np.nan
    assert len(codec.decode(wild)[0]) == 0


def test_the_last_of_several_stages_speaks():
    codec = FieldCodec(COCO_17)
    heat, fields = codec.encode([scene(np.random.default_rng(1), 2)], None, SIZE).maps
    assert (
        len(codec.decode([heat * 0, fields * 0, heat, fields])[0]) == len(codec.decode([heat, fields])[0]) > 0
    )


def test_what_does_not_fit_is_refused():
    codec = FieldCodec(COCO_17, background=True)
    assert codec.channels == (18, 38)
    heat, fields = np.zeros((1, 4, 4, 18), np.float32), np.zeros((1, 4, 4, 38), np.float32)
    assert len(codec.decode([heat, fields])[0]) == 0
    for maps in ([heat], [fields, heat], [heat, fields[:, :3]], [heat, fields[..., :36]], []):
        with pytest.raises(ShapeError, match="expected"):
            codec.decode(maps)
    with pytest.raises(ShapeError, match="19 limbs"):
        average_flipped_fields(fields[..., :36], fields[..., :36], COCO_17)
    for wrong in ({"integral": "x"}, {"matching": "x"}, {"limb_width": 1.0}, {"floor": 1.0}, {"share": -0.1}):
        with pytest.raises(UsageError):
            FieldCodec(COCO_17, **wrong)
    with pytest.raises(UsageError, match="with limbs"):
        FieldCodec(Skeleton("dots", ("a", "b"), ()))
    lame = Skeleton("lame", ("left_a", "right_a", "b"), ((2, 0),))
    with pytest.raises(UsageError, match="no counterpart"):
        average_flipped_fields(fields[..., :2], fields[..., :2], lame)


def test_a_sure_joint_is_matched_before_a_doubtful_one_on_the_same_limb():
    """Even where the field agrees with the doubtful one more: it grows weaker on the way to the sure one."""
    bar = Skeleton("bar", ("a", "b", "c"), ((0, 1), (1, 2)))
    codec = FieldCodec(bar, 4, limb_width=3)
    one = np.array([[[40, 80, 1], [160, 83, 1], [160, 200, 1]]], float)
    heat, fields = codec.encode([one], None, (480, 480)).maps
    fields[:, :, 20:, :2] *= 0.8
    for x, y in ((75, 81), (94, 81), (125, 82)):  # points that look a little like a b, on the limb itself
        doubt = codec.heatmaps.encode([[[[0, 0, 0], [x, y, 1], [0, 0, 0]]]], None, (480, 480)).maps[0]
        both = np.maximum(heat, 0.6 * doubt)
        (found,) = codec.decode((both, fields))
        assert len(found) == 1
        assert np.abs(found.xy[0] - one[0, :, :2]).max() < 0.5


def test_a_long_limb_waits_for_short_ones():
    """Through somebody else's limb of the same direction, to a joint that is surer than one's own."""
    bar = Skeleton("bar", ("a", "b"), ((0, 1),))
    codec = FieldCodec(bar, 4, limb_width=3)
    two = np.array([[[62, 42, 1], [62, 94, 1]], [[62, 122, 1], [62, 174, 1]]], float)
    heat, fields = codec.encode([two], None, (240, 240)).maps
    heat = heat.copy()
    heat[:, 26:36, :, 0] = 0  # the second one's a is hidden
    heat[:, :30, :, 1] *= 0.5  # the first one's b is doubtful
    (found,) = codec.decode((heat, fields), min_keypoints=2)
    assert len(found) == 1
    assert np.abs(found.xy[0] - two[0, :, :2]).max() < 0.5
