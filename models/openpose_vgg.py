"""OpenPose (Cao et al. 2017): VGG-19's front, then stages of two branches each (MPP-02 to MPP-05)."""

from itertools import pairwise

import numpy as np

from visionkit import functional as F
from visionkit.errors import UsageError
from visionkit.nn import Conv2d, MaxPool2d, Module
from visionkit.tensor import Tensor

from .blocks import last_conv


class VggFront(Module):
    """The first ten convolutions of VGG-19 (Simonyan and Zisserman 2015; MPP-03).

    75.4 GFLOP at 368 x 368. Only its first three pools are left, so sides are multiples of 8 (ERR-14).
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        widths = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512)
        self.convs = [Conv2d(a, b, 3, 1, 1, rng=rng) for a, b in pairwise(widths)]
        self.pool = MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, 3) to maps (B, H / 8, W / 8, 512)."""
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if i in (1, 3, 7):
                x = self.pool(x)
        return x


class Branch(Module):
    """One branch of a stage: convolutions of 128 channels, one 1x1, and the 1x1 that predicts.

    Args:
        inputs, outputs: channels.
        kernel, depth: of the convolutions, and how many; three 3x3 in the first stage (MPP-04), five 7x7 in
            the later ones (MPP-05).
        hidden: channels between the two 1x1.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 7, depth: int = 5, hidden: int = 128, *,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        widths = [inputs, *[128] * depth]
        self.convs = [Conv2d(a, b, kernel, 1, kernel // 2, rng=rng) for a, b in pairwise(widths)]
        self.hidden = Conv2d(128, hidden, 1, rng=rng)
        self.predict = last_conv(hidden, outputs, 1, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, inputs) to (B, h, w, outputs)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.predict(F.relu(self.hidden(x)))


class OpenPose(Module):
    """Heat maps and fields of many people at stride 8, stage by stage.

    Every stage after the first sees the fields and the heat maps of the one before and the features beside
    each other, in this order: that of the published weights. Two 3x3 bring VGG's 512 channels to 128 first.
    6 stages for COCO have 52.31 M parameters and take 271.87 GFLOP at 368 x 368.

    Args:
        points: channels of the heat maps, the background's with them: 19 for COCO's 18 points, 26 for
            BODY_25, 16 for MPI.
        fields: channels of the fields, two a limb: 38, 52, 28.
        stages: 2 to 6; the third and later ones bring little.

    Raises:
        UsageError: another number of stages.
    """

    stride = 8

    def __init__(self, points: int, fields: int, *, stages: int = 6, rng: np.random.Generator) -> None:
        if not 2 <= stages <= 6:
            raise UsageError("OpenPose has 2 to 6 stages", value=stages)
        self.front = VggFront(rng=rng)
        self.reduce = [Conv2d(a, b, 3, 1, 1, rng=rng) for a, b in ((512, 256), (256, 128))]
        seen = 128 + points + fields
        self.heat, self.fields = (
            [
                Branch(128, outputs, 3, 3, 512, rng=rng),
                *(Branch(seen, outputs, rng=rng) for _ in range(stages - 1)),
            ]
            for outputs in (points, fields)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to heat maps and fields (B, H / 8, W / 8, C) of each stage in turn."""
        features = self.front(x)
        for conv in self.reduce:
            features = F.relu(conv(features))
        seen, maps = features, []
        for heat, fields in zip(self.heat, self.fields, strict=True):
            maps += [heat(seen), fields(seen)]
            seen = F.concat([maps[-1], maps[-2], features])
        return tuple(maps)
