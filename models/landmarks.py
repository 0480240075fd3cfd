"""The landmarks of one face: a small network with two fully connected layers (FLM-04)."""

from itertools import pairwise

import numpy as np

from visionkit import functional as F
from visionkit.nn import Linear, MaxPool2d, Module
from visionkit.tensor import Tensor

from .blocks import ConvNorm


class LandmarkNet(Module):
    """Four convolutions of 3x3, each with a pool: 40x40x3 to 2x2x64; then FC_5 and FC_6.

    The source prints no widths: these are 16, 48, 64, 64 and `hidden` features. Points come out in parts of
    the crop, 0 to 1 from left to right and from top to bottom (FLM-03), and start in its middle.

    Args:
        points: how many landmarks.
        hidden: features of FC_5.
    """

    size = (40, 40)

    def __init__(self, points: int, hidden: int = 256, *, rng: np.random.Generator) -> None:
        widths = (3, 16, 48, 64, 64)
        self.convs = [ConvNorm(a, b, 3, rng=rng) for a, b in pairwise(widths)]
        self.pool = MaxPool2d(2)
        self.fc5 = Linear(2 * 2 * 64, hidden, rng=rng)
        self.fc6 = Linear(hidden, 2 * points, rng=rng)
        self.fc6.weight.data *= np.float32(0.1)
        assert self.fc6.bias is not None
        self.fc6.bias.data[...] = 0.5

    def features(self, x: Tensor) -> Tensor:
        """Crops (B, 40, 40, 3) to what FC_5 says of them, (B, hidden)."""
        for conv in self.convs:
            x = self.pool(conv(x))
        return F.leaky_relu(self.fc5(x.reshape(x.shape[0], -1)), 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Crops (B, 40, 40, 3) to points (B, 2 * points): x, y of each in turn, in parts of the crop."""
        return self.fc6(self.features(x))
