"""Detectors: backbone, feature pyramid and head under one name."""

import numpy as np

from visionkit.nn import Module
from visionkit.tensor import Tensor

from .backbones import DilatedDarknet, TinyDarknet
from .heads import LightHead, SharedHead
from .necks import FeaturePyramid


class Yolo(Module):
    """A one-stage anchor detector that returns raw maps, one per level, finest first.

    Args:
        backbone: tells `out_channels` and `strides`.
        channels: of the pyramid.
        anchors: per cell and level.
        classes: how many.
        head: "light" (a 3x3 and a 1x1 per level) or "shared" (two towers of four 3x3 for all levels).
    """

    def __init__(
        self, backbone: TinyDarknet | DilatedDarknet, channels: int, anchors: int, classes: int, *,
        head: str = "light", rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.backbone = backbone
        self.strides = backbone.strides
        self.neck = FeaturePyramid(backbone.out_channels, backbone.strides, channels, rng=rng)
        heads = {"light": LightHead, "shared": SharedHead}
        self.head = heads[head](self.neck.out_channels, anchors, classes, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to raw maps (B, H / stride, W / stride, anchors * (5 + classes))."""
        return self.head(self.neck(self.backbone(x)))


def yolo_nano(classes: int, *, head: str = "light", rng: np.random.Generator) -> Yolo:
    """1.35 million parameters, 1.02 GFLOP at 320 x 320."""
    return Yolo(TinyDarknet(16, rng=rng), 64, 3, classes, head=head, rng=rng)


def yolo_small(classes: int, *, head: str = "light", rng: np.random.Generator) -> Yolo:
    """Twice the width, one more block in the last two stages: 6.61 M parameters, 3.99 GFLOP at 320 x 320."""
    return Yolo(TinyDarknet(32, (1, 2, 3, 2), rng=rng), 96, 3, classes, head=head, rng=rng)


def yolo_nano_dilated(classes: int, *, head: str = "light", rng: np.random.Generator) -> Yolo:
    """`yolo_nano` with a backbone that keeps stride 16 and dilates."""
    return Yolo(DilatedDarknet(16, rng=rng), 64, 3, classes, head=head, rng=rng)
