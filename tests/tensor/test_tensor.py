"""The tape, the door and traced tensors."""

import threading

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.errors import ShapeError, TraceError, UsageError
from visionkit.tensor import Tensor, apply, current_scope, is_tracing, no_grad, tracing


class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def emit(self, op, inputs, attrs, shape):
        self.seen.append((op.name, current_scope()))
        return Tensor.symbolic(shape)


def test_data_is_shared_and_its_dtype_kept() -> None:
    x = np.ones(3)
    assert Tensor(x).data is x
    assert Tensor(x).dtype == np.float64
    assert Tensor(np.ones(3, np.uint8)).dtype == np.float32
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(np.float64(1)).dtype == np.float64
    with pytest.raises(ShapeError, match="real numbers"):
        Tensor(np.ones(2, np.complex64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_take_the_tensors_dtype(dtype: type) -> None:
    x = Tensor(np.ones(3, dtype))
    other = np.float64 if dtype == np.float32 else np.float32
    for y in (x + 1, 2.5 * x, 1 - x, 3 / x, x * np.ones(3, other), np.ones(3, other) - x, np.float64(2) * x):
        assert isinstance(y, Tensor)
        assert y.dtype == dtype
    assert (x + Tensor(np.ones(3, other))).dtype == np.float64


def test_operators_compute_what_numpy_computes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, (3, 3)), rng.uniform(1, 2, (3, 3))
    x = Tensor(a)
    pairs = [
        (x + b, a + b), (b + x, a + b), (x - b, a - b), (b - x, b - a), (x * b, a * b), (x / b, a / b),
        (b / x, b / a), (x @ b, a @ b), (b @ x, b @ a), (-x, -a), (abs(-x), a), (x**3, a**3),
        (x[1:, 0], a[1:, 0]), (x.sum(0), a.sum(0)), (x.mean((0, 1), True), a.mean(keepdims=True)),
        (x.reshape(9), a.ravel()),
        (x.transpose(1, 0), a.T), (x.exp(), np.exp(a)), (x.log(), np.log(a)), (x.sqrt(), np.sqrt(a)),
        (x.abs(), a), (x.sigmoid(), 1 / (1 + np.exp(-a))), (x.clip(1.2, 1.5), a.clip(1.2, 1.5)),
    ]  # fmt: skip
    for found, expected in pairs:
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.data, expected, rtol=1e-14)


def test_gradients_add_up_over_paths_and_calls() -> None:
    x = Tensor(np.array([2.0]), requires_grad=True)
    (x * x + x * 3).backward()
    assert x.grad == 7
    (x * 5).backward()
    assert x.grad == 12


def test_a_long_chain_does_not_recurse() -> None:
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + x
    y.backward()
    assert x.grad == 5001


def test_a_gradient_shared_by_two_inputs_is_not_written_into() -> None:
    x, y = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    seed = np.ones(2)
    s = x + y
    (s + s).backward(seed)
    x.grad += 10
    assert (y.grad == 2).all()
    assert (seed == 1).all()


def test_gradients_keep_the_memory_order_of_the_data() -> None:
    w = Tensor(np.ones((3, 3, 2, 4), np.float32).transpose(3, 2, 0, 1), requires_grad=True)
    (F.conv2d(np.ones((1, 5, 5, 2), np.float32), w).sum() + (w * w).sum()).backward()
    assert w.grad.strides == w.data.strides
    assert w.grad.dtype == np.float32


def test_nothing_is_recorded_without_need() -> None:
    x = Tensor(np.ones(1), requires_grad=True)
    with no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad
    assert not (Tensor(np.ones(1)) * 2).requires_grad


def test_no_grad_holds_for_its_thread_alone() -> None:
    x, seen = Tensor(np.ones(1), requires_grad=True), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_backward_asks_for_what_it_needs() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(UsageError, match="needs its gradient given"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match="expected a gradient"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(UsageError, match="requires a gradient"):
        Tensor(np.ones(1)).backward()


def test_a_traced_tensor_has_a_shape_and_no_values() -> None:
    recorder = Recorder()
    with tracing(recorder):
        assert is_tracing()
        x = Tensor.symbolic((2, 8, 8, 3))
        y = F.relu(F.conv2d(x, np.ones((4, 3, 3, 3), np.float32), stride=2, padding=1)) * 2
        with pytest.raises(ShapeError, match="channels"):
            F.conv2d(x, np.ones((4, 2, 3, 3), np.float32))
    assert not is_tracing()
    assert y.shape == (2, 4, 4, 4)
    assert y.is_symbolic
    assert [name for name, _ in recorder.seen] == ["conv2d", "relu", "mul"]
    for read in (lambda: y.data, lambda: y.numpy(), lambda: bool(y), lambda: y.item(), lambda: y.detach()):
        with pytest.raises(TraceError, match="traced tensor"):
            read()
    assert "traced" in repr(y)


def test_a_traced_tensor_outside_its_trace_is_refused() -> None:
    with pytest.raises(TraceError, match="values of a traced tensor"):
        apply("relu", Tensor.symbolic((1,)))


def test_small_things() -> None:
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    assert (len(x), x.ndim, x.size, x.shape) == (2, 2, 6, (2, 3))
    assert "requires_grad" in repr(x)
    assert float(Tensor(2.0)) == 2
    with pytest.raises(TypeError, match="length"):
        len(Tensor(2.0))
    with pytest.raises(ShapeError, match="keeps its shape"):
        x.data = np.ones(3)
