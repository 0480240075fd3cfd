"""Convolution and pooling against six plain loops, published numbers and algebra."""

import itertools

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.errors import ShapeError
from visionkit.kernels import jit
from visionkit.tensor import Tensor

T05 = np.array([[1, 2, 3, 1], [4, 5, 6, 1], [7, 8, 9, 1]], np.float64)  # seeds' worked example


def naive_conv(x, w, stride, padding, dilation, groups):
    """Six loops over output, channel and tap, nothing else."""
    batch, height, width, _ = x.shape
    outputs, inner, kh, kw = w.shape
    rows = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    columns = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    out = np.zeros((batch, rows, columns, outputs))
    for b, y, x_out, o in np.ndindex(out.shape):
        for i, ky, kx in np.ndindex(inner, kh, kw):
            iy, ix = y * stride - padding + ky * dilation, x_out * stride - padding + kx * dilation
            if 0 <= iy < height and 0 <= ix < width:
                channel = o // (outputs // groups) * inner + i
                out[b, y, x_out, o] += x[b, iy, ix, channel] * w[o, i, ky, kx]
    return out


def test_convolution_equals_six_loops_on_all_small_cases() -> None:
    rng = np.random.default_rng(0)
    tried = 0
    for size, k, s, p, d, g in itertools.product(
        (1, 2, 3, 5), (1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2)
    ):
        if size + 2 * p < d * (k - 1) + 1:
            continue
        x, w = rng.normal(size=(1, size, size, 2)), rng.normal(size=(2, 2 // g, k, k))
        found = F.conv2d(x, w, None, s, p, d, g).data
        np.testing.assert_allclose(found, naive_conv(x, w, s, p, d, g), rtol=0, atol=1e-13)
        tried += 1
    assert tried > 250


def test_worked_convolution_and_its_input_gradient() -> None:
    """Seeds' T05 and T07."""
    x = Tensor(T05[None, :, :, None], requires_grad=True)
    out = F.conv2d(x, np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(out.data[0, :, :, 0], [[12, 16, 11], [24, 28, 17]])
    out.backward(np.ones(out.shape))
    np.testing.assert_array_equal(x.grad[0, :, :, 0], [[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]])


def test_worked_max_pool_gives_both_windows_gradient() -> None:
    """Seeds' T10: 9 is the maximum of two windows."""
    x = Tensor(T05[None, :, :, None], requires_grad=True)
    out = F.max_pool2d(x, 2, 1)
    np.testing.assert_array_equal(out.data[0, :, :, 0], [[5, 6, 6], [8, 9, 9]])
    out.backward(np.arange(1.0, 7.0).reshape(out.shape))
    np.testing.assert_array_equal(x.grad[0, :, :, 0], [[0, 0, 0, 0], [0, 1, 2 + 3, 0], [0, 4, 5 + 6, 0]])


def test_worked_pools_of_four_numbers() -> None:
    """Seeds' T11 and ERR-09: an average hands each of four a quarter of the gradient."""
    x = Tensor(np.array([1.0, 2, 3, 2]).reshape(1, 2, 2, 1), requires_grad=True)
    assert F.max_pool2d(x, 2).item() == 3
    assert F.avg_pool2d(x, 2).item() == 2
    F.avg_pool2d(x, 2).backward(2.0)
    np.testing.assert_array_equal(x.grad.ravel(), [0.5] * 4)


def test_the_first_of_equal_maxima_wins_and_padding_never_does() -> None:
    x = Tensor(np.full((1, 4, 4, 1), -5.0), requires_grad=True)
    out = F.max_pool2d(x, 2, 2, 1)
    assert (out.data == -5).all()
    out.backward(np.ones(out.shape))
    # First valid pixel of each window of the padded map.
    expected = [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]]
    np.testing.assert_array_equal(x.grad[0, :, :, 0], expected)


def test_sizes_with_and_without_a_partial_window() -> None:
    """Seeds' T24, ERR-02: with a partial last window 32, 16, 8, 4; without 32, 15, 7, 3. T15: 56 to 28."""
    x = np.zeros((1, 32, 32, 1), np.float32)
    whole, floor, sizes = x, x, []
    for _ in range(3):
        whole, floor = F.max_pool2d(whole, 3, 2, ceil_mode=True).data, F.max_pool2d(floor, 3, 2).data
        sizes.append((whole.shape[1], floor.shape[1]))
    assert sizes == [(16, 15), (8, 7), (4, 3)]
    assert F.max_pool2d(np.zeros((1, 56, 56, 2)), 2).shape == (1, 28, 28, 2)
    assert F.conv2d(np.zeros((1, 227, 227, 1)), np.zeros((1, 1, 11, 11)), stride=4).shape == (1, 55, 55, 1)


def test_convolution_is_adjoint_to_its_gradient_and_linear() -> None:
    """<conv(x), y> = <x, convT(y)> (torture N03)."""
    rng = np.random.default_rng(1)
    x = Tensor(rng.normal(size=(2, 9, 8, 6)), requires_grad=True)
    w = Tensor(rng.normal(size=(9, 2, 3, 4)), requires_grad=True)
    out = F.conv2d(x, w, None, (2, 1), (1, 2), (1, 2), groups=3)
    y = rng.normal(size=out.shape)
    out.backward(y)
    inner = (out.data * y).sum()
    assert (x.data * x.grad).sum() == pytest.approx(inner, rel=1e-12)
    assert (w.data * w.grad).sum() == pytest.approx(inner, rel=1e-12)
    twice = F.conv2d(x.data * 2, w.data, None, (2, 1), (1, 2), (1, 2), groups=3)
    np.testing.assert_array_equal(twice.data, 2 * out.data)


def test_convolution_commutes_with_shifts() -> None:
    """OPS-56."""
    rng = np.random.default_rng(2)
    x, w = np.zeros((1, 12, 12, 2)), rng.normal(size=(3, 2, 3, 3))
    x[:, 3:7, 3:7] = rng.normal(size=(1, 4, 4, 2))
    shifted = F.conv2d(np.roll(x, (2, 3), (1, 2)), w, padding=1).data
    np.testing.assert_array_equal(shifted, np.roll(F.conv2d(x, w, padding=1).data, (2, 3), (1, 2)))


def test_pools_of_a_constant_are_that_constant() -> None:
    x = np.full((2, 7, 6, 3), 0.1)
    for pool in (F.max_pool2d, lambda x, *a: F.avg_pool2d(x, *a, count_include_pad=False)):
        np.testing.assert_allclose(pool(x, 3, 2, 1).data, np.full((2, 4, 3, 3), 0.1), rtol=1e-15)


def test_nan_and_infinity_come_through() -> None:
    """Torture N14."""
    x = np.ones((1, 4, 4, 1), np.float32)
    x[0, 0, 0, 0], x[0, 3, 3, 0] = np.nan, np.inf
    pooled = F.max_pool2d(x, 2).data[0, :, :, 0]
    assert np.isnan(pooled[0, 0])
    assert pooled[1, 1] == np.inf
    assert pooled[0, 1] == 1
    mixed = F.conv2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2).data[0, :, :, 0]
    assert np.isnan(mixed[0, 0])
    assert mixed[1, 1] == np.inf


def test_inputs_stay_untouched() -> None:
    """ERR-33, ERR-34: padding 0 is no special case and nothing happens in place."""
    rng = np.random.default_rng(3)
    x, w, b = rng.normal(size=(1, 4, 4, 2)), rng.normal(size=(2, 2, 1, 1)), rng.normal(size=2)
    copies = [a.copy() for a in (x, w, b)]
    out = F.silu(F.conv2d(Tensor(x, requires_grad=True), w, b))
    grad = rng.normal(size=out.shape)
    kept = grad.copy()
    out.backward(grad)
    for array, copy in zip((x, w, b, grad), (*copies, kept), strict=True):
        np.testing.assert_array_equal(array, copy)


def test_an_empty_batch_passes() -> None:
    x, w = (
        Tensor(np.zeros((0, 5, 5, 2)), requires_grad=True),
        Tensor(np.ones((3, 2, 3, 3)), requires_grad=True),
    )
    out = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, np.zeros(3)), 2, 1), 2)
    assert out.shape == (0, 1, 1, 3)
    out.backward(np.zeros(out.shape))
    assert x.grad.shape == (0, 5, 5, 2)
    assert (w.grad == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.conv2d(np.zeros((4, 4, 2)), np.zeros((1, 2, 3, 3))), "expected maps"),
        (lambda: F.conv2d(np.zeros((1, 4, 4, 3)), np.zeros((1, 2, 3, 3))), "3 channels and 1 groups"),
        (lambda: F.conv2d(np.zeros((1, 2, 4, 2)), np.zeros((1, 2, 3, 3))), "exceeds"),
        (lambda: F.conv2d(np.zeros((1, 4, 4, 2)), np.zeros((1, 2, 3, 3)), stride=0), "start at 1"),
        (lambda: F.conv2d(np.zeros((1, 4, 4, 2)), np.zeros((1, 2, 3, 3)), np.zeros(2)), "bias"),
        (lambda: F.max_pool2d(np.zeros((1, 4, 4, 2)), 2, 2, 2), "half the kernel"),
        (lambda: F.max_pool2d(np.zeros((1, 2, 2, 2)), 3), "exceeds"),
        (lambda: F.max_pool2d(np.zeros((1, 0, 2, 2)), 2, 1, 1), "exceeds"),
        (lambda: F.global_avg_pool2d(np.zeros((1, 0, 2, 2))), "nothing to average"),
        (lambda: F.upsample_nearest(np.zeros((1, 2, 2, 2)), 0), "scale of 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_threads_change_no_bit() -> None:
    """Torture N06."""
    rng = np.random.default_rng(4)
    x0, w0 = rng.normal(size=(3, 11, 9, 4)), rng.normal(size=(6, 2, 3, 3))

    def run(dtype: type, count: int) -> list[np.ndarray]:
        jit.set_threads(count)
        x, w = (Tensor(a.astype(dtype), requires_grad=True) for a in (x0, w0))
        out = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, padding=1, groups=2), 3, 2), 2, 1)
        out.backward(np.ones(out.shape, dtype))
        return [out.data, x.grad, w.grad]

    before = jit.threads()
    try:
        for dtype in (np.float32, np.float64):
            for one, two in zip(run(dtype, 1), run(dtype, 2), strict=True):
                np.testing.assert_array_equal(one, two)
    finally:
        jit.set_threads(before)
