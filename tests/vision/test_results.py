"""Detections as users hold them."""

import csv
import io
import json

import numpy as np
import pytest

from visionkit.errors import ShapeError, UsageError
from visionkit.vision.results import Detection, Detections

NAMES = ("person", "dog, small")


def found(tracked=False):
    return Detections(
        xyxy=[[1.0, 2, 11, 22], [0, 0, 5, 5], [3, 3, 4, 4]],
        confidence=[0.9, 0.5, 0.25],
        class_id=[0, 1, 1],
        names=NAMES,
        image_size=(48, 64),
        tracker_id=[7, 8, 9] if tracked else None,
    )


def test_fields_and_rows():
    three = found(tracked=True)
    assert len(three) == 3
    assert (three.xyxy.dtype, three.confidence.dtype, three.class_id.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )
    assert list(three)[1] == Detection((0, 0, 5, 5), 0.5, 1, "dog, small", 8)
    assert next(iter(found())).tracker_id is None
    assert repr(three[:2]) == "Detections(2 in 48x64: person 0.90, dog, small 0.50)"


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (0, [7]),
        (-1, [9]),
        (np.int64(1), [8]),
        (slice(1, None), [8, 9]),
        ([2, 0], [9, 7]),
        ([True, False, True], [7, 9]),
        (np.zeros(3, bool), []),
        ([], []),
    ],
)
def test_indexing_filters_every_field(index, kept):
    some = found(tracked=True)[index]
    assert isinstance(some, Detections)
    assert some.tracker_id.tolist() == kept
    assert len(some.xyxy) == len(some.confidence) == len(some.class_id) == len(kept)
    assert some.names == NAMES
    assert some.image_size == (48, 64)


def test_bad_indices():
    with pytest.raises(IndexError):
        found()[3]
    with pytest.raises(ShapeError):
        found()[[True, False]]
    assert len(list(found())) == 3  # iteration ends


def test_above_is_inclusive_and_order_is_kept():
    assert found().above(0.5).class_id.tolist() == [0, 1]
    assert len(found().above(1.1)) == 0


def test_empty_is_not_none():
    none = Detections.empty((5, 6), NAMES)
    assert len(none) == 0
    assert none.xyxy.shape == (0, 4)
    assert none.to_coco(3) == []
    assert none.to_csv().count("\n") == 1
    assert repr(none) == "Detections(0 in 5x6)"
    assert len(none.above(0.5)) == len(none[[]]) == 0


def test_to_coco_writes_original_ids_and_json_numbers():
    records = found().to_coco(42, category_ids=[18, 9001])
    assert json.loads(json.dumps(records)) == [
        {"image_id": 42, "category_id": 18, "bbox": [1, 2, 10, 20], "score": pytest.approx(0.9)},
        {"image_id": 42, "category_id": 9001, "bbox": [0, 0, 5, 5], "score": 0.5},
        {"image_id": 42, "category_id": 9001, "bbox": [3, 3, 1, 1], "score": 0.25},
    ]
    with pytest.raises(UsageError):
        found().to_coco(42, category_ids=[18])


def test_to_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(found(tracked=True).to_csv())))
    assert [row["name"] for row in rows] == ["person", "dog, small", "dog, small"]
    assert [float(rows[0][k]) for k in ("x1", "y1", "x2", "y2", "confidence")] == [1, 2, 11, 22, 0.9]
    assert rows[2]["tracker_id"] == "9"


def test_frozen_and_checked():
    with pytest.raises(AttributeError):
        found().names = ()
    with pytest.raises(ShapeError):
        Detections(np.zeros((2, 4)), np.zeros(3), np.zeros(2, int), (), (5, 5))
    with pytest.raises(ShapeError):
        Detections(np.zeros((2, 5)), np.zeros(2), np.zeros(2, int), (), (5, 5))
