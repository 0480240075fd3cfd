"""Initial values: their variances, layout and seeds."""

import math

import numpy as np
import pytest

from visionkit.errors import UsageError
from visionkit.nn import init

SHAPE = (64, 32, 3, 5)
FAN_IN, FAN_OUT = 32 * 15, 64 * 15


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (lambda rng: init.kaiming_normal(SHAPE, rng=rng), 2 / FAN_IN),
        (lambda rng: init.kaiming_normal(SHAPE, "fan_out", 0.1, rng=rng), 2 / (1.01 * FAN_OUT)),
        (lambda rng: init.xavier_normal(SHAPE, rng=rng), 2 / (FAN_IN + FAN_OUT)),
        (lambda rng: init.xavier_uniform(SHAPE, rng=rng), 2 / (FAN_IN + FAN_OUT)),
        (lambda rng: init.normal(SHAPE, 0.01, rng=rng), 1e-4),
        (lambda rng: init.uniform(SHAPE, 0.3, rng=rng), 0.3**2 / 3),
    ],
)
def test_variance_and_layout(make, variance: float) -> None:
    weights = make(np.random.default_rng(0))
    assert weights.shape == SHAPE
    assert weights.dtype == np.float32
    assert weights.transpose(2, 3, 1, 0).flags.c_contiguous  # output channel innermost
    count = weights.size
    assert weights.var() == pytest.approx(variance, rel=6 * math.sqrt(2 / count))
    assert abs(weights.mean()) < 6 * math.sqrt(variance / count)
    np.testing.assert_array_equal(weights, make(np.random.default_rng(0)))
    assert (weights != make(np.random.default_rng(1))).any()


@pytest.mark.parametrize("shape", [(7,), (7, 5), (64, 32, 3, 5), (3, 1, 3, 3), (5, 700, 7, 11)])
def test_numbers_are_drawn_in_logical_order_however_many_at_a_time(shape, monkeypatch) -> None:
    """The seed of a training must give the same weights whatever the memory."""
    wanted = np.random.default_rng(3).normal(0.0, 0.5, shape).astype(np.float32)
    spread = np.random.default_rng(4).uniform(-2.0, 2.0, shape).astype(np.float32)
    for count in (1, 1000, 1 << 30):
        monkeypatch.setattr(init, "_AT_A_TIME", count)
        np.testing.assert_array_equal(init.normal(shape, 0.5, rng=np.random.default_rng(3)), wanted)
        np.testing.assert_array_equal(init.uniform(shape, 2.0, rng=np.random.default_rng(4)), spread)


def test_numbers_may_replace_others() -> None:
    weights = init.zeros(SHAPE)
    made = init.kaiming_normal(SHAPE, "fan_out", 0.1, rng=np.random.default_rng(0), out=weights)
    assert made is weights
    np.testing.assert_array_equal(
        weights, init.kaiming_normal(SHAPE, "fan_out", 0.1, rng=np.random.default_rng(0))
    )


def test_what_is_loaded_next_is_not_drawn() -> None:
    for make in (init.kaiming_normal, init.xavier_uniform):
        weights = make(SHAPE, rng=init.Unset())
        assert weights.shape == SHAPE
        assert weights.dtype == np.float32
        assert weights.transpose(2, 3, 1, 0).flags.c_contiguous
        assert not weights.any()


def test_uniform_values_keep_their_bound() -> None:
    assert np.abs(init.xavier_uniform((50, 70), rng=np.random.default_rng(2))).max() <= math.sqrt(6 / 120)


def test_constants() -> None:
    assert (init.zeros((3,)) == 0).all()
    assert (init.ones((2, 2, 1, 1)) == 1).all()
    assert (init.constant((3,), 0.1) == np.float32(0.1)).all()


def test_a_fan_needs_two_axes() -> None:
    with pytest.raises(UsageError, match="two axes"):
        init.kaiming_normal((3,), rng=np.random.default_rng(0))
