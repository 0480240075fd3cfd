"""Trackers: against a slow one made of plain objects, on sequences whose truth is known, and at the edges."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.vision.moving import boxes_of, detected, walkers
from tests.vision.test_kalman import SlowFilter
from visionkit.engine.tracking_scores import score_tracks
from visionkit.errors import DataError, UsageError
from visionkit.vision.tracking import Tracker


class SlowTracker:
    """The rules of `Tracker` for boxes: a list of tracks, and every way to pair them tried."""

    def __init__(self, high=0.5, low=0.1, gate=0.3, low_gate=0.5, patience=30, confirm=2):
        self.high, self.low, self.gate, self.low_gate = high, low, gate, low_gate
        self.patience, self.confirm = patience, confirm
        self.tracks, self.next, self.first = [], 1, True

    def pairs(self, tracks, rows, boxes, class_id, gate):
        def gain(track, row):
            return iou(track["filter"].x[:4], boxes[row]) - gate if track["class"] == class_id[row] else 0

        best, chosen = 0, []
        some = [t for t in tracks if any(gain(t, r) > 0 for r in rows)]
        options = [*rows, *[None] * len(some)]
        for way in set(itertools.permutations(options, len(some))):
            kept = [(t, r) for t, r in zip(some, way, strict=True) if r is not None and gain(t, r) > 0]
            total = sum(gain(t, r) for t, r in kept)
            if total > best:
                best, chosen = total, kept
        return chosen

    def update(self, found, frames=1):
        boxes = [
            np.array([(a + c) / 2, (b + d) / 2, c - a, d - b]) for a, b, c, d in found.xyxy.astype(float)
        ]
        sizes = [np.maximum([w, h, w, h], 1) for _, _, w, h in boxes]
        for track in self.tracks:
            if track["unseen"]:
                track["filter"].x[6:8] = 0
            track["filter"].predict(frames)
            track["unseen"] += frames
        owner = {}
        sure = [r for r in range(len(found)) if found.confidence[r] >= self.high]
        unsure = [r for r in range(len(found)) if self.low <= found.confidence[r] < self.high]
        rounds = (
            (lambda t: t["id"] > 0, sure, self.gate),
            (lambda t: t["id"] > 0, unsure, self.low_gate),
            (lambda t: t["id"] == 0, sure, self.gate),
        )
        for of, rows, gate in rounds:
            tracks = [t for t in self.tracks if of(t) and id(t) not in map(id, owner.values())]
            left = [r for r in rows if r not in owner]
            owner |= {r: t for t, r in self.pairs(tracks, left, boxes, found.class_id, gate)}
        for row, track in owner.items():
            track["filter"].correct(boxes[row], sizes[row])
            track["unseen"], track["seen"] = 0, track["seen"] + 1
        for row in sure:
            if row not in owner:
                fresh = SlowFilter(boxes[row], sizes[row])
                owner[row] = {"id": 0, "seen": 1, "unseen": 0, "class": found.class_id[row], "filter": fresh}
                self.tracks.append(owner[row])
        for row in sorted(owner):
            if owner[row]["id"] == 0 and owner[row]["seen"] >= (1 if self.first else self.confirm):
                owner[row]["id"], self.next = self.next, self.next + 1
        self.first = False
        self.tracks = [t for t in self.tracks if t["unseen"] <= (self.patience if t["id"] else 0)]
        return {row: track["id"] for row, track in owner.items() if track["id"]}


def iou(state, other):
    sides = [
        min(state[k] + state[k + 2] / 2, other[k] + other[k + 2] / 2)
        - max(state[k] - state[k + 2] / 2, other[k] - other[k + 2] / 2)
        for k in (0, 1)
    ]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (state[2] * state[3] + other[2] * other[3] - shared)


@pytest.mark.parametrize("seed", range(8))
def test_against_the_slow_tracker(seed):
    """Few things in a small picture, many errors, two classes, skipped frames, other parameters."""
    rng = np.random.default_rng(seed)
    options = {"patience": int(rng.integers(0, 9)), "confirm": int(rng.integers(1, 4))} if seed else {}
    fast, slow = Tracker(**options), SlowTracker(**options)
    given = 0
    for frame in detected(rng, walkers(rng, 4, 90), misses=0.15, false=0.6, noise=0.06):
        one = replace(frame, class_id=(rng.random(len(frame)) < 0.03).astype(np.int64))
        steps = float(rng.choice([1, 1, 1, 2]))
        expected, found = slow.update(one, steps), fast.update(one, steps)
        rows = sorted(expected)
        assert found.tracker_id.tolist() == [expected[row] for row in rows]
        np.testing.assert_array_equal(found.xyxy, one.xyxy[rows])
        given += len(found)
    assert given > 50
    assert slow.next > 3


def sequence_scores(**options):
    """Mean MOTA and IDF1, and all switches, over ten made-up sequences of eight crossing walkers."""
    rows = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = walkers(rng)
        tracker = Tracker(**options)
        rows.append(score_tracks(truth, [tracker.update(frame) for frame in detected(rng, truth)]))
    mota, idf1 = np.mean([[one.MOTA, one.IDF1] for one in rows], axis=0)
    return mota, idf1, sum(one.switches for one in rows)


def test_crossing_hiding_missing_and_false_ones():
    """A labelled sequence with all that goes wrong; what each idea is worth shows when it is left out."""
    mota, idf1, switches = sequence_scores()
    assert mota > 0.91
    assert idf1 > 0.935
    assert switches <= 4
    one_band = sequence_scores(low=0.5)
    assert one_band[0] < mota - 0.025
    assert one_band[1] < idf1 - 0.01
    hasty = sequence_scores(confirm=1)
    assert hasty[0] < mota - 0.01
    forgetful = sequence_scores(patience=0)
    assert forgetful[1] < idf1 - 0.3
    assert forgetful[2] > 100


def test_perfect_detections_are_followed_perfectly():
    """Without errors of the detector: every box but the first of each thing that enters later, no switch."""
    rng = np.random.default_rng(2)
    truth = walkers(rng, 6, 100)
    tracker = Tracker()
    result = score_tracks(truth, [tracker.update(replace(one, tracker_id=None)) for one in truth])
    assert (result.switches, result.false_positives) == (0, 0)
    assert result.misses <= 6
    assert result.MOTP == 1


def walk(t, x=50.0, pace=5.0, confidence=0.9):
    """One box of 40 x 80 that walks to the right."""
    return boxes_of([[x + pace * t, 100, x + pace * t + 40, 180]], [confidence])


def ids(tracker, frames):
    return [tracker.update(frame).tracker_id.tolist() for frame in frames]


def test_two_that_cross_keep_their_numbers():
    def frame(t):
        return boxes_of(
            [[10 + 6 * t, 100, 50 + 6 * t, 180], [370 - 6 * t, 110, 410 - 6 * t, 190]], [0.9, 0.8]
        )

    assert ids(Tracker(), map(frame, range(61))) == [[1, 2]] * 61


def test_hidden_and_found_again():
    for hidden, then in ((30, 1), (31, 2)):
        tracker = Tracker(patience=30)
        assert ids(tracker, map(walk, range(20))) == [[1]] * 20
        assert ids(tracker, [boxes_of([], [])] * hidden) == [[]] * hidden
        after = ids(tracker, map(walk, range(20 + hidden, 25 + hidden)))
        assert after == ([[1]] * 5 if then == 1 else [[], *[[2]] * 4])


def test_hidden_ones_go_on_but_do_not_change_their_size():
    """It grew while it came nearer; hidden for 12 frames it would have grown by more than half."""
    tracker = Tracker()
    for t in range(15):
        side = 40 * 1.05**t
        box = [300 + 3 * t - side, 200 - side, 300 + 3 * t + side, 200 + side]
        tracker.update(boxes_of([box], [0.9]))
    for _ in range(12):
        tracker.update(boxes_of([], []))
    x, y, width, height = tracker._motion.position[0]
    assert x == pytest.approx(300 + 3 * 26, abs=8)
    assert y == pytest.approx(200)
    assert width == pytest.approx(height)
    assert 2 * side < width < 2.2 * side


def test_skipped_frames_are_time_that_passed():
    """13 frames are 65 pixels, more than the box is wide: only who knows that they passed finds it there."""
    right, wrong = Tracker(), Tracker()
    for tracker in (right, wrong):
        assert ids(tracker, map(walk, range(20)))[-1] == [1]
    later = [walk(t) for t in (32, 45, 58)]
    assert [right.update(frame, frames=13).tracker_id.tolist() for frame in later] == [[1], [1], [1]]
    assert [1] not in ids(wrong, later)


def test_empty_frames_and_skipped_ones_are_the_same_to_what_was_hidden():
    seen, skipped = Tracker(), Tracker()
    for tracker in (seen, skipped):
        ids(tracker, map(walk, range(10)))
    for _ in range(4):
        seen.update(boxes_of([], []))
    skipped.update(boxes_of([], []), frames=4)
    np.testing.assert_allclose(seen._motion.position, skipped._motion.position, rtol=1e-3)
    assert seen._unseen == skipped._unseen


def test_unsure_detections_go_on_with_tracks_and_begin_none():
    frames = [walk(t, confidence=0.9 if t < 5 else 0.2) for t in range(20)]
    assert ids(Tracker(), frames) == [[1]] * 20
    assert ids(Tracker(low=0.3), frames) == [[1]] * 5 + [[]] * 15
    assert ids(Tracker(), frames[5:]) == [[]] * 15


def test_an_unsure_detection_brings_a_lost_thing_back():
    """Out of sight for three frames, then seen, half hidden, for two."""
    frames = [
        walk(t, confidence=0.9 if t < 5 else 0.2) if t not in (5, 6, 7) else boxes_of([], [])
        for t in range(10)
    ]
    assert ids(Tracker(), frames) == [[1]] * 5 + [[]] * 3 + [[1]] * 2


def test_bounds_are_inclusive():
    low = float(np.float32(0.1))
    frames = [walk(0, confidence=0.5), walk(1, confidence=low)]
    assert ids(Tracker(high=0.5, low=low), frames) == [[1], [1]]


def test_a_single_sight_is_not_believed_except_in_the_first_frame():
    flash = boxes_of([[50, 100, 90, 180], [400, 300, 500, 400]], [0.9, 0.9])
    assert ids(Tracker(), [walk(0), flash, walk(2)]) == [[1], [1], [1]]
    assert ids(Tracker(), [flash, walk(0)]) == [[1, 2], [1]]
    assert ids(Tracker(), [boxes_of([], []), walk(1), walk(2)]) == [[], [], [1]]
    assert ids(Tracker(confirm=3), [boxes_of([], []), *map(walk, range(4))]) == [[], [], [], [1], [1]]
    assert ids(Tracker(confirm=1), [boxes_of([], []), walk(1)]) == [[], [1]]


def test_a_thing_keeps_its_class():
    box = [[50, 100, 90, 180]]
    frames = [boxes_of(box, [0.9], class_id=[c]) for c in (0, 0, 1, 1, 0)]
    assert ids(Tracker(), frames) == [[1], [1], [], [2], [1]]


def test_numbers_count_from_one_and_are_never_given_again(rng):
    tracker = Tracker(patience=3)
    seen, gone = set(), set()
    for frame in detected(rng, walkers(rng, 12, 200), misses=0.3):
        now = tracker.update(frame).tracker_id.tolist()
        assert len(set(now)) == len(now)
        new = [number for number in now if number not in seen]
        assert new == list(range(len(seen) + 1, len(seen) + 1 + len(new)))
        seen.update(now)
        assert not gone & set(now)
        gone |= seen - set(tracker._tracker_id.tolist())
    assert len(gone) > 5


def test_reset_and_a_new_tracker_are_the_same(rng):
    frames = detected(rng, walkers(rng, frames=40))
    tracker = Tracker()
    first = ids(tracker, frames)
    assert max(map(max, filter(None, first))) > 3
    tracker.reset()
    assert ids(tracker, frames) == first == ids(Tracker(), frames)


def test_rows_keep_their_order_and_nothing_is_changed(rng):
    """Shuffled rows give the same things; numbers depend on the order only where things appear together."""
    frames = detected(rng, walkers(rng, frames=60))
    copies = [(one.xyxy.copy(), one.confidence.copy()) for one in frames]
    orders = [rng.permutation(len(one)) for one in frames]
    plain, shuffled = Tracker(), Tracker()
    names: dict[int, int] = {}
    for frame, order in zip(frames, orders, strict=True):
        a, b = plain.update(frame), shuffled.update(frame[order])
        kept = [row for row in frame.xyxy.tolist() if row in a.xyxy.tolist()]
        assert a.xyxy.tolist() == kept
        number = {tuple(box): n for box, n in zip(b.xyxy.tolist(), b.tracker_id.tolist(), strict=True)}
        for box, n in zip(a.xyxy.tolist(), a.tracker_id.tolist(), strict=True):
            assert names.setdefault(n, number[tuple(box)]) == number[tuple(box)]
        assert len(a) == len(b)
    for one, (xyxy, confidence) in zip(frames, copies, strict=True):
        assert one.tracker_id is None
        np.testing.assert_array_equal(one.xyxy, xyxy)
        np.testing.assert_array_equal(one.confidence, confidence)


@pytest.mark.parametrize(("scale", "shift"), [(4.0, 0.0), (0.25, 0.0), (1.0, 512.0)])
def test_size_and_place_of_the_picture_do_not_matter(rng, scale, shift):
    frames = detected(rng, walkers(rng, frames=60))
    moved = [replace(one, xyxy=one.xyxy * np.float32(scale) + np.float32(shift)) for one in frames]
    assert ids(Tracker(), frames) == ids(Tracker(), moved)


def test_thousands_at_once_and_no_memory_of_what_is_gone(rng):
    grid = np.stack(np.meshgrid(np.arange(50), np.arange(40)), axis=-1).reshape(-1, 2) * 30.0
    tracker = Tracker(patience=2)
    for t in range(3):
        corner = grid + t * np.array([3, -2]) + rng.uniform(-1, 1, grid.shape)
        found = tracker.update(boxes_of(np.concatenate([corner, corner + 20], axis=1), np.full(2000, 0.9)))
        assert found.tracker_id.tolist() == list(range(1, 2001))
    for _ in range(3):
        tracker.update(boxes_of([], []))
    assert len(tracker._motion) == len(tracker._tracker_id) == len(tracker._unseen) == 0
    assert tracker._motion.variance.shape == (3, 0, 4)


def test_what_is_not_finite_is_refused_and_changes_nothing():
    tracker = Tracker()
    ids(tracker, map(walk, range(3)))
    for wrong in (np.nan, np.inf):
        bad = boxes_of([[0, 0, 9, 9], [0, wrong, 9, 9]], [0.9, 0.9])
        with pytest.raises(DataError, match=r"row 1: coordinates and confidence must be finite"):
            tracker.update(bad)
    with pytest.raises(DataError, match="row 0"):
        tracker.update(boxes_of([[0, 0, 9, 9]], [np.nan]))
    assert ids(tracker, [walk(3)]) == [[1]]
    assert tracker._unseen.tolist() == [0]


def test_strange_boxes_do_no_harm():
    """Without area, corners swapped, far away: never followed, never an error or a warning."""
    strange = boxes_of([[5, 5, 5, 5], [9, 9, 2, 2], [1e30, 1e30, 2e30, 2e30]], [0.9] * 3)
    tracker = Tracker()
    for t in range(4):
        both = boxes_of(np.concatenate([walk(t).xyxy, strange.xyxy[:2]]), [0.9] * 3)
        assert tracker.update(both).tracker_id[0] == 1
    for _ in range(3):
        tracker.update(strange)


@pytest.mark.parametrize(
    "wrong",
    [{"high": 1.1}, {"low": -0.1}, {"low": 0.6}, {"high": np.nan}, {"gate": 2}, {"low_gate": -1},
     {"patience": -1}, {"patience": np.nan}, {"confirm": 0}],
    ids=str,
)  # fmt: skip
def test_parameters_out_of_range(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Tracker(**wrong)


@pytest.mark.parametrize("frames", [0, -1, np.nan, np.inf])
def test_time_goes_on(frames):
    with pytest.raises(UsageError, match="frames must be a positive number"):
        Tracker().update(walk(0), frames=frames)
