"""Winograd's weight gradient called by hand against plain sums in float64."""

import numpy as np
import pytest

from visionkit.kernels import winograd_wgrad
from visionkit.kernels.jit import LANES, aligned
from visionkit.kernels.memory import Buffer, Map, padded, spaced

SENTINEL = np.float32(-12345.0)
TOLERANCE = 2e-5  # of the largest value


def gradient(rng, *, n, h, w, inputs, outputs, threads=2):
    """What the kernel makes in a memory whose every other number is watched, and the exact sums."""
    x = Map(Buffer(n, h, w, inputs + LANES), inputs, LANES)
    g = Map(Buffer(n, h, w, spaced(outputs)), outputs)
    x.buffer.base = 0
    g.buffer.base = x.buffer.size + 16
    scratch = g.buffer.base + g.buffer.size + 16
    target = scratch + winograd_wgrad.scratch_size(g, inputs, threads) + 16
    columns = outputs + 2
    size = 9 * inputs * columns
    memory = aligned(target + size + 64)
    memory[:] = SENTINEL
    x.view(memory)[...] = rng.normal(size=x.shape)
    Map(g.buffer, padded(outputs)).view(memory)[...] = 0
    g.view(memory)[...] = rng.normal(size=g.shape)
    before = memory.copy()
    made = winograd_wgrad.wgrad_call(
        x, g, scratch=scratch, gradient=target, columns=columns, threads=threads
    )  # fmt: skip
    winograd_wgrad.winograd_wgrad(memory, np.zeros(1, np.int32), *made)
    np.testing.assert_array_equal(memory[:scratch], before[:scratch])
    assert (memory[target - 16 : target] == SENTINEL).all()
    assert (memory[target + size :] == SENTINEL).all()
    found = memory[target : target + size].reshape(3, 3, inputs, columns)
    assert (found[..., outputs:] == SENTINEL).all()
    pictures = np.pad(x.view(memory).astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    seeds = g.view(memory).astype(np.float64)
    exact = np.array(
        [
            [np.tensordot(pictures[:, a : a + h, b : b + w], seeds, axes=([0, 1, 2],) * 2) for b in range(3)]
            for a in range(3)
        ]
    )
    return found[..., :outputs], exact


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (4, 4), (6, 5), (13, 13), (16, 24)])
@pytest.mark.parametrize("outputs", [1, LANES, 4 * LANES + 3])
def test_pictures_that_tiles_do_not_fit(size, outputs, rng):
    found, exact = gradient(rng, n=3, h=size[0], w=size[1], inputs=2 * LANES, outputs=outputs)
    np.testing.assert_allclose(found, exact, atol=TOLERANCE * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 300), (208, 130), (512, 64)])
def test_many_blocks_of_channels(inputs, outputs, rng):
    found, exact = gradient(rng, n=2, h=22, w=18, inputs=inputs, outputs=outputs)
    np.testing.assert_allclose(found, exact, atol=TOLERANCE * np.abs(exact).max(), rtol=0)


def test_long_sums_in_partial_copies(rng):
    found, exact = gradient(rng, n=4, h=100, w=97, inputs=16, outputs=16)
    np.testing.assert_allclose(found, exact, atol=TOLERANCE * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_change_no_bit(threads):
    shape = {"n": 2, "h": 30, "w": 21, "inputs": 64, "outputs": 150}
    results = [gradient(np.random.default_rng(5), **shape, threads=count)[0] for count in (2, threads)]
    np.testing.assert_array_equal(*results)


def test_the_rule_refuses_what_the_kernel_cannot_do_and_what_does_not_pay():
    def pays(n, side, inputs, outputs):
        return winograd_wgrad.pays(Map(Buffer(n, side, side, spaced(outputs)), outputs), inputs)

    assert pays(8, 52, 64, 128)
    assert pays(8, 13, 512, 1024)
    assert not pays(8, 52, 63, 128)
    assert not pays(8, 52, 64, 3)
    assert not pays(1, 5, 512, 512)
