"""The feature pyramid: deep maps lend their meaning to the finer ones (Lin et al. 2017; DET-19, DET-20)."""

from itertools import pairwise

import numpy as np

from visionkit.nn import Module, Upsample
from visionkit.tensor import Tensor

from .blocks import ConvNorm


class FeaturePyramid(Module):
    """Lateral 1x1 convolutions, up-sample and add from the deepest level down, a 3x3 on every level.

    Args:
        inputs: channels of each level, finest first.
        strides: of each level; neighbours of equal stride are added directly (DET-33).
        channels: of every level that comes out.
    """

    def __init__(
        self, inputs: tuple[int, ...], strides: tuple[int, ...], channels: int, *, rng: np.random.Generator
    ) -> None:
        self.lateral = [ConvNorm(c, channels, 1, rng=rng) for c in inputs]
        self.smooth = [ConvNorm(channels, channels, 3, rng=rng) for _ in inputs]
        self.up = [Upsample(b // a) for a, b in pairwise(strides)]
        self.out_channels = (channels,) * len(inputs)
        self.strides = strides

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps at every level, finest first, all with `channels` channels."""
        sides = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        top = sides[-1]
        out = [self.smooth[len(sides) - 1](top)]
        for i in reversed(range(len(sides) - 1)):
            coarse = self.up[i](top) if self.strides[i] != self.strides[i + 1] else top
            top = self.smooth[i](sides[i] + coarse)
            out.append(top)
        return tuple(reversed(out))
