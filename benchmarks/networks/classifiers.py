"""Networks that name a whole picture."""

import numpy as np

from visionkit import functional as F
from visionkit.models.blocks import ConvNorm, InvertedResidual
from visionkit.nn import GlobalAvgPool2d, Linear, MaxPool2d, Module
from visionkit.tensor import Tensor


class BasicBlock(Module):
    """Two 3x3 convolutions and a shortcut, which a 1x1 convolution fits where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, rng: np.random.Generator) -> None:
        self.first = ConvNorm(inputs, outputs, 3, stride, slope=0.0, rng=rng)
        self.second = ConvNorm(outputs, outputs, 3, slope=None, rng=rng)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else ConvNorm(inputs, outputs, 1, stride, slope=None, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        kept = self.shortcut(x) if self.shortcut else x
        return F.relu(self.second(self.first(x)) + kept)


class ResNet18(Module):
    """ResNet-18 (He et al. 2016, table 1): 3.63 GFLOP at 224 x 224."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.stem, self.pool = ConvNorm(3, 64, 7, 2, slope=0.0, rng=rng), MaxPool2d(3, 2, 1)
        stages = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        self.blocks = [
            block
            for a, b, stride in stages
            for block in (BasicBlock(a, b, stride, rng=rng), BasicBlock(b, b, 1, rng=rng))
        ]
        self.mean, self.scores = GlobalAvgPool2d(), Linear(512, 1000, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 3) to scores (B, 1000)."""
        x = self.pool(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.scores(self.mean(x).reshape(x.shape[0], -1))


class MobileNetV2(Module):
    """MobileNetV2 (Sandler et al. 2018, table 2): 0.60 GFLOP at 224 x 224."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.stem = ConvNorm(3, 32, 3, 2, slope=None, rng=rng)
        # Expansion, channels, blocks, stride of the first of them.
        stages = (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
            (6, 320, 1, 1),
        )  # fmt: skip
        self.blocks: list[Module] = []
        inputs = 32
        for factor, outputs, count, stride in stages:
            for i in range(count):
                first = stride if i == 0 else 1
                self.blocks.append(InvertedResidual(inputs, outputs, first, factor, rng=rng))
                inputs = outputs
        self.top = ConvNorm(320, 1280, 1, slope=None, rng=rng)
        self.mean, self.scores = GlobalAvgPool2d(), Linear(1280, 1000, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 3) to scores (B, 1000)."""
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.top(x))
        return self.scores(self.mean(x).reshape(x.shape[0], -1))
