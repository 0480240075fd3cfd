"""Backbones: pictures in, maps at falling resolution out.

A backbone tells its `out_channels` and `strides`, from which necks are built.
"""

import numpy as np

from visionkit.nn import Module, Sequential
from visionkit.tensor import Tensor

from .blocks import ConvNorm, DilatedBottleneck, Residual, SpatialPyramid


class TinyDarknet(Module):
    """Five stride-2 stages of Darknet residual blocks; the last ends in a spatial pyramid.

    Args:
        width: channels of the stem; each stage doubles them.
        depths: residual blocks of the four stages behind the stem.
    """

    strides = (8, 16, 32)

    def __init__(
        self, width: int = 16, depths: tuple[int, int, int, int] = (1, 2, 2, 1), *, rng: np.random.Generator
    ) -> None:
        c = [width * 2**i for i in range(5)]
        self.out_channels = (c[2], c[3], c[4])
        self.stem = ConvNorm(3, c[0], 3, 2, rng=rng)
        self.stage1 = _stage(c[0], c[1], depths[0], rng)
        self.stage2 = _stage(c[1], c[2], depths[1], rng)
        self.stage3 = _stage(c[2], c[3], depths[2], rng)
        self.stage4 = _stage(c[3], c[4], depths[3], rng)
        self.pyramid = SpatialPyramid(c[4], c[4], rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) to maps at strides 8, 16 and 32; H and W are multiples of 32."""
        c3 = self.stage2(self.stage1(self.stem(x)))
        c4 = self.stage3(c3)
        return c3, c4, self.pyramid(self.stage4(c4))


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


def _stage(inputs: int, outputs: int, depth: int, rng: np.random.Generator) -> Sequential:
    blocks = [Residual(outputs, rng=rng) for _ in range(depth)]
    return Sequential(ConvNorm(inputs, outputs, 3, 2, rng=rng), *blocks)
