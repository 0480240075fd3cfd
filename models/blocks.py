"""The blocks that networks are built from."""

import numpy as np

from visionkit import functional as F
from visionkit.nn import BatchNorm2d, Conv2d, LeakyReLU, MaxPool2d, Module, ReLU, Sequential, init
from visionkit.tensor import Tensor


class ConvNorm(Module):
    """Convolution without bias, batch-norm, activation: Darknet's brick.

    Args:
        inputs, outputs: channels.
        kernel: size; padding keeps the picture's size at stride 1.
        stride, dilation, groups: of the convolution.
        slope: negative slope of the leaky ReLU, 0 for ReLU; None for no activation.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, dilation: int = 1, groups: int = 1,
        slope: float | None = 0.1, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        padding = dilation * (kernel // 2)
        self.conv = Conv2d(
            inputs, outputs, kernel, stride, padding, dilation, groups, bias=False, rng=rng
        )  # fmt: skip
        # He et al. 2015 by fan-out: the gradients keep their size on the way back.
        weight = self.conv.weight
        init.kaiming_normal(weight.shape, "fan_out", slope or 0.0, rng=rng, out=weight.data)
        self.bn = BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act: Module | None = None
        if slope is not None:
            self.act = LeakyReLU(slope) if slope else ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        x = self.bn(self.conv(x))
        return self.act(x) if self.act else x


def last_conv(inputs: int, outputs: int, kernel: int, *, rng: np.random.Generator) -> Conv2d:
    """A convolution that predicts: it says next to nothing at first, as nearly all of its targets do."""
    conv = Conv2d(inputs, outputs, kernel, padding=kernel // 2, rng=rng)
    conv.weight.data = init.normal(conv.weight.shape, 0.01, rng=rng)
    return conv


class Residual(Module):
    """x + conv3x3(conv1x1(x)), the 1x1 to half the channels (Redmon and Farhadi 2018)."""

    def __init__(self, channels: int, *, rng: np.random.Generator) -> None:
        self.reduce = ConvNorm(channels, channels // 2, 1, rng=rng)
        self.expand = ConvNorm(channels // 2, channels, 3, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, channels), unchanged in shape."""
        return x + self.expand(self.reduce(x))


class SpatialPyramid(Module):
    """Max-pools of growing reach beside each other: three 5x5 pools in a row see 5, 9 and 13 pixels."""

    def __init__(self, inputs: int, outputs: int, *, rng: np.random.Generator) -> None:
        hidden = inputs // 2
        self.reduce = ConvNorm(inputs, hidden, 1, rng=rng)
        self.pool = MaxPool2d(5, 1, 2)
        self.join = ConvNorm(4 * hidden, outputs, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        levels = [self.reduce(x)]
        for _ in range(3):
            levels.append(self.pool(levels[-1]))
        return self.join(F.concat(levels, axis=-1))


class DilatedBottleneck(Module):
    """1x1, dilated 3x3, 1x1 with a shortcut; a 1x1 projection marks a stage's start (DET-33, DET-34).

    Dilation 2 makes the 3x3 see 5x5 (ERR-12) while the map keeps its size.
    """

    def __init__(
        self, inputs: int, outputs: int, *, dilation: int = 2, projection: bool = False,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        hidden = outputs // 2
        self.body = Sequential(
            ConvNorm(inputs, hidden, 1, rng=rng),
            ConvNorm(hidden, hidden, 3, dilation=dilation, rng=rng),
            ConvNorm(hidden, outputs, 1, slope=None, rng=rng),
        )
        needed = projection or inputs != outputs
        self.projection = ConvNorm(inputs, outputs, 1, slope=None, rng=rng) if needed else None
        self.act = LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        shortcut = self.projection(x) if self.projection else x
        return self.act(self.body(x) + shortcut)


class InvertedResidual(Module):
    """1x1 to `factor` times as many channels, depthwise 3x3, 1x1 back (Sandler et al. 2018).

    The shortcut is there where it fits; no activation stands behind the last convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int, factor: int, *, dilation: int = 1,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        hidden = inputs * factor
        self.expand = ConvNorm(inputs, hidden, 1, slope=None, rng=rng) if factor > 1 else None
        self.depthwise = ConvNorm(
            hidden, hidden, 3, stride, dilation=dilation, groups=hidden, slope=None, rng=rng
        )
        self.project = ConvNorm(hidden, outputs, 1, slope=None, rng=rng)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        y = F.relu6(self.expand(x)) if self.expand else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.adds else y
