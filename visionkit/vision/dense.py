"""What a YOLO network says at every place, as Tensors: for graphs that decode by themselves."""

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from .yolo import YoloCodec


def predictions(codec: YoloCodec, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes and scores of every anchor of every cell, with nothing left out and nothing suppressed.

    Args:
        codec: says what the maps mean.
        maps: one (B, h, w, channels) a level.

    Returns:
        (B, N, 4) boxes xyxy in input pixels, neither cut nor sorted, and (B, N, classes) scores 0..1, class
        by class; N counts the levels in order, in each the rows, the columns, the anchors.

    Raises:
        ShapeError: the maps are not the codec's.
    """
    codec.check(maps)
    boxes, scores = [], []
    for values, anchors, stride in zip(maps, codec.anchors, codec.strides, strict=True):
        batch, height, width, _ = values.shape
        rows, columns = np.indices((height, width))
        cells = np.repeat(np.stack([columns, rows], axis=-1).reshape(-1, 2), len(anchors), axis=0)
        sizes = np.tile(anchors, (height * width, 1))
        t = values.reshape(batch, len(cells), 5 + codec.class_channels)
        xy, wh = F.sigmoid(t[..., :2]), t[..., 2:4]
        if codec.form == "exp":
            centre, size = (xy + cells) * stride, F.exp(wh) * sizes
        else:
            centre, size = (xy * 2 - 0.5 + cells) * stride, (F.sigmoid(wh) * 2) ** 2 * sizes
        boxes.append(F.concat([centre - size / 2, centre + size / 2]))
        score = F.sigmoid(t[..., 4:5])
        if codec.class_channels:
            classes = t[..., 5:]
            score = score * (F.softmax(classes) if codec.class_scores == "softmax" else F.sigmoid(classes))
        scores.append(score)
    return F.concat(boxes, axis=1), F.concat(scores, axis=1)
