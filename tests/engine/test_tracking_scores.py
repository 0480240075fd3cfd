"""MOT scores: examples worked by hand, and a second program that tries every way to match."""

import itertools

import numpy as np
import pytest

from tests.vision.moving import boxes_of, detected, walkers
from tests.vision.test_poses import some
from visionkit.engine.tracking_scores import TrackingScores, score_tracks
from visionkit.errors import DataError, UsageError
from visionkit.vision.tracking import Tracker


def at(*rows):
    """One frame of (number, x) pairs: boxes of 100 x 100, `x` to the right. 10 apart their IoU is 0.818."""
    return boxes_of([[x, 0, x + 100, 100] for _, x in rows], np.ones(len(rows)), [n for n, _ in rows])


def counts(found):
    names = ("boxes", "found", "matched", "switches", "fragments", "identified")
    return tuple(getattr(found, name) for name in names)


def test_perfect():
    frames = [at((7, 0), (9, 300)), at((7, 5)), at()]
    found = score_tracks(frames, [at((1, 300), (2, 0)), at((2, 5)), at()])
    assert counts(found) == (3, 3, 3, 0, 0, 3)
    assert (found.MOTA, found.MOTP, found.IDF1, found.IDP, found.IDR) == (1, 1, 1, 1, 1)


def test_an_example_by_hand():
    """One thing for six frames: found as 1, missed, found as 1, as 2, as 2 with a false positive, missed.

    Four matches, two misses, one false positive, one switch (1 to 2), one fragment (the miss between two
    finds; that at the end is none). One number for all: two frames with 1, two with 2; so IDTP is 2.
    """
    truth = [at((5, 10 * t)) for t in range(6)]
    found = [at((1, 0)), at(), at((1, 30)), at((2, 30)), at((2, 40), (3, 900)), at()]
    result = score_tracks(truth, found)
    assert counts(result) == (6, 5, 4, 1, 1, 2)
    assert (result.misses, result.false_positives) == (2, 1)
    assert pytest.approx(1 - (2 + 1 + 1) / 6) == result.MOTA
    assert pytest.approx(2 * 2 / 11) == result.IDF1
    assert (pytest.approx(2 / 5), pytest.approx(2 / 6)) == (result.IDP, result.IDR)
    # frame 3 is 10 pixels off: 90 of 110 columns are shared
    assert pytest.approx((1 + 1 + 90 / 110 + 1) / 4) == result.MOTP


def test_two_that_swap_their_numbers():
    """Five frames right, five frames swapped: two switches, nothing else; half of each is identified."""
    truth = [at((1, 0), (2, 500)) for _ in range(10)]
    found = [at((1, 0), (2, 500)) if t < 5 else at((2, 0), (1, 500)) for t in range(10)]
    result = score_tracks(truth, found)
    assert counts(result) == (20, 20, 20, 2, 0, 10)
    assert pytest.approx(1 - 2 / 20) == result.MOTA
    assert pytest.approx(0.5) == result.IDF1


def test_a_fitting_number_is_kept_though_another_fits_better():
    """Bernardin and Stiefelhagen, figure 3: matching every frame anew would count two switches."""
    truth = [at((1, 0)) for _ in range(3)]
    found = [at((1, 0)), at((1, 30), (2, 0)), at((1, 0))]
    result = score_tracks(truth, found)
    assert (result.switches, result.false_positives, result.misses) == (0, 1, 0)


def test_as_many_as_possible_are_matched():
    """The nearest pair alone would leave both others without a partner."""
    found = score_tracks([at((1, 0), (2, 30))], [at((8, 0), (9, -20))], iou=0.5)
    assert found.matched == 2
    assert pytest.approx((80 / 120 + 70 / 130) / 2) == found.MOTP


def test_leaving_is_no_fragment_and_coming_back_is_the_same_thing():
    truth = [at((1, 0)), at(), at((1, 0)), at((1, 0))]
    away = score_tracks(truth, [at((4, 0)), at(), at((4, 0)), at((4, 0))])
    assert (away.switches, away.fragments, away.MOTA) == (0, 0, 1)
    anew = score_tracks(truth, [at((4, 0)), at(), at((5, 0)), at((5, 0))])
    assert (anew.switches, anew.fragments) == (1, 0)
    lost = score_tracks(truth, [at((4, 0)), at(), at(), at((4, 0))])
    assert (lost.switches, lost.fragments) == (0, 1)


def test_iou_at_the_threshold_counts():
    """A shift by a third of the width: 66.67 of 133.33 columns are shared."""
    truth, found = [boxes_of([[0, 0, 3, 3]], [1], [1])], [boxes_of([[1, 0, 4, 3]], [1], [1])]
    assert score_tracks(truth, found, iou=0.5).matched == 1
    assert score_tracks(truth, found, iou=0.51).matched == 0


def test_classes_keep_apart():
    one, other = (boxes_of([[0, 0, 9, 9]], [1], [1], class_id=[c]) for c in (0, 1))
    assert score_tracks([one], [other]).matched == 0
    assert score_tracks([one], [one]).matched == 1


def test_nothing_is_no_division_by_zero():
    none = score_tracks([], [])
    assert (none.MOTA, none.MOTP, none.IDF1, none.IDP, none.IDR) == (None,) * 5
    assert "n/a" in none.table()
    only_false = score_tracks([at()], [at((1, 0))])
    assert (only_false.MOTA, only_false.IDF1, only_false.IDP) == (None, 0, 0)
    assert score_tracks([at((1, 0))], [at()]).MOTA == 0


def slow(truth, found, least):
    """The definitions, by trying everything; for a handful of boxes a frame."""
    last, last_frame, seen, overlaps = {}, {}, {}, {}
    matched = switches = fragments = 0
    total = 0.0

    def iou(a, b):
        sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
        shared = max(sides[0], 0) * max(sides[1], 0)
        return shared / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared)

    for frame, (real, shown) in enumerate(zip(truth, found, strict=True)):
        boxes = dict(zip(real.tracker_id.tolist(), real.xyxy.tolist(), strict=True))
        others = dict(zip(shown.tracker_id.tolist(), shown.xyxy.tolist(), strict=True))
        fit = {(o, h): v for o, a in boxes.items() for h, b in others.items() if (v := iou(a, b)) >= least}
        for pair in fit:
            overlaps[pair] = overlaps.get(pair, 0) + 1
        pairs = {}
        for o in sorted(boxes, key=lambda o: (-last_frame.get(o, -1), list(boxes).index(o))):
            if (o, last.get(o)) in fit and last[o] not in pairs.values():
                pairs[o] = last[o]
        free, open_ = [o for o in boxes if o not in pairs], [h for h in others if h not in pairs.values()]
        best = (0, 0.0, {})
        padded = open_ + [None] * len(free)
        for way in set(itertools.permutations(padded, len(free))):
            some_pairs = {o: h for o, h in zip(free, way, strict=True) if (o, h) in fit}
            value = (len(some_pairs), sum(fit[p] for p in some_pairs.items()))
            best = max(best, (*value, some_pairs), key=lambda b: b[:2])
        pairs |= best[2]
        for o, h in pairs.items():
            switches += last.get(o, h) != h
            fragments += o in last and seen[o] > last_frame[o]
            last[o], last_frame[o] = h, frame
            matched += 1
            total += fit[o, h]
        seen |= dict.fromkeys(boxes, frame)
    things, numbers = sorted({o for o, _ in overlaps}), sorted({h for _, h in overlaps})
    ways = itertools.permutations(numbers + [None] * len(things), len(things))
    identified = max(sum(overlaps.get(p, 0) for p in zip(things, way, strict=True)) for way in set(ways))
    rows = [sum(map(len, frames)) for frames in (truth, found)]
    return TrackingScores(len(truth), *rows, matched, switches, fragments, identified, total)


@pytest.mark.parametrize("seed", range(12))
def test_against_the_program_that_tries_everything(seed):
    """Few things, close together, with numbers that jump about."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(25):
        there = rng.permutation(3)[: rng.integers(0, 4)]
        truth.append(at(*((int(n), float(40 * n + rng.normal(0, 12))) for n in there)))
        shown = rng.permutation(4)[: rng.integers(0, 4)]
        found.append(at(*((int(n), float(40 * (n % 3) + rng.normal(0, 15))) for n in shown)))
    for least in (0.5, 0.3):
        expected, result = slow(truth, found, least), score_tracks(truth, found, least)
        assert counts(result) == counts(expected)
        assert result.overlap == pytest.approx(expected.overlap, rel=1e-5)
    assert expected.switches >= 2
    assert expected.fragments > 1


def test_names_of_numbers_and_order_of_rows_do_not_matter(rng):
    truth = walkers(rng, frames=60)
    tracker = Tracker()
    found = [tracker.update(one) for one in detected(rng, truth)]
    other = [one[rng.permutation(len(one))] for one in found]
    other = [boxes_of(one.xyxy, one.confidence, 1000 - 3 * one.tracker_id) for one in other]
    assert counts(score_tracks(truth, found)) == counts(score_tracks(truth, other))


def test_poses_are_scored_by_their_boxes(rng):
    frames = [some(rng, 4, tracked=True) for _ in range(3)]
    assert score_tracks(frames, frames).MOTA == 1


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UsageError, match="as many frames"):
        score_tracks([at()], [])
    with pytest.raises(UsageError, match=r"iou must be in \(0, 1\]"):
        score_tracks([], [], iou=0)
    with pytest.raises(UsageError, match="frame 1: found has no tracker_id"):
        score_tracks([at(), at()], [at(), boxes_of([], [])])
    with pytest.raises(DataError, match=r"frame 0: a tracker_id of truth occurs twice \(found 4\)"):
        score_tracks([at((4, 0), (4, 300))], [at()])


def test_to_dict_is_ready_for_json():
    result = score_tracks([at((1, 0))], [at((1, 0))])
    assert result.to_dict() == {
        "MOTA": 1.0, "MOTP": 1.0, "IDF1": 1.0, "IDP": 1.0, "IDR": 1.0, "frames": 1, "boxes": 1, "found": 1,
        "misses": 0, "false_positives": 0, "switches": 0, "fragments": 0,
    }  # fmt: skip
    assert result.table().splitlines()[0].split() == ["MOTA", "1.000"]
