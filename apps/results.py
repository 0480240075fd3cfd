"""Where results go: lines on the terminal, JSON on standard output, files in folders, a window."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from visionkit.errors import UsageError
from visionkit.io.draw import Drawing
from visionkit.io.files import atomic_write
from visionkit.vision.poses import Poses
from visionkit.vision.results import Detections
from visionkit.weights.files import file_error

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
    """Somewhere results are written: `path`, and whether anything has been `written` there."""

    @property
    def path(self) -> Path:
        """The folder, absolute."""

    @property
    def written(self) -> bool:
        """Whether anything was put into it."""

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


class _Files:
    """A folder made when the first file is written, and names in it that belong to sources.

    Args:
        path: where the user wants it.
        inputs: files that must never be overwritten.
    """

    def __init__(self, path: str, inputs: Sequence[str]) -> None:
        self.path = Path(path).absolute()
        self._inputs = {Path(name).resolve() for name in inputs}
        self._taken: set[str] = set()

    @property
    def written(self) -> bool:
        """Whether anything was put into the folder."""
        return bool(self._taken)

    def name(self, source: str, ending: str, suffixes: Sequence[str]) -> str:
        """The beginning of what belongs to `source`: STEM and the ending, numbered where that is taken.

        Raises:
            FileError: the folder cannot be made.
            UsageError: a file of this name with one of the suffixes is an input.
        """
        stem = re.sub(r"[^\w.-]+", "_", Path(source).stem) or "stream"
        name = stem + ending
        number = 2
        while name.casefold() in self._taken:
            name = f"{stem}{ending}-{number}"
            number += 1
        self._taken.add(name.casefold())
        for target in (self.path / (name + suffix) for suffix in suffixes):
            if target.resolve() in self._inputs:
                raise UsageError(
                    "the result would overwrite a source", value=str(target), remedy="choose another folder"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(error, self.path, "make the folder") from None
        return name


class Folder(_Files):
    """The folder of `--out`: pictures with what was found, and JSON beside them.

    Args:
        path, inputs: see above.
        ending: of the names, such as ``-detected``.
    """

    def __init__(self, path: str, inputs: Sequence[str], ending: str) -> None:
        super().__init__(path, inputs)
        self._ending = ending

    def still(self, source: str, seen: Look) -> None:
        """Write every layer as .jpg, and what was found as .json."""
        name = self.name(source, self._ending, [f"{layer}.jpg" for layer in seen.layers])
        for layer, draw in seen.layers.items():
            draw().save(self.path / f"{name}{layer}.jpg")
        atomic_write(self.path / f"{name}.json", json.dumps(seen.record(source)) + "\n")

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Write every layer as .mp4, and a line a frame as .jsonl."""
        from visionkit.io.writer import VideoWriter

        with ExitStack() as stack:
            log: list[TextIO] = []
            writers: dict[str, VideoWriter] = {}

            def begin(seen: Look) -> None:
                """Not before the first frame: a video without one leaves nothing behind."""
                name = self.name(video.name, self._ending, [f"{layer}.mp4" for layer in seen.layers])
                log.append(stack.enter_context(_opened(self.path / f"{name}.jsonl")))
                for layer in seen.layers:
                    writer = VideoWriter(self.path / f"{name}{layer}.mp4", video.fps / step)
                    writers[layer] = stack.enter_context(writer)

            def take(number: int, seen: Look) -> None:
                if not log:
                    begin(seen)
                log[0].write(json.dumps(seen.record(video.name, frame=number)) + "\n")
                for layer, draw in seen.layers.items():
                    writers[layer].write(draw())

            yield take


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise file_error(error, path, "write") from None


class OpenPoseFolder(_Files):
    """The folder of `--write-json`: OpenPose's schema under OpenPose's names, a file a picture or frame."""

    def still(self, source: str, seen: Look) -> None:
        """Write STEM_keypoints.json."""
        self._write(self.name(source, "", ["_keypoints.json"]) + "_keypoints.json", seen)

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Write STEM_000000000000_keypoints.json and so on, by the number of the frame."""
        name = ""

        def take(number: int, seen: Look) -> None:
            nonlocal name
            name = name or self.name(video.name, "", [])
            self._write(f"{name}_{number:012d}_keypoints.json", seen)

        yield take

    def _write(self, name: str, seen: Look) -> None:
        assert isinstance(seen.found, Poses)
        atomic_write(self.path / name, json.dumps(seen.found.to_openpose()) + "\n")
