"""Model cards: what belongs to a network, under one name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from visionkit.engine.info import DetectorInfo
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_transfer import Ports, ports
from visionkit.engine.transfer import head_names
from visionkit.nn import Module
from visionkit.nn.init import Unset
from visionkit.vision.skeleton import Skeleton


class Build(Protocol):
    """Makes a network for a number of classes."""

    def __call__(self, classes: int, *, rng: np.random.Generator) -> Module:
        """The network, freshly initialised."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A detector architecture and what it is trained with unless told otherwise.

    Attributes:
        build: makes the network.
        summary: a line about it.
        usual: its description for people; those for other classes differ in these alone.
    """

    build: Build
    summary: str
    usual: DetectorInfo

    @property
    def name(self) -> str:
        """Of the architecture."""
        return self.usual.architecture

    def info(self, names: Sequence[str], category_ids: Sequence[int] | None = None) -> DetectorInfo:
        """The description of such a detector for these classes."""
        ids = tuple(category_ids or range(1, len(names) + 1))
        return replace(self.usual, names=tuple(names), category_ids=ids)

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
        build: makes the network.
        summary: a line about it.
        usual: its description for COCO's people; those for other points differ in these alone.
        lr: the highest learning rate that trained well.
    """

    build: BuildPose | BuildPerson
    summary: str
    usual: PoseInfo
    lr: float = 2e-3

    @property
    def name(self) -> str:
        """Of the architecture."""
        return self.usual.architecture

    def info(self, skeleton: Skeleton, names: Sequence[str], category_ids: Sequence[int]) -> PoseInfo:
        """The description of such a network for these points, of these categories."""
        return self.usual.with_skeleton(skeleton, tuple(names), tuple(category_ids))

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
