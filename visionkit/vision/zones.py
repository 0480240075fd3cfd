"""Counting what is followed: lines that are crossed, zones that are entered and left.

A thing stands where its anchor is; between two sightings it went straight. What touches an edge lies on one
side of it by rule, so of two zones with a common edge, or two lines with a common end, never both count.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

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


class Line:
    """A line between two points, crossed from side to side.

    Args:
        name: what to call it.
        start, end: (x, y) in pixels. "in" is from the left hand to the right hand of one who goes from start
            to end: downwards over a line drawn from left to right.

    Raises:
        UsageError: points that are not finite, or the same.
    """

    kinds = ("in", "out")

    def __init__(self, name: str, start: Point, end: Point) -> None:
        ends = _polygon(name, [start, end], 2)
        self.name = name
        self.start, self.end = ends
        if (self.start == self.end).all():
            raise UsageError("a line needs two different ends", place=name, value=ends.tolist())

    def passed(self, before: ArrayLike, now: ArrayLike) -> list[str]:
        """What happened on each way from `before` (N, 2), NaN where nothing was, to `now` (N, 2), or "".

        The way must meet the line between its ends, of which the end itself is left out.
        """
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

    kinds = ("enter", "leave", "inside")

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
        """What happened on each way, as of a line; what appears inside enters."""
        inside = zip(self.contains(before), self.contains(now), strict=True)
        return ["" if was == is_ else "enter" if is_ else "leave" for was, is_ in inside]


#: What can be watched: `passed` says what happened on each way, `kinds` is what is counted.
Area = Line | Zone


class Watch:
    """Watches lines and zones, and counts.

    Args:
        areas: lines and zones, whose names differ.
        anchor: where a thing stands: "feet", the middle of the lower edge of its box, or "centre"; two pixels
            inside the picture at least, for zones are drawn to its edge and boxes reach beyond.
        hold: something has happened once it held for so many sightings: boxes tremble.

    Attributes:
        counts: by name and what, how many so far: ``counts["door"]["in"]``; of zones also how many of those
            in the last frame are inside: ``counts["mat"]["inside"]``.

    Raises:
        UsageError: a name that occurs twice, no such anchor, or hold below 1.
    """

    def __init__(
        self, areas: Sequence[Area], anchor: Literal["feet", "centre"] = "feet", *, hold: int = 2
    ) -> None:
        names = [area.name for area in areas]
        if len(set(names)) < len(names):
            raise UsageError("lines and zones need different names", value=names)
        if anchor not in ("feet", "centre"):
            raise UsageError("no such anchor", value=anchor, remedy="choose feet or centre")
        if hold < 1:
            raise UsageError("hold must be 1 sighting or more", value=hold)
        self.areas, self.anchor, self.hold = tuple(areas), anchor, hold
        self.counts = {area.name: dict.fromkeys(area.kinds, 0) for area in areas}
        self._past: dict[tuple[str, int], _Past] = {}

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
        self._past = {key: past for key, past in self._past.items() if frame - past.frame <= MEMORY}
        now = self._anchors(found)
        events = []
        for area in self.areas:
            pasts = [self._past.get((area.name, n), _Past(frame)) for n in found.tracker_id.tolist()]
            whats = area.passed(np.array([past.point for past in pasts]).reshape(-1, 2), now)
            for number, point, past, what in zip(found.tracker_id.tolist(), now, pasts, whats, strict=True):
                held = past.held + 1 if what else 0
                if held >= self.hold:
                    self.counts[area.name][what] += 1
                    events.append(Event(frame, time, number, area.name, what))
                settled = not what or held >= self.hold
                here = (
                    _Past(frame, tuple(point.tolist())) if settled else past._replace(frame=frame, held=held)
                )
                self._past[area.name, number] = here
            if isinstance(area, Zone):
                self.counts[area.name]["inside"] = int(area.contains(now).sum())
        return events

    def _anchors(self, found: Detections | Poses) -> Points:
        x1, y1, x2, y2 = found.xyxy.astype(np.float64).T
        points = np.stack([(x1 + x2) / 2, y2 if self.anchor == "feet" else (y1 + y2) / 2], axis=1)
        height, width = found.image_size
        return np.clip(points, 2, [max(width - 2, 2), max(height - 2, 2)])


class _Past(NamedTuple):
    """Where a thing last stood settled, and in how many sightings since then something held."""

    frame: int
    point: tuple[float, ...] = (np.nan, np.nan)
    held: int = 0


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
