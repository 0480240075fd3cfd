"""Where detections go: lines on the terminal, JSON on standard output, files in a folder, a window."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionkit.errors import UsageError
from visionkit.io.draw import draw
from visionkit.io.files import atomic_write
from visionkit.vision.results import Detections
from visionkit.weights.files import file_error


def record(file: str, found: Detections, **facts: Any) -> dict[str, Any]:
    """What `--json` prints of one picture or frame: lists with one entry a detection."""
    return {
        "file": file,
        **facts,
        "image_size": list(found.image_size),
        "xyxy": [[round(value, 2) for value in box] for box in found.xyxy.tolist()],
        "confidence": [round(value, 5) for value in found.confidence.tolist()],
        "class_id": found.class_id.tolist(),
        "name": [found.name(label) for label in found.class_id.tolist()],
    }


def line(file: str, found: Detections, what: str = "") -> str:
    """One picture for people, such as ``street.jpg: 3 person (0.91), 1 dog (0.64)``."""
    best: dict[str, float] = {}
    for one in found:
        best[one.name] = max(best.get(one.name, 0.0), one.confidence)
    counts = Counter(one.name for one in found)
    text = ", ".join(f"{n} {name} ({best[name]:.2f})" for name, n in counts.most_common())
    return f"{file}{what}: {text or 'nothing found'}"


class Folder:
    """The folder of `--out`, made when the first file is written.

    Args:
        path: where the user wants it.
        inputs: files that must never be overwritten.
    """

    def __init__(self, path: str, inputs: Sequence[str]) -> None:
        self.path = Path(path).absolute()
        self._inputs = {Path(name).resolve() for name in inputs}
        self._taken: set[str] = set()

    def target(self, source: str) -> Path:
        """The path without suffix for what belongs to `source`: STEM-detected, numbered where taken.

        Raises:
            FileError: the folder cannot be made.
            UsageError: the file there is one of the inputs.
        """
        stem = re.sub(r"[^\w.-]+", "_", Path(source).stem) or "stream"
        name = f"{stem}-detected"
        number = 2
        while name.casefold() in self._taken:
            name = f"{stem}-detected-{number}"
            number += 1
        self._taken.add(name.casefold())
        target = self.path / name
        if any(target.with_name(name + suffix).resolve() in self._inputs for suffix in (".jpg", ".mp4")):
            raise UsageError(
                "the result would overwrite a source", value=str(target), remedy="choose another --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(error, self.path, "make the folder") from None
        return target

    def write(self, source: str, picture: Any, found: Detections) -> None:
        """Write the picture with its boxes, and the detections as JSON beside it."""
        target = self.target(source)
        draw(picture, found).save(target.with_name(target.name + ".jpg"))
        text = json.dumps(record(source, found))
        atomic_write(target.with_name(target.name + ".json"), text + "\n")

    @property
    def written(self) -> bool:
        """Whether anything was put into the folder."""
        return bool(self._taken)
