"""Published numbers, extreme values and shape errors of everything that has no window."""

import math

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.errors import ShapeError, UsageError
from visionkit.tensor import Tensor, apply


def test_published_softmax_and_cross_entropy() -> None:
    """Seeds' T01 to T04."""
    scores = np.array([[0.35, -0.85, 1.25]])
    np.testing.assert_allclose(F.softmax(scores).data, [[0.265901, 0.080088, 0.654011]], atol=5e-7)
    assert F.cross_entropy(Tensor(scores), [2]).item() == pytest.approx(0.424631, abs=5e-7)
    np.testing.assert_allclose(F.softmax(5 * scores).data, [[0.0109866, 2.72332e-5, 0.9889861]], atol=5e-8)
    assert F.cross_entropy(Tensor(5 * scores), [2]).item() == pytest.approx(0.0110750, abs=5e-8)
    np.testing.assert_allclose(
        F.softmax(np.array([4.0, 1, -2])).data, [0.950330, 0.047314, 0.002356], atol=5e-7
    )
    assert F.cross_entropy(Tensor(np.zeros((7, 10))), [3] * 7).item() == pytest.approx(math.log(10))


def test_chain_rule_of_two_paths() -> None:
    """Seeds' T29: f = (x + y) / (2x + y) at (1, 2)."""
    x, y = (Tensor(np.float64(v), requires_grad=True) for v in (1, 2))
    f = (x + y) / (2 * x + y)
    f.backward()
    assert (f.item(), float(x.grad), float(y.grad)) == pytest.approx((0.75, -0.125, 0.0625))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite(dtype: type) -> None:
    x = Tensor(np.array([-1e4, -200, -30, 0, 30, 200, 1e4], dtype), requires_grad=True)
    tails = F.sigmoid(x).data
    assert tails[0] == 0
    assert tails[2] == pytest.approx(math.exp(-30), rel=1e-6)
    assert tails[-1] == 1
    for function in (F.sigmoid, F.silu, F.softplus, F.tanh, F.softmax, F.log_softmax):
        out = function(x)
        x.grad = None
        out.backward(np.ones(7))
        assert np.isfinite(out.data).all(), function
        assert np.isfinite(x.grad).all(), function
        assert out.dtype == dtype
    assert F.softplus(x).data[-1] == 1e4
    loss = F.bce_with_logits(x, np.array([0, 0, 0, 1, 1, 1, 1.0]), "sum")
    assert loss.item() == pytest.approx(math.log(2) + 2 * math.exp(-30), rel=1e-6)


def test_softmax_ignores_shifts() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(F.softmax(x + 1e4).data, F.softmax(x).data, rtol=1e-11)
    np.testing.assert_allclose(F.softmax(x, 0).data.sum(0), np.ones(5), rtol=1e-14)
    np.testing.assert_allclose(F.log_softmax(x).data, np.log(F.softmax(x).data), rtol=1e-12)


def test_nan_comes_through_everything() -> None:
    """Torture N14."""
    x = np.array([np.nan, 1.0], np.float32)
    for name in (
        "relu",
        "relu6",
        "silu",
        "sigmoid",
        "tanh",
        "exp",
        "log",
        "sqrt",
        "abs",
        "atan",
        "softplus",
        "neg",
    ):
        assert np.isnan(apply(name, x).data[0]), name
    assert np.isnan(F.leaky_relu(x).data[0])
    assert np.isnan(F.prelu(x[:, None], np.ones(1)).data[0])
    assert np.isnan(F.clip(x, 0, 1).data[0])
    assert np.isnan(F.maximum(x, 0).data[0])
    assert np.isnan((Tensor(x) ** 2).sum().item())
    assert np.isnan(F.log(np.array(-1.0)).item())
    assert (Tensor(np.ones(1)) / 0).item() == np.inf


def test_normalised_batch_has_mean_0_and_variance_1() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(5, 3, (4, 6, 5, 3))
    ones, zeros = np.ones(3), np.zeros(3)
    y = F.batch_norm(x, ones, zeros, zeros, ones, training=True, eps=0.0).data
    np.testing.assert_allclose(y.mean((0, 1, 2)), zeros, atol=1e-14)
    np.testing.assert_allclose(y.var((0, 1, 2)), ones, rtol=1e-13)
    with pytest.raises(ShapeError, match="two values"):
        F.batch_norm(x[:1, :1, :1], ones, zeros, zeros, ones, training=True)


def test_float32_statistics_survive_a_large_mean() -> None:
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(8, 16, 16, 2)) + 1e4).astype(np.float32)
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    y = F.batch_norm(x, ones, zeros, zeros, ones, training=True, eps=0.0).data
    np.testing.assert_allclose(y.var((0, 1, 2)), [1, 1], rtol=1e-3)


def test_dropout_keeps_the_mean_and_repeats_by_its_generator() -> None:
    x = Tensor(np.ones((100, 100)), requires_grad=True)
    y = F.dropout(x, 0.25, rng=np.random.default_rng(3))
    assert set(np.unique(y.data)) == {0, 1 / 0.75}
    assert y.data.mean() == pytest.approx(1, abs=0.03)
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad, y.data)
    np.testing.assert_array_equal(F.dropout(x, 0.25, rng=np.random.default_rng(3)).data, y.data)
    assert F.dropout(x, 0.25, training=False, rng=np.random.default_rng(3)) is x
    with pytest.raises(UsageError, match="p must lie"):
        F.dropout(x, 1.0, rng=np.random.default_rng(3))


def test_slopes_belong_to_channels_and_hold_at_zero() -> None:
    """Slopes above 1 and below 0, too; the kink has the slope's gradient, as in PyTorch."""
    x = Tensor(np.array([[2.0, -2, 0], [-1, -3, 4]]), requires_grad=True)
    slope = Tensor(np.array([0.5, 3, -1]), requires_grad=True)
    y = F.prelu(x, slope)
    np.testing.assert_array_equal(y.data, [[2, -6, 0], [-0.5, -9, 4]])
    y.backward(np.array([[1.0, 10, 100], [1, 10, 100]]))
    np.testing.assert_array_equal(x.grad, [[1, 30, -100], [0.5, 30, 100]])
    np.testing.assert_array_equal(slope.grad, [-1, -50, 0])
    for wrong in (np.ones(2), np.ones((1, 3)), np.ones(1)):
        with pytest.raises(ShapeError, match="one a channel"):
            F.prelu(x, wrong)


def test_upsampling_repeats_and_sums_back() -> None:
    """OPS-31."""
    x = Tensor(np.arange(4.0).reshape(1, 2, 2, 1), requires_grad=True)
    y = F.upsample_nearest(x)
    np.testing.assert_array_equal(y.data[0, :, :, 0], np.kron([[0, 1], [2, 3]], np.ones((2, 2))))
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(x.grad, np.full(x.shape, 4.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Tensor(np.zeros((2, 3))) + np.zeros(2), "do not broadcast"),
        (lambda: Tensor(np.zeros((2, 3))) @ np.zeros((2, 3)), "matmul"),
        (lambda: F.linear(np.zeros((2, 3)), np.zeros((4, 2))), "linear"),
        (lambda: F.linear(np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(3)), "bias"),
        (lambda: Tensor(np.zeros((2, 3))).reshape(4, -1), "do not fit"),
        (lambda: Tensor(np.zeros((2, 3))).reshape(-1, -1), "do not fit"),
        (lambda: Tensor(np.zeros((2, 3))).transpose(0, 0), "axis|permutation"),
        (lambda: Tensor(np.zeros((2, 3))).sum(2), "axis 2"),
        (lambda: F.concat([np.zeros((2, 3)), np.zeros((3, 3))]), "differ outside axis 1"),
        (lambda: Tensor(np.zeros((2, 3)))[2], "getitem"),
        (lambda: F.batch_norm(np.zeros((1, 2, 2, 3)), *np.zeros((4, 2))), "do not fit"),
        (lambda: F.cross_entropy(Tensor(np.zeros((2, 3))), [0.0, 1.0]), "class indices"),
        (lambda: F.cross_entropy(Tensor(np.zeros((2, 3))), [0, 3]), "outside 0 to 2"),
        (lambda: F.bce_with_logits(Tensor(np.zeros(2)), 1.0, "median"), "reduction"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    with pytest.raises((ShapeError, UsageError), match=message):
        call()
