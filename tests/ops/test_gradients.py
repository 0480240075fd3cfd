"""Every operation against finite differences; `CASES` must name every operation there is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.gradcheck import gradcheck
from visionkit.ops import OPS
from visionkit.tensor import Tensor, apply

Case = tuple[Callable[..., Any], list[Any]]


def numbers(*shape: int) -> np.ndarray:
    """Normal numbers, none nearer than 0.05 to 0, where operations have kinks."""
    x = np.random.default_rng(hash(shape) % 1000).normal(size=shape)
    return x + np.sign(x) * 0.05


def distinct(*shape: int) -> np.ndarray:
    """Numbers at least 0.1 apart, so that no maximum is near a tie."""
    count = int(np.prod(shape))
    return np.random.default_rng(1).permutation(count).reshape(shape) * 0.1 - count * 0.05 + 0.033


def positive(*shape: int) -> np.ndarray:
    return np.abs(numbers(*shape)) + 0.5


def conv(**attrs: Any) -> Callable[..., Tensor]:
    return lambda x, w, b=None: F.conv2d(x, w, b, **attrs)


def norm(training: bool) -> Callable[..., Tensor]:
    mean, var = numbers(3), positive(3)
    return lambda x, g, b: F.batch_norm(x, g, b, mean, var, training=training)


MASK = np.array([[True, False, True], [False, False, True]])

CASES: dict[str, list[Case]] = {
    "conv2d": [
        (conv(), [numbers(2, 4, 3, 2), numbers(3, 2, 1, 1)]),
        (conv(stride=2, padding=1), [numbers(2, 5, 6, 2), numbers(3, 2, 3, 3), numbers(3)]),
        (conv(stride=(1, 3), padding=(2, 0)), [numbers(1, 4, 7, 1), numbers(2, 1, 4, 2), numbers(2)]),
        (conv(dilation=(2, 3), padding=3), [numbers(1, 5, 4, 2), numbers(2, 2, 2, 3), numbers(2)]),
        (conv(groups=2, padding=1), [numbers(2, 3, 4, 4), numbers(6, 2, 3, 3), numbers(6)]),
        (conv(groups=3, stride=2, padding=1), [numbers(2, 5, 4, 3), numbers(3, 1, 3, 3)]),
    ],
    "linear": [
        (F.linear, [numbers(4, 3), numbers(2, 3), numbers(2)]),
        (F.linear, [numbers(2, 2, 3), numbers(5, 3)]),
    ],
    "max_pool2d": [
        (lambda x: F.max_pool2d(x, 2), [distinct(2, 4, 5, 2)]),
        (lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), [distinct(1, 5, 6, 2)]),
        (lambda x: F.max_pool2d(x, (2, 3), 1), [distinct(1, 4, 4, 3)]),
    ],
    "avg_pool2d": [
        (lambda x: F.avg_pool2d(x, 2), [numbers(2, 4, 5, 2)]),
        (lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), [numbers(1, 4, 6, 2)]),
        (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), [numbers(1, 4, 3, 2)]),
    ],
    "global_avg_pool2d": [(F.global_avg_pool2d, [numbers(2, 3, 4, 2)])],
    "upsample_nearest": [(lambda x: F.upsample_nearest(x, 3), [numbers(2, 2, 3, 2)])],
    "batch_norm": [
        (norm(True), [numbers(2, 3, 2, 3), numbers(3), numbers(3)]),
        (norm(True), [numbers(2, 2, 2, 3) * 1e-3, numbers(3), numbers(3)]),  # ERR-08: small variance
        (norm(False), [numbers(2, 3, 2, 3), numbers(3), numbers(3)]),
    ],
    "relu": [(F.relu, [numbers(3, 4)])],
    "relu6": [(F.relu6, [numbers(3, 4) * 4])],
    "leaky_relu": [(lambda x: F.leaky_relu(x, 0.1), [numbers(3, 4)])],
    "prelu": [(F.prelu, [numbers(2, 3, 4), numbers(4)]), (F.prelu, [numbers(3, 2), numbers(2) * 3])],
    "silu": [(F.silu, [numbers(3, 4)])],
    "sigmoid": [(F.sigmoid, [numbers(3, 4)])],
    "tanh": [(F.tanh, [numbers(3, 4)])],
    "exp": [(F.exp, [numbers(3, 4)])],
    "log": [(F.log, [positive(3, 4)])],
    "sqrt": [(F.sqrt, [positive(3, 4)])],
    "abs": [(abs, [numbers(3, 4)])],
    "atan": [(F.atan, [numbers(3, 4)])],
    "softplus": [(F.softplus, [numbers(3, 4)])],
    "neg": [(lambda x: -x, [numbers(3, 4)])],
    "clip": [(lambda x: x.clip(-0.5, 0.7), [numbers(3, 4)])],
    "pow": [(lambda x, e=e: x**e, [positive(3, 4)]) for e in (2, 3, 0.5, -1.5, 1, 0)],
    "dropout": [
        (lambda x: apply("dropout", x, p=0.5, mask=2.0 * MASK), [numbers(2, 3)]),
    ],
    "softmax": [(F.softmax, [numbers(3, 4)]), (lambda x: F.softmax(x, 0), [numbers(3, 4)])],
    "log_softmax": [(F.log_softmax, [numbers(3, 4)]), (lambda x: F.log_softmax(x, 1), [numbers(2, 3, 2)])],
    "add": [(lambda a, b: a + b, [numbers(3, 4), numbers(4)]), (lambda a: 2 + a, [numbers(3)])],
    "sub": [(lambda a, b: a - b, [numbers(3, 1), numbers(2, 1, 4)]), (lambda a: 2 - a, [numbers(3)])],
    "mul": [(lambda a, b: a * b, [numbers(3, 4), numbers(1, 4)]), (lambda a: a * a, [numbers(3)])],
    "div": [(lambda a, b: a / b, [numbers(3, 4), positive(3, 1)]), (lambda a: 2 / a, [positive(3)])],
    "maximum": [(F.maximum, [distinct(3, 4), distinct(4) + 0.05])],
    "minimum": [(F.minimum, [distinct(3, 4), distinct(4) + 0.05])],
    "where": [(lambda a, b: F.where(MASK, a, b), [numbers(2, 3), numbers(3)])],
    "matmul": [
        (lambda a, b: a @ b, [numbers(3, 4), numbers(4, 2)]),
        (lambda a, b: a @ b, [numbers(2, 1, 3, 4), numbers(3, 4, 2)]),
    ],
    "sum": [
        (lambda x: x.sum(), [numbers(2, 3)]),
        (lambda x: x.sum((0, -1)), [numbers(2, 3, 2)]),
        (lambda x: x.sum(1, keepdims=True), [numbers(2, 3)]),
    ],
    "mean": [(lambda x: x.mean(), [numbers(2, 3)]), (lambda x: x.mean((0, 1)), [numbers(2, 3, 2)])],
    "reshape": [(lambda x: x.reshape(3, -1), [numbers(2, 3, 2)])],
    "transpose": [(lambda x: x.transpose(2, 0, -2), [numbers(2, 3, 4)])],
    "concat": [
        (lambda a, b: F.concat([a, b, a]), [numbers(2, 2, 3), numbers(2, 2, 1)]),
        (lambda a, b: F.concat([a, b], 0), [numbers(2, 3), numbers(1, 3)]),
    ],
    "getitem": [
        (lambda x: x[1], [numbers(3, 4)]),
        (lambda x: x[..., ::-2, None], [numbers(3, 4)]),
        (lambda x: x[[0, 2, 0], [1, 1, 1]], [numbers(3, 4)]),  # an element named twice adds up
        (lambda x: x[MASK], [numbers(2, 3)]),
    ],
}


def test_there_is_a_case_for_every_operation() -> None:
    assert set(CASES) == set(OPS)
    assert all(name == op.name for name, op in OPS.items())


@pytest.mark.parametrize("name", sorted(CASES))
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    for i, (function, inputs) in enumerate(CASES[name]):
        error = gradcheck(function, inputs, rng=np.random.default_rng(7))
        assert error < 1e-6, f"case {i} of {name}: relative error {error:.1e}"


def test_gradcheck_sees_a_wrong_gradient() -> None:
    def halved(x: Tensor) -> Tensor:
        return x * 0.5 + x.detach() * 0.5  # the value of x, half of its gradient

    x = numbers(2, 3)
    assert gradcheck(halved, [x], rng=np.random.default_rng(0)) == pytest.approx(0.5, rel=1e-6)
    assert gradcheck(lambda x: x * 1.0, [x], rng=np.random.default_rng(0)) < 1e-9


@pytest.mark.parametrize(
    ("name", "attrs", "at", "slope"),
    [
        ("relu", {}, 0, 0),
        ("relu6", {}, 0, 0),
        ("relu6", {}, 6, 0),
        ("leaky_relu", {"slope": 0.1}, 0, 0.1),
        ("abs", {}, 0, 0),
        ("clip", {"lo": -1, "hi": 1}, 1, 1),
        ("clip", {"lo": -1, "hi": 1}, -1, 1),
    ],
)
def test_gradient_at_a_kink_is_the_documented_one(name: str, attrs: dict, at: float, slope: float) -> None:
    x = Tensor(np.array([at], np.float64), requires_grad=True)
    apply(name, x, **attrs).backward([1.0])
    assert x.grad == pytest.approx(slope)


@pytest.mark.parametrize("choose", [F.maximum, F.minimum])
def test_a_tie_shares_the_gradient(choose: Callable[..., Tensor]) -> None:
    a, b = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    choose(a, b).backward([2.0, 4.0])
    np.testing.assert_array_equal(a.grad, [1, 2])
    np.testing.assert_array_equal(b.grad, [1, 2])
