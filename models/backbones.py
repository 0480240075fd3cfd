"""Backbones: pictures in, maps at falling resolution out.

A backbone tells its `out_channels` and `strides`, from which necks are built.
"""

import numpy as np

from visionkit import functional as F
from visionkit.nn import Module, Sequential
from visionkit.tensor import Tensor

from .blocks import ConvNorm, DilatedBottleneck, InvertedResidual, Residual, SpatialPyramid


class TinyDarknet(Module):
    """Five stride-2 stages of Darknet residual blocks; the last ends in a spatial pyramid.

    Args:
        width: channels of the stem; each stage doubles them.
        depths: residual blocks of the four stages behind the stem.
        levels: how many maps come out: 3, or 4 with one at stride 4.
    """

    def __init__(
        self, width: int = 16, depths: tuple[int, int, int, int] = (1, 2, 2, 1), *, levels: int = 3,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        c = [width * 2**i for i in range(5)]
        self.out_channels, self.strides = tuple(c[-levels:]), (4, 8, 16, 32)[-levels:]
        self.stem = ConvNorm(3, c[0], 3, 2, rng=rng)
        self.stage1 = _stage(c[0], c[1], depths[0], rng)
        self.stage2 = _stage(c[1], c[2], depths[1], rng)
        self.stage3 = _stage(c[2], c[3], depths[2], rng)
        self.stage4 = _stage(c[3], c[4], depths[3], rng)
        self.pyramid = SpatialPyramid(c[4], c[4], rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to maps at `strides`, finest first; H and W are multiples of 32."""
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return (c2, c3, c4, self.pyramid(self.stage4(c4)))[-len(self.strides) :]


class DilatedDarknet(Module):
    """As `TinyDarknet`, but the last two stages stay at stride 16 and dilate instead (DetNet, DET-33).

    Of the readings of ERR-30 this takes: stages 5 and 6 are the dilated ones, stage 4 is as usual.
    """

    strides = (8, 16, 16)

    def __init__(self, width: int = 16, *, rng: np.random.Generator) -> None:
        c = [width * 2**i for i in range(4)]
        top = c[3]
        self.out_channels = (c[2], top, top)
        self.stem = ConvNorm(3, c[0], 3, 2, rng=rng)
        self.stage1 = _stage(c[0], c[1], 1, rng)
        self.stage2 = _stage(c[1], c[2], 2, rng)
        self.stage3 = _stage(c[2], c[3], 2, rng)
        self.stage4, self.stage5 = (
            Sequential(
                DilatedBottleneck(top, top, projection=True, rng=rng), DilatedBottleneck(top, top, rng=rng)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) to maps at strides 8, 16 and 16."""
        c3 = self.stage2(self.stage1(self.stem(x)))
        c4 = self.stage4(self.stage3(c3))
        return c3, c4, self.stage5(c4)


class DilatedMobileNet(Module):
    """MobileNetV2's inverted residuals; the last stage dilates instead of going to stride 32.

    Its widest maps are those of stride 16, where they cost little.
    """

    strides = (4, 8, 16)
    #: Factor, channels, blocks, stride of the first of them, dilation (Sandler et al. 2018, table 2).
    _STAGES = (
        (1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1), (6, 96, 3, 1, 1),
        (6, 160, 2, 1, 2),
    )  # fmt: skip

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.out_channels = (24, 32, 160)
        self.stem = ConvNorm(3, 32, 3, 2, slope=None, rng=rng)
        self.stages: list[Module] = []
        inputs = 32
        for factor, outputs, count, stride, dilation in self._STAGES:
            blocks = []
            for i in range(count):
                first = stride if i == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, first, factor, dilation=dilation, rng=rng))
                inputs = outputs
            self.stages.append(Sequential(*blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to maps at strides 4, 8 and 16; H and W are multiples of 16."""
        x, levels = F.relu6(self.stem(x)), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1], levels[2], levels[-1]


def _stage(inputs: int, outputs: int, depth: int, rng: np.random.Generator) -> Sequential:
    blocks = [Residual(outputs, rng=rng) for _ in range(depth)]
    return Sequential(ConvNorm(inputs, outputs, 3, 2, rng=rng), *blocks)
