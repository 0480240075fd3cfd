"""Networks that name a whole picture."""

import numpy as np

from visionkit import functional as F
from visionkit.nn import Conv2d, Linear, MaxPool2d, Module, init
from visionkit.tensor import Tensor


class MnistNet(Module):
    """The digit reader of ARC-01: two convolutions, two pools, two fully connected layers.

    Convolution 20 @ 5x5, max 2x2, convolution 40 @ 5x5, max 2x2, 200 features with ReLU, 10 scores; no
    padding, and no activation behind the convolutions. Weights start as Glorot and Bengio's uniform ones
    (2010, eq. 16), biases at 0. 150,770 parameters.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        self.conv1 = Conv2d(1, 20, 5, rng=rng)
        self.conv2 = Conv2d(20, 40, 5, rng=rng)
        self.pool = MaxPool2d(2)
        self.hidden = Linear(4 * 4 * 40, 200, rng=rng)
        self.scores = Linear(200, 10, rng=rng)
        for layer in (self.conv1, self.conv2, self.hidden, self.scores):
            layer.weight.data = init.xavier_uniform(layer.weight.shape, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, 28, 28, 1), ink 1 and paper 0, to scores (B, 10): logits of the softmax."""
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv2(x))
        x = F.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.scores(x)
