"""Stacked hourglasses (Newell et al. 2016): down to see the whole body, up again for its joints."""

from collections.abc import Callable

import numpy as np

from visionkit import functional as F
from visionkit.errors import ShapeError, UsageError
from visionkit.nn import BatchNorm2d, Conv2d, MaxPool2d, Module, Sequential, Upsample
from visionkit.tensor import Tensor

from .blocks import ConvNorm, Residual, last_conv

Block = Callable[..., Module]


class Bottleneck(Module):
    """1x1, 3x3, 1x1 with a shortcut; norm and ReLU stand before each (He et al. 2016b; POS-03).

    The first two have no bias: the norm behind would take it away. A 1x1 fits the shortcut where the number
    of channels changes.
    """

    def __init__(self, inputs: int, outputs: int | None = None, *, rng: np.random.Generator) -> None:
        outputs = outputs or inputs
        hidden = outputs // 2
        self.bn1, self.conv1 = BatchNorm2d(inputs), Conv2d(inputs, hidden, 1, bias=False, rng=rng)
        self.bn2, self.conv2 = BatchNorm2d(hidden), Conv2d(hidden, hidden, 3, 1, 1, bias=False, rng=rng)
        self.bn3, self.conv3 = BatchNorm2d(hidden), Conv2d(hidden, outputs, 1, rng=rng)
        self.shortcut = None if inputs == outputs else Conv2d(inputs, outputs, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return (self.shortcut(x) if self.shortcut else x) + y


class Hourglass(Module):
    """One hourglass (figure 3; POS-04): 3.48 GFLOP at depth 4 on 64 x 64 maps of 256 channels.

    Args:
        depth: how often the map is halved.
        channels: of every map.
        block: makes what stands at every place, of (channels, rng=rng).
    """

    def __init__(
        self, depth: int, channels: int, block: Block = Bottleneck, *,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.upper = block(channels, rng=rng)
        self.pool, self.up = MaxPool2d(2), Upsample(2)
        self.before = block(channels, rng=rng)
        self.inner: Module = (
            Hourglass(depth - 1, channels, block, rng=rng) if depth > 1 else block(channels, rng=rng)
        )
        self.after = block(channels, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, channels), unchanged in shape; H and W are multiples of 2^depth."""
        lower = self.after(self.inner(self.before(self.pool(x))))
        return self.upper(x) + self.up(lower)


class Stack(Module):
    """An hourglass and what it says: a block, a 1x1 and the 1x1 that predicts (POS-05).

    But for the last one, two more 1x1 bring the features and the heat maps back to the trunk (POS-06).
    """

    def __init__(
        self, depth: int, channels: int, points: int, block: Block, *, last: bool, rng: np.random.Generator
    ) -> None:
        hourglass = Hourglass(depth, channels, block, rng=rng)
        norm = ConvNorm(channels, channels, 1, slope=0.0, rng=rng)
        self.body = Sequential(hourglass, block(channels, rng=rng), norm)
        self.heat = last_conv(channels, points, 1, rng=rng)
        self.trunk = None if last else Conv2d(channels, channels, 1, rng=rng)
        self.back = None if last else Conv2d(points, channels, 1, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, channels) to the next stack's input, of this shape, and heat maps (B, h, w, points)."""
        features = self.body(x)
        heat = self.heat(features)
        if self.trunk is None or self.back is None:
            return features, heat
        return x + self.trunk(features) + self.back(heat), heat


class StackedHourglass(Module):
    """Heat maps of one person in a crop, at stride 4, stack by stack (POS-01 to POS-06).

    Args:
        stem: pictures to maps of `channels` channels at stride 4.
        stacks: 1 to 8 hourglasses, each with weights of its own; the gain flattens beyond 4.
        channels: of the trunk.
        points: channels of the heat maps.
        depth: how often an hourglass halves its map.
        block: makes the blocks of the hourglasses, of (channels, rng=rng).

    Raises:
        UsageError: another number of stacks.
    """

    stride = 4

    def __init__(
        self, stem: Module, stacks: int, channels: int, points: int, *, depth: int = 4,
        block: Block = Bottleneck, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        if not 1 <= stacks <= 8:
            raise UsageError("an hourglass network has 1 to 8 stacks", value=stacks)
        self.stem, self.step = stem, self.stride * 2**depth
        self.stacks = [
            Stack(depth, channels, points, block, last=i == stacks - 1, rng=rng) for i in range(stacks)
        ]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to heat maps (B, H / 4, W / 4, points) of each stack.

        Raises:
            ShapeError: sides that cannot be halved so often.
        """
        if any(side % self.step for side in x.shape[1:3]):
            remedy = f"take a height and width that are multiples of {self.step}"
            reason = "an hourglass halves its maps and doubles them again"
            raise ShapeError(reason, value="{}x{}".format(*x.shape[1:3]), remedy=remedy)
        x, maps = self.stem(x), []
        for stack in self.stacks:
            x, heat = stack(x)
            maps.append(heat)
        return tuple(maps)


def hourglass(points: int, *, stacks: int = 8, rng: np.random.Generator) -> StackedHourglass:
    """The published network: 256 channels, its stem a 7x7 and three blocks about a pool (POS-02).

    8 stacks have 25.40 M parameters and take 54.88 GFLOP at 256 x 256 for 16 points.
    """
    stem = Sequential(
        ConvNorm(3, 64, 7, 2, slope=0.0, rng=rng), Bottleneck(64, 128, rng=rng), MaxPool2d(2),
        Bottleneck(128, rng=rng), Bottleneck(128, 256, rng=rng),
    )  # fmt: skip
    return StackedHourglass(stem, stacks, 256, points, rng=rng)


def hourglass_lite(points: int, *, stacks: int = 2, rng: np.random.Generator) -> StackedHourglass:
    """Small enough for a CPU: Darknet's blocks of 96 channels, whose norms are folded away in inference.

    1.41 M parameters, 2.37 GFLOP at 256 x 192 for COCO's 17 points.
    """
    stem = Sequential(
        ConvNorm(3, 32, 3, 2, rng=rng), ConvNorm(32, 96, 3, 2, rng=rng), Residual(96, rng=rng)
    )  # fmt: skip
    return StackedHourglass(stem, stacks, 96, points, block=Residual, rng=rng)
