"""What every weight file says of its network, as texts in its metadata, there and back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import VisionKitError, WeightsError
from ..weights.files import StrPath

FORMAT = "visionkit-1"


class Description(Protocol):
    """What `DetectorInfo` and `PoseInfo` have in common: enough for the frame of a training."""

    @property
    def architecture(self) -> str:
        """The name of the network, see `visionkit.models.zoo`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The original id of each class in the data."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""

    @property
    def mean(self) -> float:
        """The network sees (pixel - mean) * scale."""

    @property
    def scale(self) -> float:
        """See `mean`."""

    @property
    def licence(self) -> str:
        """Of the weights."""

    @property
    def training(self) -> Mapping[str, Any]:
        """A summary of the training."""

    def criterion(self) -> Any:
        """The loss it is trained with."""

    def to_metadata(self, training: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Texts by name for a safetensors file."""


def texts(
    task: str, info: Description, training: Mapping[str, Any] | None, resize: str, **own: Any
) -> dict[str, str]:
    """The metadata of a description: what all have in common, and what it alone has.

    Args:
        task: "detect" or "pose".
        info: the description.
        training: replaces its summary of the training.
        resize: how a picture becomes an input: "letterbox" or "crop".
        own: its own entries, which become JSON.
    """
    values = {
        "classes": [
            {"id": number, "name": name} for number, name in zip(info.category_ids, info.names, strict=True)
        ],
        "input_size": info.input_size,
        "preprocessing": {
            "mean": info.mean,
            "scale": info.scale,
            "channels": "RGB",
            "resize": resize,
            "position": "centre",
            "padding": 114,
        },
        "training": dict(info.training if training is None else training),
        **own,
    }
    plain = {"format": FORMAT, "task": task, "architecture": info.architecture, "licence": info.licence}
    return plain | {name: json.dumps(value) for name, value in values.items()}


class Entries:
    """The entries of a file's metadata.

    Attributes:
        key: the one that was asked for last, which an error is about.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata, self.key = metadata, ""

    def text(self, key: str) -> str:
        """An entry as it stands."""
        self.key = key
        return self._metadata[key]

    def json(self, key: str) -> Any:
        """An entry that is JSON."""
        return json.loads(self.text(key))

    def common(self) -> dict[str, Any]:
        """What all descriptions have, by the names of their fields."""
        height, width = map(int, self.json("input_size"))
        preprocessing = self.json("preprocessing")
        mean, scale = float(preprocessing["mean"]), float(preprocessing["scale"])
        classes = self.json("classes")
        return {
            "names": tuple(str(entry["name"]) for entry in classes),
            "category_ids": tuple(int(entry["id"]) for entry in classes),
            "input_size": (height, width),
            "mean": mean,
            "scale": scale,
            "architecture": self.text("architecture"),
            "licence": self.text("licence"),
            "training": self.json("training"),
        }


@contextmanager
def reading(metadata: Mapping[str, str], task: str, file: StrPath | None) -> Iterator[Entries]:
    """The entries of the metadata of `task`; what goes wrong with one in the block becomes an error about it.

    Raises:
        WeightsError: another format or task, or an entry is missing or malformed; the message names it.
    """
    if metadata.get("format") != FORMAT or metadata.get("task") != task:
        raise WeightsError(
            f"metadata without format {FORMAT} and task {task}: no telling what network this is",
            file=file,
            value={key: metadata.get(key) for key in ("format", "task")},
            remedy="take a shipped name or a file that `visionkit train` wrote",
        )
    entries = Entries(metadata)
    try:
        yield entries
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, VisionKitError) as error:
        reason = f"bad metadata: {type(error).__name__}: {error}"
        raise WeightsError(reason, file=file, place=f"metadata {entries.key!r}") from None
