"""Following what is found from picture to picture: what `track` and `pose --track` add to a look."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from visionkit.io.draw import Drawing, draw
from visionkit.io.draw_zones import draw_zones
from visionkit.io.window import Threshold
from visionkit.vision.tracking import Tracker
from visionkit.vision.zones import Area, Event, Line, Watch, Zone, events_to_csv

from .folders import Folder
from .loop import Looking, Shot
from .results import Look, Take
from .tables import Table, with_columns

if TYPE_CHECKING:
    from visionkit.io.video import Video

LOW, PATIENCE, HOLD = 0.1, 30, 2


def given_without_track(args: argparse.Namespace) -> str | None:
    """The first flag given that says nothing where nobody is followed."""
    names = ("low", "patience", "line", "zone", "anchor", "hold")
    return next((f"--{name}" for name in names if getattr(args, name) not in (None, [])), None)


def lower_confidence(args: argparse.Namespace, usual: float) -> float:
    """The confidence of sure things; --confidence becomes that of unsure ones, for what is opened next."""
    sure = usual if args.confidence is None else args.confidence
    args.confidence = min(LOW if args.low is None else args.low, sure)
    return float(sure)


class Following:
    """A look that knows what it saw before. A video is a sequence; so are all still pictures together.

    Args:
        look: finds what is there, unsure things too.
        sure: the least confidence of sure ones.
        args: the flags of following; --confidence is the least by now, and --json keeps events unprinted.

    Raises:
        UsageError: a line or zone that cannot be one, or two of one name.
    """

    def __init__(self, look: Looking, sure: Threshold, args: argparse.Namespace) -> None:
        self._look, self._sure, self._args = look, sure, args
        self._areas: list[Area] = [
            *(Line(name or f"line {n}", *ends) for n, (name, ends) in enumerate(args.line, 1)),
            *(Zone(name or f"zone {n}", polygon) for n, (name, polygon) in enumerate(args.zone, 1)),
        ]
        self._last: Shot | None = None
        self._begin()

    def __call__(self, shot: Shot) -> Look:
        """What is there and followed; its facts are the frame, the time, events and counts."""
        passed = 1
        if self._last and _sequence(self._last) == _sequence(shot):
            passed = shot.frame - self._last.frame
        elif self._last:
            self._begin()
        self._last = shot
        seen = self._look(shot)
        self._tracker.high = self._sure.value
        found = self._tracker.update(seen.found, passed)
        time = shot.frame if shot.time is None else shot.time
        events = self._watch.update(found, shot.frame, time)
        counts = deepcopy(self._watch.counts)
        for event in () if self._args.json else events:
            what = f"{event.tracker_id} {event.what} {event.where}"
            print(f"{shot.source} frame {shot.frame}: {what}", flush=True)
        facts: dict[str, Any] = {"frame": shot.frame, "time": time}
        if self._areas:
            facts |= {"events": [event._asdict() for event in events], "counts": counts}

        def drawn() -> Drawing:
            return draw_zones(draw(shot.picture, found), self._areas, counts)

        return Look(found, {**seen.layers, "": drawn}, facts)

    def _begin(self) -> None:
        """A new sequence: nobody is known, nothing was counted."""
        patience = PATIENCE if self._args.patience is None else self._args.patience
        self._tracker = Tracker(self._sure.value, self._args.confidence, patience=patience)
        self._watch = Watch(self._areas, self._args.anchor or "feet", hold=self._args.hold or HOLD)


def _sequence(shot: Shot) -> str | None:
    return shot.source if shot.fps else None


class FollowedFolder(Folder):
    """The folder of `--out`, with tables beside pictures and JSON: who was where, and what happened."""

    def __init__(self, path: str, inputs: Sequence[str], overwrite: bool, ending: str) -> None:
        super().__init__(path, inputs, overwrite, ending)
        self._stills: list[Table] = []

    def still(self, source: str, seen: Look) -> None:
        """As `Folder`; the rows of all still pictures are in pictures-tracks.csv and pictures-events.csv."""
        super().still(source, seen)
        self._write("pictures", self._stills, seen)

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """As `Folder`, and NAME-tracks.csv and NAME-events.csv."""
        tables: list[Table] = []
        with super().moving(video, step) as take:

            def take_rows(number: int, seen: Look) -> None:
                take(number, seen)
                self._write(video.name, tables, seen)

            yield take_rows

    def _write(self, source: str, tables: list[Table], seen: Look) -> None:
        """Add to the tables of a sequence, which are made with their first rows."""
        texts = [with_columns(seen.found, frame=seen.facts["frame"], time=f"{seen.facts['time']:.3f}")]
        endings = ["-tracks"]
        if "events" in seen.facts:
            texts.append(events_to_csv(Event(**event) for event in seen.facts["events"]))
            endings.append("-events")
        if not tables:
            tables += [Table(self.path / f"{self.name(source, end, ['.csv'])}.csv") for end in endings]
        for table, text in zip(tables, texts, strict=True):
            table.add(text)
