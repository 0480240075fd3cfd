"""Winograd's convolution from packed filters, called by hand against plain sums in float64."""

import numpy as np
import pytest

from visionkit.kernels import conv, winograd_deep
from visionkit.kernels.jit import LANES, aligned
from visionkit.kernels.memory import Buffer, Map, Tables, call, padded, spaced

SENTINEL = np.float32(-12345.0)
TOLERANCE = 1e-5  # of the largest value


def convolved(rng, *, n, h, w, inputs, outputs, shortcut=False, threads=2):
    """What the kernel makes in a memory whose every other number is watched, and the exact sums."""
    x = Map(Buffer(n, h, w, inputs + LANES), inputs, LANES)
    y = Map(Buffer(n, h, w, spaced(outputs), halo=1), outputs)
    r = Map(Buffer(n, h, w, spaced(outputs)), outputs)
    sizes = [x.buffer.size, y.buffer.size, r.buffer.size, padded(outputs), 64]
    sizes += [conv.packed_size(9, inputs, outputs), winograd_deep.scratch_size(y, threads)]
    ends = np.cumsum([-(-size // 16) * 16 + 16 for size in sizes])
    x.buffer.base, y.buffer.base, r.buffer.base, bias, zeros, weights, scratch = (0, *map(int, ends[:-1]))
    memory = aligned(int(ends[-1]))
    memory[:] = SENTINEL
    x.view(memory)[...] = rng.normal(size=x.shape)
    Map(r.buffer, padded(outputs)).view(memory)[...] = rng.normal(size=(n, h, w, padded(outputs)))
    memory[bias : bias + padded(outputs)] = rng.normal(size=padded(outputs))
    memory[zeros : zeros + 64] = 0
    filters = rng.normal(size=(3, 3, inputs, outputs)).astype(np.float32)
    strides = (stride // 4 for stride in filters.strides)
    shape = (conv.depth_of(9, inputs), outputs, padded(outputs))
    nothing = np.zeros(1, np.int32)
    conv.pack(
        memory, nothing, filters.reshape(-1), *call((0, *strides, 3, inputs, weights, 9, inputs, *shape))
    )
    tables = Tables()
    made = winograd_deep.winograd_call(
        tables, x, y, weights=weights, bias=bias, zeros=zeros, scratch=scratch,
        residual=r if shortcut else None, threads=threads,
    )  # fmt: skip
    before = memory.copy()
    winograd_deep.winograd_deep(memory, tables.array(), *made)
    found = y.view(memory).copy()
    Map(y.buffer, padded(outputs)).view(before)[...] = Map(y.buffer, padded(outputs)).view(memory)
    np.testing.assert_array_equal(memory[:scratch], before[:scratch])
    assert (memory[int(ends[-1]) - 16 :] == SENTINEL).all()
    pictures = np.pad(x.view(memory).astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = np.zeros(y.shape) + memory[bias : bias + outputs]
    for a in range(3):
        for b in range(3):
            exact += pictures[:, a : a + h, b : b + w] @ filters[a, b].astype(np.float64)
    return found, exact + (r.view(memory) if shortcut else 0)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (4, 4), (6, 5), (13, 13)])
@pytest.mark.parametrize("outputs", [1, LANES, 4 * LANES + 3])
def test_pictures_that_tiles_do_not_fit(size, outputs, rng):
    found, exact = convolved(rng, n=3, h=size[0], w=size[1], inputs=2 * LANES, outputs=outputs)
    np.testing.assert_allclose(found, exact, atol=TOLERANCE * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 300), (208, 130), (1024, 64)])
def test_many_blocks_of_channels(inputs, outputs, rng):
    """1,024 inputs: packed weights come in several passes, which blocks of channels do not fit."""
    found, exact = convolved(rng, n=2, h=22, w=18, inputs=inputs, outputs=outputs, shortcut=True)
    np.testing.assert_allclose(found, exact, atol=TOLERANCE * np.abs(exact).max(), rtol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_change_no_bit(threads):
    shape = {"n": 4, "h": 30, "w": 21, "inputs": 64, "outputs": 150}
    results = [convolved(np.random.default_rng(5), **shape, threads=count)[0] for count in (2, threads)]
    np.testing.assert_array_equal(*results)


def test_the_rule_refuses_what_the_kernel_cannot_do_and_what_does_not_pay():
    def pays(n, side, inputs, outputs):
        return winograd_deep.pays(Map(Buffer(n, side, side, spaced(outputs)), outputs), inputs)

    assert pays(8, 13, 512, 1024)
    assert pays(8, 7, 512, 512)
    assert not pays(8, 13, 500, 1024)
    assert not pays(8, 2, 512, 512)
