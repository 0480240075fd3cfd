"""Prediction heads: pyramid levels in, raw maps out. Every map holds anchors x (5 + classes) channels.

The channels of one anchor are x, y, w, h, objectness and the classes; a single class needs no channel.
"""

import math

import numpy as np

from visionkit import functional as F
from visionkit.nn import Conv2d, Module
from visionkit.tensor import Tensor

from .blocks import ConvNorm, last_conv

#: Share of cells that hold an object before anything is learnt (Lin et al. 2017b, section 4.1).
PRIOR = 0.01


def channels_per_anchor(classes: int) -> int:
    """x, y, w, h, objectness, and one channel per class where there are several."""
    return 5 + (classes if classes > 1 else 0)


def _rare(conv: Conv2d, anchors: int, position: int) -> None:
    """Start with the prior's objectness, so that the many empty cells do not drown the first steps."""
    assert conv.bias is not None
    conv.bias.data.reshape(anchors, -1)[:, position] = math.log(PRIOR / (1 - PRIOR))


class LightHead(Module):
    """One 3x3 and one 1x1 convolution per level, not shared: the default (DET-21's lighter option)."""

    def __init__(
        self, inputs: tuple[int, ...], anchors: int, classes: int, *, rng: np.random.Generator
    ) -> None:
        outputs = anchors * channels_per_anchor(classes)
        self.conv = [ConvNorm(c, c, 3, rng=rng) for c in inputs]
        self.predict = [last_conv(c, outputs, 1, rng=rng) for c in inputs]
        for conv in self.predict:
            _rare(conv, anchors, 4)

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One raw map (B, h, w, anchors * (5 + classes)) per level."""
        return tuple(
            predict(conv(level)) for conv, predict, level in zip(self.conv, self.predict, levels, strict=True)
        )


class SharedHead(Module):
    """Two towers of four 3x3 convolutions with ReLU, one for boxes, one for objectness and classes.

    Their weights are shared by all levels, not with each other (DET-21).
    """

    def __init__(
        self, inputs: tuple[int, ...], anchors: int, classes: int, *, rng: np.random.Generator
    ) -> None:
        c, self.anchors, self.scores = inputs[0], anchors, channels_per_anchor(classes) - 4
        self.box = [Conv2d(c, c, 3, padding=1, rng=rng) for _ in range(4)]
        self.score = [Conv2d(c, c, 3, padding=1, rng=rng) for _ in range(4)]
        self.predict_box = last_conv(c, anchors * 4, 3, rng=rng)
        self.predict_score = last_conv(c, anchors * self.scores, 3, rng=rng)
        _rare(self.predict_score, anchors, 0)

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One raw map (B, h, w, anchors * (5 + classes)) per level."""
        return tuple(self._level(level) for level in levels)

    def _level(self, level: Tensor) -> Tensor:
        box, score = level, level
        for convs in zip(self.box, self.score, strict=True):
            box, score = F.relu(convs[0](box)), F.relu(convs[1](score))
        boxes, scores = self.predict_box(box), self.predict_score(score)
        parts = []
        for a in range(self.anchors):
            parts.append(boxes[..., 4 * a : 4 * a + 4])
            parts.append(scores[..., self.scores * a : self.scores * (a + 1)])
        return F.concat(parts, axis=-1)
