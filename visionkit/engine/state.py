"""Where a run stands, what it is, and where its batches come from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, Self

from .run import Row


class Batches(Protocol):
    """Where batches come from; `visionkit.data.loader.Loader` is one.

    A batch has `images`, (B, H, W, C) uint8 or float32, and whatever the criterion reads. `files`, if there,
    names its pictures in messages. What `batches(epoch, start)` yields may depend on nothing else.
    """

    def __len__(self) -> int:
        """Batches in an epoch."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from index `start` on."""


@dataclass(slots=True)
class Position:
    """Where a run stands; with the arrays of a checkpoint, all that resuming needs.

    Attributes:
        step: optimiser steps taken.
        epoch: the epoch, from 0, that is being trained, or trained but not evaluated.
        index: batches of this epoch that are done.
        sums: of each loss over this epoch's steps.
        ratios: least, median and greatest update ratio at the epoch's last step.
        rows: metrics of the epochs before.
        best, best_epoch: highest metric so far and its epoch, from 1.
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    ratios: list[float] | None = None
    rows: list[Row] = field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """From the state of a checkpoint."""
        return cls(**{f.name: state[f.name] for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended: its folder, the rows of metrics.csv, the best value of the metric and its epoch."""

    folder: Path
    rows: list[Row]
    best: float | None
    best_epoch: int | None


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """What differs between two trees of JSON values, one sentence each; lists and tuples are alike."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            text
            for key in sorted(old.keys() | new.keys())
            for text in differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        old, new = list(old), list(new)
    return [] if old == new else [f"{place} was {old}, now {new}"]
