"""Stacked hourglasses (Newell et al. 2016): down to see the whole body, up again for its joints."""

from collections.abc import Callable

import numpy as np

from visionkit import functional as F
from visionkit.nn import BatchNorm2d, Conv2d, MaxPool2d, Module, Upsample
from visionkit.tensor import Tensor


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
        self, depth: int, channels: int, block: Callable[..., Module] = Bottleneck, *,
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
