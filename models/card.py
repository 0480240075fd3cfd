"""Model cards: what belongs to a network, under one name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visionkit.engine.info import LOSS_WEIGHTS, Anchors, DetectorInfo
from visionkit.engine.transfer import head_names
from visionkit.nn import Module

#: k-means of COCO's people at 320 x 320.
PEOPLE: Anchors = (
    ((4, 8), (8, 15), (12, 27)),
    ((21, 33), (25, 66), (42, 51)),
    ((51, 101), (91, 158), (164, 210)),
)


class Build(Protocol):
    """Makes a network for a number of classes."""

    def __call__(self, classes: int, *, rng: np.random.Generator) -> Module:
        """The network, freshly initialised."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A detector architecture and what it is trained with unless told otherwise.

    Attributes:
        name: of the architecture.
        build: makes the network.
        summary: a line about it.
        anchors, strides, input_size, mean, scale, assignment: see `DetectorInfo`.
    """

    name: str
    build: Build
    summary: str
    anchors: Anchors = PEOPLE
    strides: tuple[int, ...] = (8, 16, 32)
    input_size: tuple[int, int] = (320, 320)
    mean: float = 114.0
    scale: float = 1 / 64
    assignment: str = "v5"

    def info(self, names: Sequence[str], category_ids: Sequence[int] | None = None) -> DetectorInfo:
        """The description of such a detector for these classes."""
        return DetectorInfo(
            architecture=self.name,
            names=tuple(names),
            category_ids=tuple(category_ids or range(1, len(names) + 1)),
            anchors=self.anchors,
            strides=self.strides,
            input_size=self.input_size,
            mean=self.mean,
            scale=self.scale,
            assignment=self.assignment,
            loss=dict(LOSS_WEIGHTS[self.assignment]),
        )

    def network(self, classes: int, seed: int = 0) -> Module:
        """The network with its initial weights."""
        return self.build(classes, rng=np.random.default_rng(seed))

    def heads(self, classes: int) -> tuple[str, ...]:
        """The tensors whose shape depends on the number of classes."""
        return head_names(self.network(classes).state_dict(), self.network(max(classes, 2) + 1).state_dict())
