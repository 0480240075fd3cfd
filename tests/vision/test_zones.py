"""Lines and zones: against exact arithmetic, OpenCV's polygons, and stories whose events are known."""

import csv
import io
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.vision.moving import boxes_of
from tests.vision.test_tracking import walk
from tests.vision.test_tracking_poses import people
from visionkit.errors import UsageError
from visionkit.vision.tracking import Tracker
from visionkit.vision.zones import MEMORY, Event, Line, Watch, Zone, events_to_csv

whole = st.integers(-6, 6)
point = st.tuples(whole, whole)


def slow_passed(start, end, p, q):
    """One way over one line, in fractions: on which side both ends are, and where the way meets the line."""

    def side(r):
        return (end[0] - start[0]) * (r[1] - start[1]) - (end[1] - start[1]) * (r[0] - start[0])

    a, b = side(p), side(q)
    if (a >= 0) == (b >= 0):
        return ""
    t = Fraction(a, a - b)
    meets = [p[k] + t * (q[k] - p[k]) for k in (0, 1)]
    axis = 0 if end[0] != start[0] else 1
    share = Fraction(meets[axis] - start[axis]) / (end[axis] - start[axis])
    return ("in" if b >= 0 else "out") if 0 <= share < 1 else ""


@settings(max_examples=500, deadline=None)
@given(point, point, point, point)
def test_lines_against_fractions(start, end, p, q):
    """On a small grid most ways touch a line, end on it, or run along it."""
    assume(start != end)
    assert Line("a", start, end).passed([p], [q]) == [slow_passed(start, end, p, q)]


@settings(max_examples=200, deadline=None)
@given(point, point, st.lists(point, min_size=2, max_size=12))
def test_ins_and_outs_take_turns(start, end, path):
    """Over a line so long that no way leads round it, a thing comes in, goes out, comes in ..."""
    assume(start != end)
    far = [1000 * (e - s) for s, e in zip(start, end, strict=True)]
    line = Line("a", (start[0] - far[0], start[1] - far[1]), (end[0] + far[0], end[1] + far[1]))
    seen = [what for what in line.passed(path[:-1], path[1:]) if what]
    assert all(a != b for a, b in pairwise(seen))
    assert line.passed([path[0]], [path[-1]])[0] == ("" if len(seen) % 2 == 0 else seen[-1])


@settings(max_examples=200, deadline=None)
@given(whole, point, point)
def test_a_common_end_counts_once(x, p, q):
    """Two lines end to end are one line."""
    assume(-6 < x < 6)
    parts = [Line("a", (-6, 0), (x, 0)), Line("b", (x, 0), (6, 0))]
    whole_line = Line("c", (-6, 0), (6, 0)).passed([p], [q])
    halves = [part.passed([p], [q])[0] for part in parts]
    assert sorted(halves, reverse=True) == [whole_line[0], ""]


def test_in_is_from_left_to_right_of_the_way_from_start_to_end():
    drawn_to_the_right = Line("a", (0, 50), (100, 50))
    assert drawn_to_the_right.passed([[50, 40]], [[50, 60]]) == ["in"]  # downwards in the picture
    assert drawn_to_the_right.passed([[50, 60]], [[50, 40]]) == ["out"]
    assert Line("a", (100, 50), (0, 50)).passed([[50, 40]], [[50, 60]]) == ["out"]
    assert drawn_to_the_right.passed([[150, 40], [np.nan, np.nan]], [[150, 60], [50, 60]]) == ["", ""]


def slow_contains(polygon, x, y):
    """How often a ray to the right meets an edge, in fractions; an edge has its upper end alone."""
    met = 0
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if min(y1, y2) <= y < max(y1, y2) and x < x1 + Fraction(y - y1, y2 - y1) * (x2 - x1):
            met += 1
    return met % 2 == 1


@settings(max_examples=500, deadline=None)
@given(st.lists(point, min_size=3, max_size=7), point)
def test_zones_against_fractions(polygon, at):
    assert Zone("a", polygon).contains([at]).tolist() == [slow_contains(polygon, *at)]


def test_zones_against_opencv(rng):
    """Convex ones, for where edges cross OpenCV counts otherwise; points on edges are nobody's business."""
    cv2 = pytest.importorskip("cv2")
    for _ in range(30):
        polygon = cv2.convexHull(rng.uniform(0, 100, (9, 2)).astype(np.float32))[:, 0]
        points = rng.uniform(0, 100, (60, 2))
        theirs = [cv2.pointPolygonTest(polygon, point.tolist(), False) > 0 for point in points]
        assert Zone("a", polygon).contains(points).tolist() == theirs
        assert 0 < sum(theirs) < 60


@settings(max_examples=200, deadline=None)
@given(point, whole, whole)
def test_every_point_is_in_one_of_two_neighbours(at, x, y):
    """A square cut in four, through any inner point: also what lies on a cut is in exactly one part."""
    assume(-6 < x < 6 and -6 < y < 6)
    corners = [(-6, -6), (6, -6), (6, 6), (-6, 6)]
    parts = [Zone("a", [corners[k], corners[(k + 1) % 4], (x, y)]) for k in range(4)]
    inside = sum(int(part.contains([at])[0]) for part in parts)
    assert inside == int(Zone("b", corners).contains([at])[0])


def test_the_outline_may_cross_itself():
    bow = Zone("a", [(0, 0), (10, 10), (10, 0), (0, 10)])
    assert bow.contains([[1, 5], [9, 5], [5, 1], [5, 9]]).tolist() == [True, True, False, False]
    assert not bow.contains([[np.nan, 5.0]]).any()
    assert bow.contains(np.zeros((0, 2))).shape == (0,)


def story(watch, frames):
    """All events of Detections, one frame after the other, at ten frames a second."""
    return [event for n, found in enumerate(frames) for event in watch.update(found, n, n / 10)]


def test_a_walk_through_a_zone_and_over_a_line():
    """Feet at x = 70 + 10 t, y = 180: past x = 125 between t = 5 and 6, in the zone from t = 3 to t = 7."""
    watch = Watch(
        [Line("door", (125, 300), (125, 0)), Zone("mat", [(95, 150), (145, 150), (145, 200), (95, 200)])],
        hold=1,
    )
    tracker = Tracker()
    frames = [tracker.update(walk(t, pace=10.0)) for t in range(12)]
    inside = []
    events = []
    for n, found in enumerate(frames):
        events += watch.update(found, n, n / 10)
        inside.append(watch.counts["mat"]["inside"])
    assert events == [
        Event(3, 0.3, 1, "mat", "enter"), Event(6, 0.6, 1, "door", "in"), Event(8, 0.8, 1, "mat", "leave"),
    ]  # fmt: skip
    assert inside == [0] * 3 + [1] * 5 + [0] * 4
    assert watch.counts == {"door": {"in": 1, "out": 0}, "mat": {"enter": 1, "leave": 1, "inside": 0}}


def test_each_thing_has_its_own_past():
    """Two change places across a line in one frame, a third appears beyond it."""
    watch = Watch([Line("a", (0, 50), (100, 50))], anchor="centre", hold=1)
    frames = [
        boxes_of([[10, 30, 20, 40], [30, 60, 40, 70]], [1, 1], [1, 2]),
        boxes_of([[10, 60, 20, 70], [30, 30, 40, 40], [60, 60, 70, 70]], [1, 1, 1], [1, 2, 3]),
    ]
    assert story(watch, frames) == [Event(1, 0.1, 1, "a", "in"), Event(1, 0.1, 2, "a", "out")]


def test_unseen_for_a_while_and_for_too_long():
    """The way leads straight from where it was last seen; who is forgotten begins anew."""
    before, after = (boxes_of([[10, y, 20, y + 10]], [1], [1]) for y in (30, 80))
    for gap, events in ((MEMORY, 1), (MEMORY + 1, 0)):
        watch = Watch([Line("a", (0, 50), (100, 50))], hold=1)
        watch.update(before, 0)
        for frame in (1, gap - 1):
            watch.update(boxes_of([], [], []), frame)
        assert len(watch.update(after, gap)) == events
        watch.update(boxes_of([], [], []), 3 * gap)
        assert not watch._past


@pytest.mark.parametrize(("hold", "frames"), [(1, [2, 3, 4, 6, 7]), (2, [5]), (3, [9]), (4, [10]), (5, [])])
def test_what_trembles_on_an_edge(hold, frames):
    """Feet now above y = 50, now below, and at last beyond: it counts once it held for as long as asked."""
    heights = [40, 49, 51, 49, 51, 51, 49, 51, 51, 51, 60]
    watch = Watch([Line("a", (0, 50), (100, 50))], hold=hold)
    events = story(watch, [boxes_of([[10, y - 10, 20, y]], [1], [1]) for y in heights])
    assert [event.frame for event in events] == frames


def test_feet_below_the_picture_stand_on_its_edge():
    """Boxes reach beyond the picture, zones are drawn to its last pixel: 479 of 480."""
    zone = Zone("a", [(100, 300), (300, 300), (300, 479), (100, 479)])
    watch = Watch([zone])
    frames = [boxes_of([[150, 200, 250, low]], [1], [1]) for low in (478, 480, 485, 479, 500)]
    assert [event.what for event in story(watch, frames)] == ["enter"]
    assert watch.counts["a"]["inside"] == 1


def test_who_appears_in_a_zone_enters_it():
    watch = Watch([Zone("a", [(0, 0), (100, 0), (100, 100), (0, 100)])], hold=1)
    assert story(watch, [boxes_of([[10, 10, 20, 20]], [1], [4])] * 3) == [Event(0, 0.0, 4, "a", "enter")]
    assert story(watch, [boxes_of([], [], [])]) == []
    assert watch.counts["a"]["inside"] == 0


def test_feet_and_centre():
    """A tall box whose feet are below the line and whose middle is above."""
    frames = [boxes_of([[10, y, 20, y + 60]], [1], [1]) for y in (-20, 0)]
    assert len(story(Watch([Line("a", (0, 50), (100, 50))], hold=1), frames)) == 1
    assert len(story(Watch([Line("a", (0, 50), (100, 50))], anchor="centre", hold=1), frames)) == 0


def test_poses_are_counted_by_the_box_of_their_points():
    """Ankles 85 pixels below the middle."""
    watch, tracker = Watch([Line("a", (0, 300), (640, 300))], hold=1), Tracker()
    found = [tracker.update(people((200, y))) for y in range(190, 240, 5)]
    assert [(event.frame, event.what) for event in story(watch, found)] == [(5, "in")]


def test_csv():
    events = [Event(3, 0.12, 7, "door, north", "in"), Event(4, 0.16, 8, "mat", "leave")]
    rows = list(csv.DictReader(io.StringIO(events_to_csv(events))))
    assert rows[0] == {"frame": "3", "time": "0.120", "tracker_id": "7", "where": "door, north", "what": "in"}
    assert rows[1]["what"] == "leave"
    assert events_to_csv([]) == "frame,time,tracker_id,where,what\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Line("a", (1, 1), (1, 1)), "a: a line needs two different ends"),
        (lambda: Line("a", (1, np.nan), (1, 1)), "a: points must be finite"),
        (lambda: Line("a", (1, 1, 1), (1, 1, 2)), "a: expected two ends"),
        (lambda: Zone("b", [(1, 1), (2, 2)]), "b: expected three points or more"),
        (lambda: Zone("b", [(1, 1), (2, 2), (np.inf, 0)]), "b: points must be finite"),
        (lambda: Watch([Line("a", (0, 0), (1, 1)), Line("a", (0, 0), (2, 1))]), "different names"),
        (lambda: Watch([], anchor="head"), "no such anchor"),
        (lambda: Watch([], hold=0), "hold must be 1"),
        (lambda: Watch([]).update(boxes_of([], []), 0), "only what is followed"),
    ],
)
def test_what_cannot_be_watched(make, words):
    with pytest.raises(UsageError, match=words):
        make()
