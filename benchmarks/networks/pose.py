"""Parts of networks that find key points: they see maps of many channels, not pictures."""

import numpy as np

from visionkit import functional as F
from visionkit.nn import Conv2d, Module
from visionkit.tensor import Tensor


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
