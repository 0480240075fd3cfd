"""What was seen in a picture, how it is told in JSON and in a line, and what a sink for it is."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from visionkit.io.draw import Drawing
from visionkit.vision.poses import Poses
from visionkit.vision.results import Detections

if TYPE_CHECKING:
    from visionkit.io.video import Video


class Look(NamedTuple):
    """What was seen in one picture.

    Attributes:
        found: what was found.
        layers: pictures of it, drawn when they are asked for, by the ending of their files' names; the first
            is the one to look at.
        facts: more about it, for JSON.
    """

    found: Detections | Poses
    layers: Mapping[str, Callable[[], Drawing]]
    facts: Mapping[str, Any] = MappingProxyType({})

    def record(self, file: str, **facts: Any) -> dict[str, Any]:
        """What `--json` prints of one picture or frame, all facts included; see `record`."""
        return record(file, self.found, **(facts | dict(self.facts)))


#: Takes one frame: its number and what was seen in it.
Take = Callable[[int, Look], None]


class Sink(Protocol):
    """Somewhere results go."""

    @property
    def written(self) -> Path | None:
        """The absolute path of the file or folder that was written; None as long as there is nothing."""

    def still(self, source: str, seen: Look) -> None:
        """Write what was seen in a picture."""

    def moving(self, video: "Video", step: int) -> AbstractContextManager[Take]:
        """Something that takes every `step`-th frame of a video until it ends."""


def record(file: str, found: Detections | Poses, **facts: Any) -> dict[str, Any]:
    """What `--json` prints of one picture or frame: lists with one entry a detection or pose."""
    entry: dict[str, Any] = {"file": file, **facts, "image_size": list(found.image_size)}
    sure = {"confidence": _rounded(found.confidence, 5)}
    if found.tracker_id is not None:
        sure["tracker_id"] = found.tracker_id.tolist()
    if isinstance(found, Poses):
        entry |= {"skeleton": found.skeleton.name, "keypoints": list(found.skeleton.keypoints)}
        points = _rounded(found.keypoint_confidence, 5)
        return entry | {"xy": _rounded(found.xy, 2), "keypoint_confidence": points} | sure
    names = [found.name(label) for label in found.class_id.tolist()]
    boxes = {"xyxy": _rounded(found.xyxy, 2)}
    return entry | boxes | sure | {"class_id": found.class_id.tolist(), "name": names}


def _rounded(values: Any, digits: int) -> list[Any]:
    """An array as lists of numbers with so many digits behind the point."""

    def one(value: Any) -> Any:
        return [one(v) for v in value] if isinstance(value, list) else round(value, digits)

    return [one(value) for value in values.tolist()]


def line(file: str, found: Detections | Poses, what: str = "") -> str:
    """One picture for people: ``street.jpg: 3 person (0.91)``, or ``... 1 pose (17 points 0.81)``."""
    if isinstance(found, Poses):
        counts = (found.keypoint_confidence > 0).sum(axis=1).tolist()
        each = [f"{n} points {c:.2f}" for n, c in zip(counts, found.confidence.tolist(), strict=True)]
        more = ", ..." if len(each) > 6 else ""
        noun = "pose" if len(each) == 1 else "poses"
        text = f"{len(each)} {noun} ({', '.join(each[:6])}{more})" if each else ""
    else:
        best: dict[str, float] = {}
        for one in found:
            best[one.name] = max(best.get(one.name, 0.0), one.confidence)
        names = Counter(one.name for one in found)
        text = ", ".join(f"{n} {name} ({best[name]:.2f})" for name, n in names.most_common())
    return f"{file}{what}: {text or 'nothing found'}"
