"""Averaged weights against the recurrence written out."""

import math

import numpy as np
import pytest

from visionkit import nn
from visionkit.errors import WeightsError
from visionkit.optim import EMA


def network(seed: int = 0) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 50, 11, rng=np.random.default_rng(seed)), nn.BatchNorm2d(50))


def test_follows_the_recurrence_over_parameters_and_buffers() -> None:
    net, rng = network(), np.random.default_rng(1)
    ema = EMA(net, decay=0.9, ramp=5)
    expected = {k: v.astype(np.float64) for k, v in net.state_dict().items()}
    for step in range(1, 9):
        for array in net.state_dict().values():
            array += rng.normal(size=array.shape).astype(np.float32)
        ema.update()
        keep = 0.9 * (1 - math.exp(-step / 5))
        expected = {k: keep * v + (1 - keep) * net.state_dict()[k] for k, v in expected.items()}
    assert ema.step == 8
    assert "1.running_mean" in expected
    for name, array in ema.state_dict().items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)


def test_decay_0_is_the_plain_values_to_the_bit() -> None:
    net, rng = network(), np.random.default_rng(1)
    ema = EMA(net, decay=0.0)
    for scale in (1e-3, 1e5, 1e-9):  # s + (v - s) would round
        for array in net.state_dict().values():
            array[...] = scale * rng.normal(size=array.shape)
        ema.update()
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(ema.state_dict()[name], array)


def test_swapped_holds_the_averages_only_inside() -> None:
    net = network()
    ema = EMA(net)
    own = {k: v.copy() for k, v in net.state_dict().items()}
    for shadow in ema.state_dict().values():
        shadow += 1
    with ema.swapped():
        assert all((v == own[k] + 1).all() for k, v in net.state_dict().items())
    assert all((v == own[k]).all() for k, v in net.state_dict().items())
    with pytest.raises(ZeroDivisionError), ema.swapped():
        1 / 0  # noqa: B018
    assert all((v == own[k]).all() for k, v in net.state_dict().items())
    other = network(5)
    ema.apply_to(other)
    assert all((v == own[k] + 1).all() for k, v in other.state_dict().items())


def test_state_comes_back_and_a_wrong_one_is_refused() -> None:
    first, second = EMA(network()), EMA(network(3))
    first.update()
    second.load_state_dict(first.state_dict(), first.step)
    assert second.step == 1
    assert all((v == first.state_dict()[k]).all() for k, v in second.state_dict().items())
    bad = first.state_dict() | {"0.weight": np.zeros(3, np.float32)}
    with pytest.raises(WeightsError, match=r"0\.weight"):
        second.load_state_dict(bad, 1)
