"""The convolution kernels called by hand against plain sums: tiles, blocks, modes, packed weights."""

from types import SimpleNamespace

import numpy as np
import pytest

from visionkit.kernels import conv, wgrad
from visionkit.kernels.jit import LANES, aligned
from visionkit.kernels.memory import Buffer, Map, Tables, call, padded

SENTINEL = np.float32(-12345.0)


def convolve(rng, pixels, inputs, outputs, taps, *, mode=0, slope=1.0, cap=np.inf, silu=False, threads=1):
    """One call on a strip of pixels with taps to the right; what it should have made, in float64."""
    x = Map(Buffer(1, 1, pixels + taps - 1, inputs), inputs)
    y = Map(Buffer(1, 1, pixels, padded(outputs)), outputs)
    r = Map(Buffer(1, 1, pixels, padded(outputs)), outputs)
    ends = np.cumsum([64, x.buffer.size + 64, y.buffer.size + 64, r.buffer.size + 64])
    x.buffer.base, y.buffer.base, r.buffer.base = (int(-(-end // 16) * 16) for end in ends[:3])
    bias = int(-(-ends[3] // 16) * 16) + 64
    weights = bias + padded(outputs) + 64
    end = weights + conv.packed_size(taps, inputs, outputs)
    memory = aligned(end + 128)
    memory[:] = SENTINEL
    x.view(memory)[...] = rng.normal(size=x.shape)
    before = rng.normal(size=(pixels, padded(outputs))).astype(np.float32)
    memory[y.origin : y.origin + before.size] = before.ravel()
    shortcut = rng.normal(size=before.shape).astype(np.float32)
    memory[r.origin : r.origin + shortcut.size] = shortcut.ravel()
    memory[bias : bias + padded(outputs)] = 0
    memory[bias : bias + outputs] = rng.normal(size=outputs)
    w = rng.normal(size=(outputs, inputs, 1, taps)).astype(np.float32)
    tables = Tables()
    shape = (conv.depth_of(taps, inputs), outputs, padded(outputs))
    strides = [s // 4 for s in w.strides]
    integers = (
        0,
        strides[2],
        strides[3],
        strides[1],
        strides[0],
        taps,
        inputs,
        weights,
        taps,
        inputs,
        *shape,
    )
    conv.pack(memory, np.zeros(1, np.int32), w.reshape(-1), *call(integers))
    made = conv.conv_call(
        tables, x, y, taps=np.arange(taps, dtype=np.int32) * inputs, length=inputs, weights=weights,
        bias=bias, x_pixels=np.arange(pixels, dtype=np.int32) * inputs, y_pixels=y.offsets(), slope=slope,
        cap=cap, silu=silu,
        residual=r if mode in (1, 2) else (y if mode == 3 else None), residual_mode=mode,
        residual_pixels=y.offsets() if mode == 3 else None, threads=threads,
    )  # fmt: skip
    untouched = memory.copy()
    conv.conv(memory, tables.array(), *made)
    found = y.view(memory)[0, 0].copy()
    untouched[y.origin : y.origin + before.size] = memory[y.origin : y.origin + before.size]
    np.testing.assert_array_equal(memory, untouched)

    pictures = x.view(memory)[0, 0].astype(np.float64)
    windows = np.stack([pictures[t : t + pixels] for t in range(taps)], 1)
    exact = np.einsum("pti,oit->po", windows, w[:, :, 0].astype(np.float64))
    start = before[:, :outputs] if mode == 3 else memory[bias : bias + outputs]
    exact += start
    size = np.abs(exact).max()
    if mode == 1:
        exact += shortcut[:, :outputs]
    exact = exact / (1 + np.exp(-exact)) if silu else np.minimum(np.maximum(exact, slope * exact), cap)
    if mode == 2:
        exact += shortcut[:, :outputs]
    # 2e-6 of the largest (torture 3.4); sums of thousands of products may err more (N05).
    return found, exact, max(2e-6, np.sqrt(taps * inputs) * 2.0**-24) * size


@pytest.mark.parametrize("outputs", [1, LANES, 2 * LANES, 3 * LANES - 1, 4 * LANES, 5 * LANES + 3])
def test_every_tile_of_every_width(outputs, rng):
    for pixels in range(1, 32):
        found, exact, bound = convolve(rng, pixels, inputs=3, outputs=outputs, taps=2, slope=0.1, cap=2.0)
        np.testing.assert_allclose(found, exact, atol=bound, rtol=0, err_msg=f"{pixels} pixels")


@pytest.mark.parametrize(
    ("mode", "silu"), [(0, False), (0, True), (1, False), (1, True), (2, False), (2, True), (3, False)]
)
@pytest.mark.parametrize(("inputs", "taps"), [(1300, 1), (500, 9), (97, 25)])
def test_long_sums_go_in_several_passes(inputs, taps, mode, silu, rng):
    """The sum stops and goes on from the output: bias and shortcut once, activation at the end."""
    assert conv.depth_of(taps, inputs) < inputs
    found, exact, bound = convolve(
        rng, 13, inputs, 2 * LANES + 5, taps, mode=mode, silu=silu, slope=1.0 if silu or mode == 3 else 0.0
    )
    np.testing.assert_allclose(found, exact, atol=bound, rtol=0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_threads_share_of_the_pixels_changes_no_bit(threads):
    results = [convolve(np.random.default_rng(3), 500, 40, 3 * LANES, 3, threads=n)[0] for n in (1, threads)]
    np.testing.assert_array_equal(*results)


def blocks_of(outs: int) -> list[tuple[int, int]]:
    return [(start, min(conv.BLOCK, padded(outs) - start)) for start in range(0, padded(outs), conv.BLOCK)]


@pytest.mark.parametrize("order", ["OIHW", "HWIO"])
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(("outs", "inputs", "kh", "kw"), [(5, 3, 3, 2), (70, 9, 2, 3), (33, 700, 1, 2)])
def test_packed_weights(outs, inputs, kh, kw, merged, order, rng):
    w = rng.normal(size=(outs, inputs, kh, kw)).astype(np.float32)
    if order == "HWIO":
        w = np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    flat = np.lib.stride_tricks.as_strided(w, (w.size,), (4,))
    s = SimpleNamespace(**{k: v // 4 for k, v in zip("oihw", w.strides, strict=True)})
    taps, length = (kh, kw * inputs) if merged else (kh * kw, inputs)
    depth, size = conv.depth_of(taps, length), conv.packed_size(taps, length, outs)
    memory = np.full(size + 64, SENTINEL)
    integers = (0, s.h, s.w, s.i, s.o, kw, inputs, 32, taps, length, depth, outs, padded(outs))
    conv.pack(memory, np.zeros(1, np.int32), flat, *call(integers))
    wanted = []
    for start, width in blocks_of(outs):
        for k in range(0, length, depth):
            for tap in range(taps):
                for i in range(k, min(k + depth, length)):
                    a, b, c = (tap, i // inputs, i % inputs) if merged else (tap // kw, tap % kw, i)
                    wanted += [w[o, c, a, b] if o < outs else 0 for o in range(start, start + width)]
    np.testing.assert_array_equal(memory[32:-32], np.array(wanted, np.float32))
    assert (memory[:32] == SENTINEL).all()
    assert (memory[-32:] == SENTINEL).all()


@pytest.mark.parametrize("order", ["OIHW", "HWIO"])
@pytest.mark.parametrize(
    ("outs", "inputs", "chosen"), [(20, 5, (5, 0, 3)), (9, 70, (1,)), (1300, 33, (2, 4))]
)
def test_weights_packed_for_the_data_gradient(outs, inputs, chosen, order, rng):
    """The roles change: sums run over the outputs, blocks hold inputs; a group starts at output 2."""
    kh, kw, first = 2, 3, 2
    w = rng.normal(size=(outs + first, inputs, kh, kw)).astype(np.float32)
    if order == "HWIO":
        w = np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    flat = np.lib.stride_tricks.as_strided(w, (w.size,), (4,))
    s = SimpleNamespace(**{k: v // 4 for k, v in zip("oihw", w.strides, strict=True)})
    taps = len(chosen)
    depth, size = conv.depth_of(taps, outs), conv.packed_size(taps, outs, inputs)
    memory = np.full(size + 64, SENTINEL)
    table = np.array((-1, *chosen), np.int32)
    integers = (first * s.o, s.h, s.w, s.i, s.o, kw, 32, 1, taps, outs, depth, inputs, padded(inputs))
    conv.pack_transposed(memory, table, flat, *call(integers))
    wanted = []
    for start, width in blocks_of(inputs):
        for k in range(0, outs, depth):
            for tap in chosen:
                for o in range(k, min(k + depth, outs)):
                    row = w[first + o, :, tap // kw, tap % kw]
                    wanted += [row[c] if c < inputs else 0 for c in range(start, start + width)]
    np.testing.assert_array_equal(memory[32:-32], np.array(wanted, np.float32))
    assert (memory[:32] == SENTINEL).all()
    assert (memory[-32:] == SENTINEL).all()


@pytest.mark.parametrize("outputs", [3, 2 * LANES, 4 * LANES + 1, 7 * LANES])
def test_weight_gradient_of_every_tile(outputs, rng):
    for inputs in (*range(1, 21), 300):
        check_weight_gradient(rng, n=2, h=3, w=4, inputs=inputs, outputs=outputs, taps=(0, 1))


@pytest.mark.parametrize(("inputs", "outputs", "taps"), [(300, 110, 9), (200, 400, 1), (520, 520, 1)])
def test_weight_gradient_of_large_filters(inputs, outputs, taps, rng):
    """Few partial sums, or none: every task owns a part of the filter."""
    check_weight_gradient(rng, n=3, h=6, w=9, inputs=inputs, outputs=outputs, taps=tuple(range(taps)))


def check_weight_gradient(rng, *, n, h, w, inputs, outputs, taps, threads=2):
    x = Map(Buffer(n, h, w + len(taps) - 1, inputs), inputs)
    g = Map(Buffer(n, h, w, padded(outputs)), outputs)
    x.buffer.base = 0
    g.buffer.base = x.buffer.size + 16
    scratch = g.buffer.base + g.buffer.size + 16
    target = scratch + wgrad.wgrad_scratch(len(taps), inputs, g, threads) + 16
    size = len(taps) * inputs * (outputs + 2)
    memory = aligned(target + size + 64)
    memory[:] = SENTINEL
    x.view(memory)[...] = rng.normal(size=x.shape)
    g.view(memory)[...] = rng.normal(size=g.shape)
    tables = Tables()
    made = wgrad.wgrad_call(
        tables, x, g, taps=np.array(taps, np.int32) * inputs, length=inputs, stride=(1, 1), scratch=scratch,
        gradient=target, columns=outputs + 2, threads=threads,
    )  # fmt: skip
    wgrad.wgrad(memory, tables.array(), *made)
    assert (memory[target + size :] == SENTINEL).all()
    found = memory[target : target + size].reshape(len(taps), inputs, outputs + 2)
    assert (found[..., outputs:] == SENTINEL).all()
    pictures, gradient = (m.view(memory).astype(np.float64) for m in (x, g))
    exact = np.stack([np.einsum("nhwi,nhwo->io", pictures[:, :, t : t + w], gradient) for t in taps])
    np.testing.assert_allclose(found[..., :outputs], exact, atol=2e-6 * np.abs(exact).max(), rtol=0)
    return found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("inputs", [3, 40, 700])
def test_the_threads_of_a_weight_gradient_change_no_bit(inputs, threads):
    settings = {"n": 2, "h": 9, "w": 30, "inputs": inputs, "outputs": 5 * LANES + 1, "taps": (0, 1, 2)}
    results = [
        check_weight_gradient(np.random.default_rng(4), **settings, threads=count) for count in (2, threads)
    ]
    np.testing.assert_array_equal(*results)
