"""Folders of results: drawn pictures and videos with JSON beside them, and OpenPose's JSON."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from glob import escape
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from visionkit.vision.poses import Poses
from visionkit.weights.files import atomic_write, file_error, make_folder

from .results import Look, Take
from .sources import Inputs
from .terminal import say

if TYPE_CHECKING:
    from visionkit.io.video import Video


class Files:
    """A folder made when the first file is written, and names in it that belong to sources.

    Args:
        path: where the user wants it.
        inputs: files that must never be overwritten.
        overwrite: replace files of former runs; without, they stay, and new ones are numbered.
    """

    def __init__(self, path: str, inputs: Sequence[str], overwrite: bool) -> None:
        self.path = Path(path).absolute()
        self._inputs = Inputs(inputs)
        self._overwrite = overwrite
        self._taken: set[str] = set()
        self._told = False

    @property
    def written(self) -> Path | None:
        """The folder, once something was put into it."""
        return self.path if self._taken else None

    def name(self, source: str, ending: str, suffixes: Sequence[str]) -> str:
        """The beginning of what belongs to `source`: STEM and the ending, numbered where that is taken.

        Args:
            source: a file, camera or stream.
            ending: of the name.
            suffixes: what will be written, without that beginning; patterns with * where many are.

        Raises:
            FileError: the folder cannot be made.
            UsageError: a file of this name with one of the suffixes is an input.
        """
        stem = re.sub(r"[^\w.-]+", "_", Path(source).stem) or "stream"
        names = (stem + ending + (f"-{number}" if number > 1 else "") for number in count(1))
        name = next(name for name in names if self._is_free(name, suffixes))
        self._taken.add(name.casefold())
        make_folder(self.path)
        return name

    def _is_free(self, name: str, suffixes: Sequence[str]) -> bool:
        """Whether neither this run nor, unless it may be replaced, a former one has files of this name."""
        if name.casefold() in self._taken:
            return False
        for suffix in suffixes:
            for target in self.path.glob(escape(name) + suffix):
                self._inputs.spare(target)
                if not self._overwrite:
                    if not self._told:
                        say(f"{target} exists and stays; new files are numbered (--overwrite replaces)")
                    self._told = True
                    return False
        return True


class Folder(Files):
    """The folder of `--out`: pictures with what was found, and JSON beside them.

    Args:
        path, inputs, overwrite: see above.
        ending: of the names, such as ``-detected``.
    """

    def __init__(self, path: str, inputs: Sequence[str], overwrite: bool, ending: str) -> None:
        super().__init__(path, inputs, overwrite)
        self._ending = ending

    def still(self, source: str, seen: Look) -> None:
        """Write every layer as .jpg, and what was found as .json."""
        name = self.name(source, self._ending, [*(f"{layer}.jpg" for layer in seen.layers), ".json"])
        for layer, draw in seen.layers.items():
            draw().save(self.path / f"{name}{layer}.jpg")
        atomic_write(self.path / f"{name}.json", json.dumps(seen.record(source)) + "\n")

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Write every layer as .mp4, and a line a frame as .jsonl.

        A stream may come back with frames of another size, which one .mp4 cannot hold: then both begin anew.
        """
        from visionkit.io.writer import VideoWriter

        with ExitStack() as stack:
            log: TextIO
            writers: dict[str, VideoWriter] = {}
            begun: list[tuple[int, ...]] = []

            def begin(seen: Look) -> None:
                """Not before the first frame: a video without one leaves nothing behind."""
                nonlocal log
                stack.close()
                suffixes = [*(f"{layer}.mp4" for layer in seen.layers), ".jsonl"]
                name = self.name(video.name, self._ending, suffixes)
                log = stack.enter_context(_opened(self.path / f"{name}.jsonl"))
                for layer in seen.layers:
                    writer = VideoWriter(self.path / f"{name}{layer}.mp4", video.fps / step)
                    writers[layer] = stack.enter_context(writer)

            def take(number: int, seen: Look) -> None:
                nonlocal begun
                drawn = {layer: draw() for layer, draw in seen.layers.items()}
                shapes = [picture.shape for picture in drawn.values()]
                if shapes != begun:
                    begin(seen)
                    begun = shapes
                log.write(json.dumps(seen.record(video.name, frame=number)) + "\n")
                for layer, picture in drawn.items():
                    writers[layer].write(picture)

            yield take


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise file_error(error, path, "write") from None


class OpenPoseFolder(Files):
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
            name = name or self.name(video.name, "", ["_*_keypoints.json"])
            self._write(f"{name}_{number:012d}_keypoints.json", seen)

        yield take

    def _write(self, name: str, seen: Look) -> None:
        assert isinstance(seen.found, Poses)
        atomic_write(self.path / name, json.dumps(seen.found.to_openpose()) + "\n")
