"""The ceiling of the scores: what the way through codec and suppression loses or adds."""

from dataclasses import replace

import numpy as np
import pytest

from tests.engine.made_up import boxes_dataset
from visionkit.datasets.shapes import ShapesDataset
from visionkit.engine.detector import for_data
from visionkit.engine.oracle import ceiling, gate
from visionkit.errors import DataError
from visionkit.models import zoo
from visionkit.vision.yolo import YoloCodec


def test_ceiling_is_one_for_well_separated_boxes():
    data = boxes_dataset([[((20, 20, 80, 90), 0, False), ((150, 160, 250, 300), 1, False)]] * 3)
    judged = zoo.card("yolo-nano").info(("a", "b"))
    found = ceiling(data, judged)
    assert found.scores["AP"] == pytest.approx(1)
    assert found.lost == {}
    assert found.extra == {}
    assert found.scores.detections == found.boxes
    assert gate(data, judged) == []


def test_ceiling_counts_every_cause():
    judged = replace(zoo.card("yolo-nano").info(("a", "b")), assignment="v3")
    merged = [((100, 100, 140, 180), 0, False), ((100, 100, 140, 180.5), 1, False)]
    small = [((10, 10, 12, 40), 0, False)]
    suppressed = [((42, 50, 142, 150), 1, False), ((51, 50, 151, 150), 1, False)]
    crowd = [((0, 0, 100, 100), 0, True)]
    data = boxes_dataset([merged, small, suppressed + crowd])
    found = ceiling(data, judged)
    assert found.boxes == 5
    assert found.lost["a"] == {"merged": 1, "small": 1}
    assert found.lost["b"] == {"suppressed": 1}
    text = found.explain()
    assert "share cell and anchor" in text
    assert "side below" in text


def test_gate_refuses_what_cannot_succeed():
    judged = zoo.card("yolo-nano").info(("a", "b"))
    tiny = boxes_dataset([[((10, 10, 12, 12), 0, False)]] * 4)
    with pytest.raises(DataError, match="side below the codec's minimum"):
        gate(tiny, judged)
    with pytest.raises(DataError, match="no boxes"):
        gate(boxes_dataset([[], []]), judged)


def crowded():
    """Shapes that share places of the maps at 96 pixels: three classes on 3 x 3 to 12 x 12 cells."""
    data = ShapesDataset(40, (160, 160))
    card = zoo.card("yolo-nano").info(data.names, data.category_ids)
    return data, for_data(replace(card, input_size=(96, 96)), data)


def test_boxes_that_share_places_leave_nothing_extra():
    data, judged = crowded()
    found = ceiling(data, judged)
    assert found.extra == {}
    assert found.scores.detections == found.boxes
    assert found.scores["AP"] == pytest.approx(1)


def test_a_place_that_says_two_classes_is_told(monkeypatch):
    """The fault that costs precision alone: every box is found, some once more as another class."""
    data, judged = crowded()
    plain = YoloCodec.ideal_maps

    def both(codec, targets):
        maps = plain(codec, targets)
        for wanted, values in zip(targets.levels, maps, strict=True):
            depth = values.shape[3] // wanted.ignore.shape[3]
            for (b, y, x, a), label in zip(wanted.cells, wanted.class_id, strict=True):
                values[b, y, x, a * depth + 5 + label] = 12
        return maps

    monkeypatch.setattr(YoloCodec, "ideal_maps", both)
    found = ceiling(data, judged)
    assert found.lost == {}
    assert found.extra["misnamed"] == found.scores.detections - found.boxes > 0
    assert found.scores["AR100"] == pytest.approx(1)
    assert found.scores["AP"] < 0.95
    assert "detections beyond the ground truth: " in found.explain()


def test_a_box_out_of_reach_is_lost_and_leaves_a_stray():
    """The form v5 ends at four times the anchor: 33 x 30 is the largest of these."""
    anchors = tuple(((w, 10.0),) * 3 for w in (8.0, 8.1, 8.2))
    judged = replace(zoo.card("yolo-nano").info(("a", "b")), assignment="v3", anchors=anchors)
    found = ceiling(boxes_dataset([[((0, 0, 300, 300), 0, False)]]), judged)
    assert found.lost == {"a": {"distorted": 1}}
    assert found.extra == {"stray": 1}
    assert "1 lie where no box is" in found.explain()


def test_repeated_detections_are_told():
    """Without suppression, every place of a box gives a detection of its own."""
    data = boxes_dataset([[((20, 20, 80, 90), 0, False)]])
    judged = zoo.card("yolo-nano").info(("a", "b"))
    assert ceiling(data, judged).extra == {}
    places = judged.codec().encode([np.array([[20, 20, 80, 90]])], [[0]], None, (320, 320)).positives
    assert ceiling(data, judged, iou=1.0).extra == {"repeated": places - 1}
