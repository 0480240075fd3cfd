"""Parts of networks that find key points: they see maps of many channels, not pictures."""

import numpy as np

from visionkit import functional as F
from visionkit.nn import BatchNorm2d, Conv2d, MaxPool2d, Module, Upsample
from visionkit.tensor import Tensor


class Bottleneck(Module):
    """1x1, 3x3, 1x1 with a shortcut; norm and ReLU stand before each (He et al. 2016b).

    The first two have no bias: the norm behind would take it away.
    """

    def __init__(self, channels: int, *, rng: np.random.Generator) -> None:
        hidden = channels // 2
        self.bn1, self.conv1 = BatchNorm2d(channels), Conv2d(channels, hidden, 1, bias=False, rng=rng)
        self.bn2, self.conv2 = BatchNorm2d(hidden), Conv2d(hidden, hidden, 3, 1, 1, bias=False, rng=rng)
        self.bn3, self.conv3 = BatchNorm2d(hidden), Conv2d(hidden, channels, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, channels), unchanged in shape."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return x + self.conv3(F.relu(self.bn3(y)))


class Hourglass(Module):
    """One hourglass (Newell et al. 2016, figure 3): 3.48 GFLOP at depth 4 on 64 x 64 maps of 256 channels."""

    def __init__(self, depth: int, channels: int, *, rng: np.random.Generator) -> None:
        self.upper = Bottleneck(channels, rng=rng)
        self.pool, self.up = MaxPool2d(2), Upsample(2)
        self.before = Bottleneck(channels, rng=rng)
        self.inner: Module = (
            Hourglass(depth - 1, channels, rng=rng) if depth > 1 else Bottleneck(channels, rng=rng)
        )
        self.after = Bottleneck(channels, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, channels), unchanged in shape; H and W are multiples of 2^depth."""
        lower = self.after(self.inner(self.before(self.pool(x))))
        return self.upper(x) + self.up(lower)


class OpenPoseStage(Module):
    """One branch of a later stage (Cao et al. 2017): five 7x7 and two 1x1 convolutions.

    18.6 GFLOP on 46 x 46 maps of 185 channels: 128 of the picture, 38 and 19 of the stage before.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.convs = [Conv2d(185 if i == 0 else 128, 128, 7, 1, 3, rng=rng) for i in range(5)]
        self.hidden, self.fields = Conv2d(128, 128, 1, rng=rng), Conv2d(128, 38, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 185) to fields (B, H, W, 38)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.fields(F.relu(self.hidden(x)))
