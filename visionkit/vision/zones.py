"""Counting what is followed: lines that are crossed, zones that are entered and left.

A thing stands where its anchor is; between two sightings it went straight. What touches an edge lies on one
side of it by rule, so of two zones with a common edge, or two lines with a common end, never both count.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .poses import Poses
from .results import Detections

Point = tuple[float, float]
Points = NDArray[np.float64]

#: Frames after which a thing that is not seen is forgotten, unless it comes back.
MEMORY = 1000


class Event(NamedTuple):
    """Something that happened: `what` is "in" or "out" of a line, "enter" or "leave" of a zone.

    `frame` is a number, `time` in seconds, `where` the name of the line or zone.
    """

    frame: int
    time: float
    tracker_id: int
    where: str
    what: str


class Area(Protocol):
    """A line or a zone."""

    name: str

    def passed(self, before: Points, now: Points) -> list[str]:
        """What happened on each way from `before` (N, 2), NaN where nothing was, to `now` (N, 2); or ""."""


class Line:
    """A line between two points, crossed from side to side.

    Args:
        name: what to call it.
        start, end: (x, y) in pixels. "in" is from the left hand to the right hand of one who goes from start
            to end: downwards over a line drawn from left to right.

    Raises:
        UsageError: points that are not finite, or the same.
    """

    def __init__(self, name: str, start: Point, end: Point) -> None:
        ends = _polygon(name, [start, end], 2)
        self.name = name
        self.start, self.end = ends
        if (self.start == self.end).all():
            raise UsageError("a line needs two different ends", place=name, value=ends.tolist())

    def passed(self, before: ArrayLike, now: ArrayLike) -> list[str]:
        """As `Area`; the way must meet the line between its ends."""
        p, q = np.asarray(before, np.float64), np.asarray(now, np.float64)
        along = self.end - self.start
        a, b = (along[0] * (r[:, 1] - self.start[1]) - along[1] * (r[:, 0] - self.start[0]) for r in (p, q))
        # a point on the line lies on the right; NaN is on neither side
        inwards, outwards = (a < 0) & (b >= 0), (a >= 0) & (b < 0)
        crossed = inwards | outwards
        share = np.divide(a, a - b, out=np.zeros_like(a), where=crossed)
        at = ((p + share[:, None] * (q - p) - self.start) @ along) / (along @ along)
        crossed &= (at >= 0) & (at < 1)
        return [("in" if i else "out") if c else "" for i, c in zip(inwards, crossed, strict=True)]


class Zone:
    """A polygon that things are in or not; where it crosses itself, even-odd.

    Args:
        name: what to call it.
        polygon: at least three points (x, y) in pixels; the last is joined to the first.

    Raises:
        UsageError: fewer points, or some that are not finite.
    """

    def __init__(self, name: str, polygon: Sequence[Point]) -> None:
        self.name = name
        self.polygon = _polygon(name, polygon, 3)

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """(N,) which of (N, 2) points lie in it; a NaN does not."""
        x, y = np.asarray(points, np.float64).T[:, :, None]
        x1, y1 = self.polygon.T
        x2, y2 = np.roll(self.polygon, -1, axis=0).T
        beside = (y1 <= y) != (y2 <= y)  # a ray to the right can meet this edge
        slope = np.divide(x2 - x1, y2 - y1, out=np.zeros_like(x1), where=y1 != y2)
        met = beside & (x < x1 + (y - y1) * slope)
        return np.asarray(met.sum(axis=1) % 2 == 1)

    def passed(self, before: ArrayLike, now: ArrayLike) -> list[str]:
        """As `Area`; what appears inside enters."""
        inside = zip(self.contains(before), self.contains(now), strict=True)
        return ["" if was == is_ else "enter" if is_ else "leave" for was, is_ in inside]


class Watch:
    """Watches lines and zones, and counts.

    Args:
        areas: lines and zones, whose names differ.
        anchor: where a thing stands: "feet", the middle of the lower edge of its box, or "centre".

    Attributes:
        counts: by name and what, how many so far: ``counts["door", "in"]``.
        inside: by zone, how many of those seen in the last frame are in it.

    Raises:
        UsageError: a name that occurs twice, or no such anchor.
    """

    def __init__(self, areas: Sequence[Area], anchor: Literal["feet", "centre"] = "feet") -> None:
        names = [area.name for area in areas]
        if len(set(names)) < len(names):
            raise UsageError("lines and zones need different names", value=names)
        if anchor not in ("feet", "centre"):
            raise UsageError("no such anchor", value=anchor, remedy="choose feet or centre")
        self.areas, self.anchor = tuple(areas), anchor
        self.counts: dict[tuple[str, str], int] = {}
        self.inside: dict[str, int] = {}
        for area in areas:
            is_zone = isinstance(area, Zone)
            self.counts |= {
                (area.name, what): 0 for what in (("enter", "leave") if is_zone else ("in", "out"))
            }
        self._last: dict[int, tuple[int, Point]] = {}

    def update(self, found: Detections | Poses, frame: int, time: float = 0.0) -> list[Event]:
        """What happened since the last frame.

        Args:
            found: what a tracker gave for this frame.
            frame: its number.
            time: its time in seconds, for the events.

        Raises:
            UsageError: no `tracker_id`.
        """
        if found.tracker_id is None:
            raise UsageError(
                "only what is followed can be counted", remedy="give what Tracker.update returns"
            )
        self._last = {n: seen for n, seen in self._last.items() if frame - seen[0] <= MEMORY}
        ids, now = found.tracker_id.tolist(), self._anchors(found)
        nowhere = (frame, (np.nan, np.nan))
        before = np.array([self._last.get(number, nowhere)[1] for number in ids]).reshape(-1, 2)
        events = [
            Event(frame, time, number, area.name, what)
            for area in self.areas
            for number, what in zip(ids, area.passed(before, now), strict=True)
            if what
        ]
        for event in events:
            self.counts[event.where, event.what] += 1
        self.inside = {a.name: int(a.contains(now).sum()) for a in self.areas if isinstance(a, Zone)}
        self._last |= {n: (frame, (x, y)) for n, (x, y) in zip(ids, now.tolist(), strict=True)}
        return events

    def _anchors(self, found: Detections | Poses) -> Points:
        x1, y1, x2, y2 = found.xyxy.astype(np.float64).T
        return np.stack([(x1 + x2) / 2, y2 if self.anchor == "feet" else (y1 + y2) / 2], axis=1)


def events_to_csv(events: Iterable[Event]) -> str:
    """A header and one line an event: frame,time,tracker_id,where,what."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Event._fields)
    for frame, time, *rest in events:
        writer.writerow([frame, f"{time:.3f}", *rest])
    return text.getvalue()


def _polygon(name: str, points: Sequence[Point], least: int) -> Points:
    found = np.asarray(points, np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or len(found) < least:
        reason = f"expected {'two ends' if least == 2 else 'three points or more'}, x and y each"
        raise UsageError(reason, place=name, value=found.tolist())
    if not np.isfinite(found).all():
        raise UsageError("points must be finite numbers", place=name, value=found.tolist())
    return found
