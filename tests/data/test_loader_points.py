"""Batches with points: as the annotations say, the same whatever the workers."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.data.loader import Loader
from visionkit.data.pose_transforms import PoseAugment
from visionkit.data.transforms import Augment
from visionkit.datasets.shapes import ShapesDataset
from visionkit.errors import DataError
from visionkit.vision.letterbox import Letterbox
from visionkit.vision.skeleton import Skeleton

PAIR = Skeleton("pair", ("left", "right"), ((0, 1),))


def pointed(count=11):
    """Shapes with two points each, the second unlabelled in every other picture."""
    made = ShapesDataset(count, (48, 64))
    records = []
    for record in made.records:
        corners = record.boxes.reshape(-1, 2, 2)
        v = np.full((len(corners), 2, 1), 2, np.float32)
        v[:, 1] *= record.image_id % 2
        records.append(replace(record, keypoints=np.concatenate([corners, v], axis=2).astype(np.float32)))
    made.records = tuple(records)
    return made


def test_batches_without_augmentation_have_the_letterboxed_points():
    data = pointed()
    box = Letterbox((48, 64), (96, 96))
    batches = list(Loader(data, 4, (96, 96)).batches(0))
    assert [len(batch.keypoints) for batch in batches] == [4, 4, 3]
    for record, points, boxes in zip(
        data.records,
        [p for b in batches for p in b.keypoints],
        [p for b in batches for p in b.boxes],
        strict=True,
    ):
        assert points.shape == (len(boxes), 2, 3)
        shown = points[..., 2] > 0
        expected = box.boxes(record.boxes).reshape(-1, 2, 2)
        np.testing.assert_allclose(points[..., :2][shown], expected[shown], atol=1e-3)
        assert (points[~shown] == 0).all()
        assert (shown[:, 1] == record.image_id % 2).all()


def test_workers_and_restarts_change_no_point():
    def batches(workers, start=0):
        loader = Loader(pointed(), 3, (64, 64), augment=PoseAugment(PAIR), epochs=2, seed=5, workers=workers)
        return list(loader.batches(1, start))

    expected = batches(0)
    for found, first in ((batches(3), 0), (batches(1, 2), 2)):
        for a, b in zip(found, expected[first:], strict=True):
            assert (a.images == b.images).all()
            assert all(np.array_equal(x, y) for x, y in zip(a.keypoints, b.keypoints, strict=True))
            assert all(np.array_equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))


def test_sets_of_boxes_and_mosaics_have_none():
    assert next(Loader(ShapesDataset(4, (48, 64)), 2, (64, 64)).batches(0)).keypoints is None
    assert next(Loader(pointed(), 2, (64, 64), augment=Augment()).batches(0)).keypoints is None


@pytest.mark.parametrize("augment", [None, PoseAugment(PAIR)])
def test_a_picture_that_cannot_be_read_has_one_unlabelled_object(augment, monkeypatch):
    data = pointed(4)
    picture = data._picture

    def broken(record):
        if record.image_id == 2:
            raise DataError("damaged", file=record.file)
        return picture(record)

    monkeypatch.setattr(data, "_picture", broken)
    loader = Loader(data, 4, (64, 64), augment=augment, skip_bad=True, workers=0)
    batch = next(loader.batches(0))
    bad = batch.image_ids.index(2)
    assert len(loader.failed) == 1
    assert batch.keypoints[bad].shape == (1, 2, 3)
    assert not batch.keypoints[bad].any()
    assert batch.ignore[bad].tolist() == [True]
