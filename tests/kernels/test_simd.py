"""Vectors of float32 against NumPy: arithmetic, the exponential, sums and numbers that are not finite."""

from collections.abc import Callable

import numba
import numpy as np
import pytest

from visionkit.kernels import simd
from visionkit.kernels.jit import LANES
from visionkit.kernels.simd import vload, vstore


def unary(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """`function` of a vector, applied to a whole array."""

    @numba.njit
    def loop(x, y):
        for i in range(0, len(x), LANES):
            vstore(y, i, function(vload(x, i)))

    def run(x: np.ndarray) -> np.ndarray:
        padded = np.zeros(-(-x.size // LANES) * LANES, np.float32)
        padded[: x.size] = x
        y = np.empty_like(padded)
        loop(padded, y)
        return y[: x.size]

    return run


@pytest.fixture(scope="module")
def vexp() -> Callable[[np.ndarray], np.ndarray]:
    return unary(simd.vexp)


def test_exponential_to_one_unit_in_the_last_place(vexp):
    x = np.concatenate(
        [
            np.linspace(-87.3, 88.0, 400_001),
            np.linspace(-1e-3, 1e-3, 20_001),
            np.log(2) * (np.arange(-125, 126) + 0.5),
        ]
    ).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    units = np.abs(vexp(x) - exact) / np.spacing(exact.astype(np.float32))
    bound = 1.0 if LANES > 4 else 1.25  # where products are rounded before they are added
    assert units.max() <= bound, f"{units.max():.2f} units at {x[units.argmax()]!r}"
    assert vexp(np.zeros(1, np.float32))[0] == 1.0


def test_exponential_at_its_limits(vexp):
    x = np.array([-np.inf, -1e4, -88.0, 89.0, 1e4, np.inf, np.nan, -np.nan], np.float32)
    y = vexp(x)
    assert (y[:3] == y[0]).all()
    assert 1.17e-38 < y[0] < 1.25e-38  # the smallest normal number, not 0
    assert (y[3:6] == y[5]).all()
    assert 1.6e38 < y[5] < np.finfo(np.float32).max
    assert np.isnan(y[6:]).all()
    tiny = np.array([1e-45, -1e-45, 1e-40], np.float32)
    assert (vexp(tiny) == 1).all()


def test_sum_of_lanes_goes_by_halves(rng):
    @numba.njit
    def total(x):
        return simd.vsum(vload(x, 0))

    for _ in range(20):
        x = (rng.normal(size=LANES) * 10.0 ** rng.integers(-6, 6, LANES)).astype(np.float32)
        halves = x
        while halves.size > 1:
            halves = halves[: halves.size // 2] + halves[halves.size // 2 :]
        assert total(x) == halves[0]


def test_arithmetic_and_choices_equal_numpy(rng):
    @numba.njit
    def run(a, b, c, y):
        u, v, w = vload(a, 1), vload(b, 2), vload(c, 3)  # at any alignment
        results = (
            u + v,
            u - v,
            u * v,
            u / v,
            simd.vmax(u, v),
            simd.vmin(u, v),
            simd.vwhere_positive(u, v, w),
            simd.vwhere_equal(u, v, w, u),
            simd.vsplat(c[0]),
            simd.vpeak(u, v),
        )
        at = 0
        for result in results:
            vstore(y, at, result)
            at += LANES
        vstore(y, at, simd.vfma(u, v, w))

    a, b, c = rng.integers(-3, 4, (3, LANES + 3)).astype(np.float32)
    b[b == 0] = 1.5
    y = np.empty(11 * LANES, np.float32)
    run(a, b, c, y)
    u, v, w = a[1 : 1 + LANES], b[2 : 2 + LANES], c[3 : 3 + LANES]
    expected = [
        u + v,
        u - v,
        u * v,
        u / v,
        np.maximum(u, v),
        np.minimum(u, v),
        np.where(u > 0, v, w),
        np.where(u == v, w, u),
        np.full(LANES, c[0]),
        np.maximum(u, v),
        u * v + w,  # small whole numbers: exact with and without rounding between
    ]
    np.testing.assert_array_equal(y.reshape(11, LANES), np.stack(expected))


def test_a_peak_is_nan_once_anything_was():
    @numba.njit
    def run(x, y):
        best = vload(x, 0)
        for i in range(LANES, len(x), LANES):
            best = simd.vpeak(vload(x, i), best)
        vstore(y, 0, best)

    for order in ([np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan], [3, -np.inf, 1], [-np.inf, np.inf, 0]):
        x = np.repeat(np.array(order, np.float32), LANES)
        y = np.empty(LANES, np.float32)
        run(x, y)
        np.testing.assert_array_equal(y, np.full(LANES, np.max(np.array(order))))


def test_a_denormal_number_is_not_flushed():
    double = unary(numba.njit(lambda v: v + v))
    x = np.array([1e-45, -3e-45, 1e-40], np.float32)
    np.testing.assert_array_equal(double(x), x + x)
