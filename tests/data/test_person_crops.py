"""One person an item: the cutouts hold the person, the crops are those of the predictor."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.loader import Loader
from visionkit.data.person_crops import PersonCrops
from visionkit.data.pose_transforms import PersonAugment, half_body
from visionkit.data.problems import Problems
from visionkit.data.transforms import Colour
from visionkit.datasets.coco_keypoints import CocoKeypoints
from visionkit.errors import DataError, UsageError
from visionkit.vision.affine import crop_matrix, move_keypoints, warp_affine
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import ANIMAL_20, COCO_17, FACE_68, LSP_14

TRIO = Skeleton("trio", ("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)))
SIZE = (64, 48)


class Crowd(DetectionDataset):
    """Two pictures of noise: a labelled person, one without label, a crowd; and one at the border."""

    skeleton = TRIO

    def __init__(self):
        first = Record.of(
            5, "a", None, (120, 160), [((40, 20, 60, 80), 0, False), ((90, 10, 120, 60), 0, False),
                                      ((0, 0, 30, 30), 0, True)]
        )  # fmt: skip
        second = Record.of(6, "b", None, (120, 160), [((-10, 50, 30, 120), 0, False)])
        points = np.zeros((3, 3, 3), np.float32)
        points[0] = [[50, 30, 2], [45, 28, 1], [0, 0, 0]]
        points[2] = [[9, 9, 2], [5, 5, 2], [14, 5, 2]]
        edge = np.array([[[4, 60, 2], [1, 56, 2], [12, 56, 2]]], np.float32)
        records = [replace(first, keypoints=points), replace(second, keypoints=edge)]
        super().__init__(["person"], [1], records, Problems("crowd"))

    def _picture(self, record):
        return np.random.default_rng(record.image_id).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_every_labelled_person_is_an_item_of_its_own():
    crops = PersonCrops(Crowd(), SIZE)
    assert len(crops) == 2
    assert crops.image_ids == (5, 6)
    assert crops.skeleton is TRIO
    assert (crops.names, crops.category_ids) == (("person",), (1,))
    for item in crops:
        assert len(item) == len(item.keypoints) == 1
        assert not item.ignore.any()
    assert len(crops.part([1])) == 1
    assert (crops.part([1])[0].image == crops[1].image).all()
    assert crops.hash() != PersonCrops(Crowd(), SIZE).part([1]).hash()


def test_cutouts_are_pieces_of_the_picture_with_the_points_in_place():
    whole, crops = Crowd(), PersonCrops(Crowd(), SIZE, room=1.5)
    for picture, item in zip((whole[0], whole[1]), crops, strict=True):
        x, y = (picture.boxes[0] - item.boxes[0])[:2].astype(int)
        height, width = item.size
        assert (picture.image[y : y + height, x : x + width] == item.image).all()
        shown = item.keypoints[0, :, 2] > 0
        assert (item.keypoints[0, shown, :2] == picture.keypoints[0, shown, :2] - [x, y]).all()
        assert (item.keypoints[0, ~shown] == 0).all()
    # 60 high, 1.25 padded, half as much again: 112.5 high, 84.4 wide around (50, 50), cut at the border
    assert crops[0].size == (107, 86)
    assert PersonCrops(whole, SIZE, room=1.0)[0].size == (76, 58)


def test_cutouts_do_not_keep_the_whole_picture():
    wide = Crowd()
    wide.records = tuple(replace(r, boxes=r.boxes * 0 + np.float32([0, 50, 160, 60])) for r in wide.records)
    item = PersonCrops(wide, SIZE, padding=1, room=1)[0]
    assert item.size[1] == 160
    assert item.image.base is None


def test_scores_are_about_the_whole_set():
    assert PersonCrops(Crowd(), SIZE).to_coco() == Crowd().to_coco()


@pytest.mark.parametrize("augment", [None, PersonAugment(TRIO, half_body=1.0)])
def test_people_of_a_damaged_picture_are_ignored(augment, monkeypatch):
    crops = PersonCrops(Crowd(), SIZE)
    picture = crops._picture

    def broken(record):
        if record.image_id == 6:
            raise DataError("damaged", file=record.file)
        return picture(record)

    monkeypatch.setattr(crops, "_picture", broken)
    loader = Loader(crops, 2, SIZE, augment=augment, shuffle=False, skip_bad=True, workers=0)
    batch = next(loader.batches(0))
    assert list(loader.failed) == ["b"]
    assert [ignore.tolist() for ignore in batch.ignore] == [[False], [True]]
    assert [points.any() for points in batch.keypoints] == [True, False]


def test_still_crops_are_those_of_the_predictor():
    whole, crops = Crowd(), PersonCrops(Crowd(), SIZE)
    for picture, item in zip((whole[0], whole[1]), crops, strict=True):
        matrix = crop_matrix(picture.boxes[0], SIZE)
        made = PersonAugment.still(TRIO)([item], SIZE, np.random.default_rng())
        np.testing.assert_allclose(made.keypoints, move_keypoints(matrix, picture.keypoints[:1]), atol=1e-4)
        assert np.abs(made.image.astype(int) - warp_affine(picture.image, matrix, SIZE)).max() <= 1


def test_chance_keeps_to_its_bounds():
    item, skeleton = PersonCrops(Crowd(), SIZE)[0], TRIO
    before = item.image.copy(), item.keypoints.copy()
    recipe = PersonAugment(skeleton, scale=(0.8, 1.2), rotation=20, shift=0.1, colour=Colour(p=0))
    still = PersonAugment.still(skeleton)([item], SIZE, np.random.default_rng())
    length = np.linalg.norm(np.diff(still.keypoints[0, :2, :2], axis=0))
    scales, angles, mirrored = [], [], 0
    for seed in range(200):
        made = recipe([item], SIZE, np.random.default_rng(seed))
        assert made.image.shape == (*SIZE, 3)
        flipped = made.keypoints[0, 1, 2] == 0  # the labelled left ear became the right one
        mirrored += flipped
        ends = made.keypoints[0, [0, 2 if flipped else 1], :2]
        across, down = ends[1] - ends[0]
        scales.append(np.hypot(across, down) / length)
        angles.append(np.degrees(np.arctan2(down, across if not flipped else -across)))
    rest = np.degrees(np.arctan2(-2, -5))
    turned = (np.array(angles) - rest + 180) % 360 - 180
    assert 0.8 - 1e-4 <= min(scales) < 0.82
    assert 1.18 < max(scales) <= 1.2 + 1e-4
    assert -20.01 <= turned.min() < -18
    assert 18 < turned.max() <= 20.01
    assert 70 < mirrored < 130
    assert (item.image == before[0]).all()
    assert (item.keypoints == before[1]).all()


def person():
    """A standing COCO person, all labelled: points from the head (y 0) to the ankles (y 160)."""
    y = [0, -2, -2, 0, 0, 20, 20, 45, 45, 70, 70, 75, 75, 115, 115, 160, 160]
    x = [30, 28, 32, 25, 35, 15, 45, 10, 50, 12, 48, 20, 40, 20, 40, 18, 42]
    return np.stack([x, y, np.full(17, 2)], axis=1).astype(np.float32)


def test_half_bodies():
    points, box = person(), np.array([5, -10, 55, 170], np.float32)
    upper = half_body(points, COCO_17, False, box)
    np.testing.assert_allclose(upper, [10 - 4, -2 - 7.2, 50 + 4, 70 + 7.2], rtol=1e-6)
    lower = half_body(points, COCO_17, True, box)
    np.testing.assert_allclose(lower, [18 - 2.4, 75 - 8.5, 42 + 2.4, 160 + 8.5], rtol=1e-6)
    few = points.copy()
    few[4:12, 2] = few[14:, 2] = 0  # four of the head and two of the legs
    assert half_body(few, COCO_17, False, box) is box  # too few of the body
    seated = points.copy()
    seated[13:, 2] = 0
    assert half_body(seated, COCO_17, True, box) is box  # too few of the legs
    assert half_body(seated, COCO_17, False, box) is not box
    headless = points.copy()
    headless[11:, 2] = 0
    assert half_body(headless, COCO_17, False, box) is box  # nothing would be left away


@pytest.mark.parametrize(
    ("skeleton", "lower"),
    [(COCO_17, range(11, 17)), (LSP_14, range(6)), (FACE_68, ()), (ANIMAL_20, (7, 8, 11, 12, 15, 16, 19))],
)
def test_the_lower_body_is_known_by_name(skeleton, lower):
    """Points on a diagonal, so that the box around some tells which they are."""
    count, box = len(skeleton), np.zeros(4, np.float32)
    for k in range(count):
        points = np.full((count, 3), [50, 50, 2], np.float32)
        points[k, :2] = 99  # far from all others
        found = half_body(points, skeleton, True, box)
        if lower:
            assert (found[2] > 99) == (k in lower)
        else:
            assert found is box


def test_the_recipe_shows_halves_as_often_as_it_says():
    points = person() + np.array([60, 60, 0], np.float32)
    box = np.array([[60, 55, 120, 225]], np.float32)
    record = Record.of(1, "x", None, (300, 200), [(box[0], 0, False)])
    item = Crowd()
    item.skeleton, item.records = COCO_17, (replace(record, keypoints=points[None]),)
    item._picture = lambda record: np.zeros((300, 200, 3), np.uint8)
    sample = PersonCrops(item, SIZE)[0]
    recipe = PersonAugment(COCO_17, scale=(1, 1), rotation=0, shift=0, flip=0, half_body=0.4)
    heights = [
        np.ptp(recipe([sample], SIZE, np.random.default_rng(seed)).keypoints[0, :, 1]) for seed in range(300)
    ]
    whole = heights.count(min(heights))
    assert 0.5 < whole / 300 < 0.7
    assert max(heights) > 1.4 * min(heights)


def test_batches_of_crops_are_the_same_whatever_the_workers():
    def batches(workers):
        loader = Loader(
            PersonCrops(Crowd(), SIZE), 2, SIZE, augment=PersonAugment(TRIO), seed=3, workers=workers
        )
        return [batch for epoch in range(3) for batch in loader.batches(epoch)]

    for a, b in zip(batches(0), batches(2), strict=True):
        assert a.images.shape == (2, *SIZE, 3)
        assert (a.images == b.images).all()
        assert all(np.array_equal(x, y) for x, y in zip(a.keypoints, b.keypoints, strict=True))


def test_what_cannot_be_cropped_is_refused():
    boxes = Crowd()
    boxes.skeleton = None
    with pytest.raises(UsageError, match="key-points"):
        PersonCrops(boxes, SIZE)
    with pytest.raises(UsageError, match="room"):
        PersonCrops(Crowd(), SIZE, room=0.9)
    with pytest.raises(UsageError, match="above 0"):
        PersonCrops(Crowd(), (0, 48))
    with pytest.raises(UsageError, match="above 0"):
        PersonCrops(Crowd(), SIZE, padding=0)
    nobody = Crowd()
    nobody.records = tuple(replace(r, keypoints=np.zeros_like(r.keypoints)) for r in nobody.records)
    with pytest.raises(DataError, match="nothing to learn"):
        PersonCrops(nobody, SIZE)
    gone = Crowd()
    gone.records = tuple(replace(r, boxes=r.boxes + 500) for r in gone.records)
    with pytest.raises(DataError, match="nothing to learn"):
        PersonCrops(gone, SIZE)


@pytest.mark.parametrize("name", ["coco_person", "animal_pose", "lspet"])
def test_real_sets(real_data, name):
    data = CocoKeypoints(real_data / name / "val.json", real_data / name / "images", check_files=False)
    crops = PersonCrops(data, (128, 96))
    labelled = sum(int(((r.keypoints[..., 2] > 0).any(1) & ~r.crowd).sum()) for r in data.records)
    assert len(crops) == labelled > 100
    batch = next(Loader(crops, 8, (128, 96), augment=PersonAugment(data.skeleton), workers=0).batches(0))
    assert batch.images.shape == (8, 128, 96, 3)
    assert {points.shape for points in batch.keypoints} == {(1, len(data.skeleton), 3)}
