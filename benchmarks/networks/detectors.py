"""Detectors: YOLOv3-tiny."""

from itertools import pairwise

import numpy as np

from visionkit import functional as F
from visionkit.models.blocks import ConvNorm
from visionkit.nn import Conv2d, MaxPool2d, Module, Upsample
from visionkit.tensor import Tensor


class YoloV3Tiny(Module):
    """YOLOv3-tiny (Redmon and Farhadi 2018) for 80 classes: 5.56 GFLOP at 416 x 416.

    The pool of stride 1 sees 3x3 where Darknet's sees 2x2 with a border on two sides only; that moves
    neither shapes nor operations.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        widths = (3, 16, 32, 64, 128, 256, 512)
        self.stem = [ConvNorm(a, b, 3, rng=rng) for a, b in pairwise(widths)]
        self.pool, self.blur = MaxPool2d(2, 2), MaxPool2d(3, 1, 1)
        self.wide = ConvNorm(512, 1024, 3, rng=rng)
        self.neck = ConvNorm(1024, 256, 1, rng=rng)
        self.coarse = ConvNorm(256, 512, 3, rng=rng)
        self.coarse_map = Conv2d(512, 255, 1, rng=rng)
        self.lateral = ConvNorm(256, 128, 1, rng=rng)
        self.up = Upsample(2)
        self.fine = ConvNorm(384, 256, 3, rng=rng)
        self.fine_map = Conv2d(256, 255, 1, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) to maps (B, H / 16, W / 16, 255) and (B, H / 32, W / 32, 255)."""
        for conv in self.stem[:4]:
            x = self.pool(conv(x))
        side = self.stem[4](x)
        x = self.blur(self.stem[5](self.pool(side)))
        x = self.neck(self.wide(x))
        joined = F.concat([self.up(self.lateral(x)), side], axis=-1)
        return self.fine_map(self.fine(joined)), self.coarse_map(self.coarse(x))
