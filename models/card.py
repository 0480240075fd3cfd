"""Model cards: what belongs to a network, under one name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visionkit.engine.info import LOSS_WEIGHTS, Anchors, DetectorInfo
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_transfer import Ports, ports
from visionkit.engine.transfer import head_names
from visionkit.nn import Module
from visionkit.nn.init import Unset
from visionkit.vision.skeleton import Skeleton

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

    def network(self, classes: int, seed: int | np.random.Generator = 0) -> Module:
        """The network with its initial weights, drawn from a seed or a generator."""
        return self.build(classes, rng=np.random.default_rng(seed))

    def heads(self, classes: int) -> tuple[str, ...]:
        """The tensors whose shape depends on the number of classes."""
        base, wider = (self.network(n, Unset()).state_dict() for n in (classes, max(classes, 2) + 1))
        return head_names(base, wider)


class BuildPose(Protocol):
    """Makes a network whose stages have maps of so many channels: heat maps, and fields if it has them."""

    def __call__(self, points: int, fields: int, /, *, rng: np.random.Generator) -> Module:
        """The network, freshly initialised."""


class BuildPerson(Protocol):
    """The same for networks of one person, which have no fields."""

    def __call__(self, points: int, /, *, rng: np.random.Generator) -> Module:
        """The network, freshly initialised."""


@dataclass(frozen=True, slots=True)
class PoseCard:
    """An architecture that finds poses and what it is trained with unless told otherwise.

    Attributes:
        name: of the architecture.
        build: makes the network.
        summary: a line about it.
        people, input_size, stride, sigma, limb_width, background, mean, scale, focus: see `PoseInfo`.
        lr: the highest learning rate that trained well.
    """

    name: str
    build: BuildPose | BuildPerson
    summary: str
    people: str = "many"
    input_size: tuple[int, int] = (384, 384)
    stride: int = 4
    sigma: float = 1.5
    limb_width: float = 3.0
    background: bool = False
    mean: float = 114.0
    scale: float = 1 / 64
    focus: float = 3.0
    lr: float = 2e-3

    def info(self, skeleton: Skeleton, names: Sequence[str], category_ids: Sequence[int]) -> PoseInfo:
        """The description of such a network for these points, of these categories."""
        return PoseInfo(
            architecture=self.name,
            skeleton=skeleton,
            names=tuple(names),
            category_ids=tuple(category_ids),
            input_size=self.input_size,
            stride=self.stride,
            people=self.people,
            sigma=self.sigma,
            limb_width=self.limb_width,
            background=self.background,
            mean=self.mean,
            scale=self.scale,
            focus=self.focus,
        )

    def network(self, channels: Sequence[int], seed: int | np.random.Generator = 0) -> Module:
        """The network with its initial weights, for `PoseInfo.channels`, drawn from a seed or a generator."""
        build: Callable[..., Module] = self.build
        return build(*channels, rng=np.random.default_rng(seed))

    def ports(self, channels: Sequence[int]) -> dict[str, Ports]:
        """The tensors that depend on the channels of the maps."""
        points, *fields = channels
        base, more, wider = (
            self.network(given).state_dict()
            for given in (channels, (points + 1, *fields), (points, *(n + 2 for n in fields)))
        )
        return ports(base, more, wider)
