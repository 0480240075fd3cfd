"""The four assignments, each against its definition in plain loops and against cases by hand."""

import numpy as np
import pytest

from visionkit.errors import UnknownNameError
from visionkit.vision.assign import ASSIGNMENTS, AllAbove, BestOnly, ByShape, Grid, Neighbours, resolve

ANCHORS = np.array([[[8, 8], [16, 16]], [[30, 30], [16, 60]]], float)
GRID = Grid(ANCHORS, (8, 16), ((8, 12), (4, 6)))


def places(cells):
    return sorted(zip(*(column.tolist() for column in cells), strict=True))


def random_boxes(n=40, seed=0):
    rng = np.random.default_rng(seed)
    wh, centre = np.exp(rng.uniform(np.log(4), np.log(70), (n, 2))), rng.uniform(0, 1, (n, 2)) * (96, 64)
    return np.concatenate([centre - wh / 2, centre + wh / 2], axis=1), rng.integers(0, 3, n)


def fit(box, anchor):
    w, h = box[2] - box[0], box[3] - box[1]
    inter = min(w, anchor[0]) * min(h, anchor[1])
    return inter / (w * h + anchor[0] * anchor[1] - inter)


def slow(boxes, choose, near):
    """(box, level, y, x, anchor) of every anchor that `choose(box)` names, in every cell of `near`."""
    found = []
    for n, box in enumerate(boxes):
        for level, anchor in choose(box):
            stride, (height, width) = GRID.strides[level], GRID.sizes[level]
            cx, cy = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
            for y, x in near(cx, cy):
                if 0 <= x < width and 0 <= y < height:
                    found.append((n, level, y, x, anchor))
    return sorted(found)


EVERY = [(level, a) for level in range(2) for a in range(2)]


def centre(cx, cy):
    return [(int(cy), int(cx))]


def centre_and_two(cx, cy):
    x, y = int(cx), int(cy)
    return [(y, x), (y, x - 1 if cx % 1 < 0.5 else x + 1), (y - 1 if cy % 1 < 0.5 else y + 1, x)]


def like(box, ratio):
    sides = (box[2] - box[0], box[3] - box[1])
    return [
        k for k in EVERY if all(max(s / t, t / s) < ratio for s, t in zip(sides, ANCHORS[k], strict=True))
    ]


def best(box):
    return [max(EVERY, key=lambda k: fit(box, ANCHORS[k]))]


@pytest.mark.parametrize("ratio", [3.0, 4.0])
def test_neighbours(ratio):
    boxes, image = random_boxes()
    found, left_out = Neighbours(ratio).match(boxes, GRID, image)
    assert left_out is None
    expected = slow(boxes, lambda box: like(box, ratio), centre_and_two)
    assert places(found) == expected
    assert len(expected) > 40


def test_all_above_takes_the_best_even_below():
    boxes, image = random_boxes()
    found, _ = AllAbove().match(boxes, GRID, image)
    expected = slow(boxes, lambda b: {k for k in EVERY if fit(b, ANCHORS[k]) > 0.5} | set(best(b)), centre)
    assert places(found) == expected
    assert set(found.box.tolist()) == set(range(len(boxes)))


def test_best_only():
    boxes, image = random_boxes()
    found, _ = BestOnly().match(boxes, GRID, image)
    assert places(found) == slow(boxes, best, centre)
    assert len(found.box) == len(boxes)


def box_at(cx, cy, w, h):
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def test_by_shape_ignores_other_anchors_alike():
    """16x16 fits the second anchor (1.0); 12x12 fits 16x16 (.56), and 8x8 (.44) not."""
    boxes = np.array([box_at(20, 20, 12, 12)])
    found, left_out = ByShape().match(boxes, GRID, np.zeros(1, int))
    assert places(found) == [(0, 0, 2, 2, 1)]
    assert places(left_out) == []
    found, left_out = ByShape(iou=0.4).match(boxes, GRID, np.zeros(1, int))
    assert places(found) == [(0, 0, 2, 2, 1)]
    assert places(left_out) == [(0, 0, 2, 2, 0)]


def test_by_shape_failed_match_is_a_choice():
    """ERR-37: 3x3 fits no anchor; the default teaches background, the option its best anchor."""
    boxes = np.array([box_at(20, 20, 3, 3)])
    found, left_out = ByShape().match(boxes, GRID, np.zeros(1, int))
    assert places(found) == places(left_out) == []
    found, _ = ByShape(best_always=True).match(boxes, GRID, np.zeros(1, int))
    assert places(found) == [(0, 0, 2, 2, 0)]


def test_by_shape_two_boxes_want_one_place():
    """DET-15: the better fit wins, the other takes its next best; other pictures do not compete."""
    boxes = np.array([box_at(20, 20, 14, 14), box_at(21, 21, 16, 16)])
    found, left_out = ByShape(iou=0.3).match(boxes, GRID, np.zeros(2, int))
    assert places(found) == [(0, 0, 2, 2, 0), (1, 0, 2, 2, 1)]
    assert (0, 0, 2, 2, 1) in places(left_out)  # alike, but another's: the codec keeps it positive
    apart, _ = ByShape(iou=0.3).match(boxes, GRID, np.arange(2))
    assert places(apart) == [(0, 0, 2, 2, 1), (1, 0, 2, 2, 1)]


@pytest.mark.parametrize("rule", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_centres_on_the_border_stay_inside(rule):
    boxes = np.array([box_at(96, 64, 16, 16), box_at(0, 0, 16, 16), box_at(96, 0, 30, 30)])
    found, _ = rule.match(boxes, GRID, np.zeros(3, int))
    assert set(found.box.tolist()) == {0, 1, 2}
    for level, y, x in zip(found.level, found.y, found.x, strict=True):
        assert 0 <= y < GRID.sizes[level][0]
        assert 0 <= x < GRID.sizes[level][1]


@pytest.mark.parametrize("rule", ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_no_boxes(rule):
    found, left_out = rule.match(np.zeros((0, 4)), GRID, np.zeros(0, int))
    assert len(found.box) == 0
    assert left_out is None or len(left_out.box) == 0


def test_names():
    assert resolve("hy") == AllAbove()
    rule = Neighbours(4.0)
    assert resolve(rule) is rule
    with pytest.raises(UnknownNameError, match="v5, hy, v3, shape"):
        resolve("simota")
