"""Numbers that are not finite go through plans as through the tape: none vanishes (torture N14)."""

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.graph import compile  # noqa: A004
from visionkit.tensor import Tensor

_RNG = np.random.default_rng(4)
DENSE = Tensor(_RNG.normal(size=(5, 4, 3, 3)).astype(np.float32))
DEPTHWISE = Tensor(_RNG.normal(size=(4, 1, 3, 3)).astype(np.float32))
ONES = [Tensor(np.ones(4, np.float32)) for _ in range(4)]
SLOPES = Tensor(np.array([0.5, -0.25, 2, 1], np.float32))
LAYERS = {
    "conv": lambda x: F.conv2d(x, DENSE, padding=1),
    "conv and relu": lambda x: F.relu(F.conv2d(x, DENSE, padding=1)),
    "conv and silu": lambda x: F.silu(F.conv2d(x, DENSE, padding=1)),
    "depthwise": lambda x: F.conv2d(x, DEPTHWISE, padding=1, groups=4),
    "batch norm": lambda x: F.batch_norm(x, *ONES),
    "batch norm and silu": lambda x: F.silu(F.batch_norm(x, *ONES)),
    "relu": F.relu,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "slopes a channel": lambda x: F.prelu(x, SLOPES),
    "silu": F.silu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "softmax": F.softmax,
    "max pool": lambda x: F.max_pool2d(x, 3, 1, 1),
    "average pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "global pool": F.global_avg_pool2d,
    "upsample": F.upsample_nearest,
    "concat": lambda x: F.concat([x, F.silu(x)]),
    "sum": lambda x: x + F.sigmoid(x),
    "slice": lambda x: x[..., 2:4],
}


def outcome(layer, value):
    x = np.random.default_rng(5).normal(size=(1, 4, 5, 4)).astype(np.float32)
    x[0, 1, 2, 3] = value
    with np.errstate(all="ignore"):
        return compile(layer, x.shape).forward(x)[0], layer(Tensor(x)).data


@pytest.mark.parametrize("name", LAYERS)
def test_nan_is_where_the_tape_has_it(name):
    found, wanted = outcome(LAYERS[name], np.nan)
    assert np.isnan(wanted).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))


@pytest.mark.parametrize("name", LAYERS)
def test_infinity_does_not_become_an_ordinary_number(name):
    found, wanted = outcome(LAYERS[name], np.inf)
    np.testing.assert_array_equal(np.isfinite(found) & ~np.isfinite(wanted), np.zeros(found.shape, bool))


def test_denormal_numbers_are_kept():
    x = np.full((1, 2, 2, 16), 1e-42, np.float32)
    for layer in (F.relu, F.upsample_nearest, lambda x: F.max_pool2d(x, 2), lambda x: x + F.relu(x)):
        found, wanted = compile(layer, x.shape).forward(x)[0], layer(Tensor(x)).data
        np.testing.assert_array_equal(found, wanted)
        assert (found > 0).all()
