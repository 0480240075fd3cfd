"""The peak's kernel computes what it counts: checked by its numbers, never by its time."""

import numpy as np
import pytest

from visionkit.kernels.jit import LANES
from visionkit.kernels.peak import CHAINS, multiply_adds, peak_gflops


@pytest.mark.parametrize("links", [0, 1, 5, 40])
@pytest.mark.parametrize("rows", [1, 3])
def test_every_chain_takes_every_link(links: int, rows: int) -> None:
    start = np.random.default_rng(0).uniform(0, 2, (rows, CHAINS, LANES)).astype(np.float32)
    expected = start.astype(np.float64)
    for _ in range(links):
        expected = expected / 2 + 1
    x = start.copy().ravel()
    multiply_adds(x, links)
    found = x.reshape(start.shape)
    np.testing.assert_allclose(found[:, 0], expected.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1:], start[:, 1:])


def test_the_peak_is_a_rate() -> None:
    """Between a microcontroller and a data centre: a wrong unit misses that by far."""
    assert 0.01 < peak_gflops(repeat=2) < 1e6
