"""Summaries against numbers worked out by hand or published."""

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.graph import summary
from visionkit.models.detectors import yolo_nano
from visionkit.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    Sequential,
    Upsample,
)


@pytest.fixture
def key() -> np.random.Generator:
    return np.random.default_rng(0)


def fields(network: Module, size: int = 64, channels: int = 3) -> list[tuple[int, int] | None]:
    return [row.field for row in summary(network, (1, size, size, channels)).rows]


def test_stacked_3x3_convolutions_see_3_5_7(key):
    network = Sequential(*(Conv2d(3, 3, 3, padding=1, rng=key) for _ in range(3)))
    assert fields(network) == [(3, 3), (5, 5), (7, 7)]


def test_vgg16_sees_212_pixels(key):
    """OPS-55: 13 convolutions 3x3 and five 2x2 pools; the features see 212x212 pixels."""
    layers, channels = [], 3
    for width, depth in ((4, 2), (4, 2), (4, 3), (4, 3), (4, 3)):
        for _ in range(depth):
            layers.append(Conv2d(channels, width, 3, padding=1, rng=key))
            channels = width
        layers.append(MaxPool2d(2, 2))
    rows = summary(Sequential(*layers), (1, 224, 224, 3)).rows
    assert rows[-1].field == (212, 212)
    assert rows[-2].field == (196, 196)
    assert rows[-1].shape == (1, 7, 7, 4)


def test_strides_dilation_and_both_axes(key):
    network = Sequential(
        Conv2d(3, 2, (3, 5), stride=(2, 1), rng=key),  # 3x5, steps 2x1
        Conv2d(2, 2, 3, dilation=(1, 2), rng=key),  # + 2*2, + 2*2*1
        AvgPool2d(2, 2),  # + 1*2, + 1*1
        Upsample(2),
        Conv2d(2, 2, 3, rng=key),  # + 2*2, + 2*1 (steps 4x2 halved)
    )
    assert fields(network) == [(3, 5), (7, 9), (9, 10), (9, 10), (13, 12)]


def test_the_widest_way_counts_and_a_global_pool_sees_all(key):
    class Two(Module):
        def __init__(self) -> None:
            self.small, self.large = Conv2d(3, 2, 1, rng=key), Conv2d(3, 2, 5, padding=2, rng=key)
            self.pool, self.fc = GlobalAvgPool2d(), Linear(2, 3, rng=key)

        def forward(self, x):
            y = self.small(x) + self.large(x)
            return self.fc(self.pool(y).reshape(1, 2)), F.relu(y)

    rows = summary(Two(), (1, 9, 9, 3)).rows
    seen = {row.op: row.field for row in rows}
    behind = dict.fromkeys(("global_avg_pool2d", "reshape", "linear"))
    assert seen == {"conv2d": (5, 5), "add": (5, 5), "relu": (5, 5)} | behind


def test_parameters_and_operations_by_hand(key):
    network = Sequential(
        Conv2d(3, 8, 3, padding=1, groups=1, rng=key), BatchNorm2d(8), Conv2d(8, 8, 3, groups=8, rng=key)
    )
    table = summary(network, (2, 10, 12, 3))
    conv, norm, depthwise = table.rows
    assert (conv.parameters, norm.parameters, depthwise.parameters) == (3 * 8 * 9 + 8, 16, 8 * 9 + 8)
    assert conv.flops == 2 * (2 * 10 * 12) * 8 * 3 * 9
    assert depthwise.flops == 2 * (2 * 8 * 10) * 8 * 9
    assert table.parameters == 224 + 16 + 80
    assert table.flops == conv.flops + depthwise.flops
    network[0].weight.requires_grad = False
    assert summary(network, (2, 10, 12, 3)).parameters == 8 + 16 + 80


def test_shared_weights_count_once(key):
    layer = Conv2d(4, 4, 3, padding=1, rng=key)
    table = summary(Sequential(layer, layer), (1, 8, 8, 4))
    assert table.parameters == 4 * 4 * 9 + 4
    assert table.flops == 2 * 2 * 64 * 4 * 4 * 9


def test_yolo_nano(key):
    table = summary(yolo_nano(1, rng=key), (1, 320, 320, 3))
    assert table.parameters == 1_351_261
    assert round(table.flops / 1e9, 3) == 1.021
    text = str(table)
    assert "1,351,261 parameters, 1.021 GFLOP" in text
    assert "backbone" in text
