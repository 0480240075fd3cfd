"""Winograd in stages, called by hand: forms, cut filters, rounds, edges, shortcuts, guarded memory."""

import numpy as np
import pytest

from visionkit.kernels import staged
from visionkit.kernels.conv import BLOCK
from visionkit.kernels.jit import LANES, aligned
from visionkit.kernels.memory import Buffer, Map, Tables, padded, spaced

SENTINEL = np.float32(-12345.0)
BOUND = 1e-5  # of the largest value


def convolve(
    rng, shape, outs, kernel, points, *, padding=None, mode=0, silu=False, slope=1.0, cap=np.inf, threads=2,
    order="OIHW", step=None,
):  # fmt: skip
    """One convolution in a memory full of sentinels; what it made and should have made, in float64."""
    n, h, w, ins = shape
    padding = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
    high, wide = (s + 2 * p - k + 1 for s, p, k in zip((h, w), padding, kernel, strict=True))
    x = Map(Buffer(n, h, w, step or spaced(ins)), ins)
    y, r = (Map(Buffer(n, high, wide, spaced(outs)), outs) for _ in range(2))
    sizes = [
        x.buffer.size, y.buffer.size, r.buffer.size, staged.filter_size(points, kernel, ins, outs),
        padded(outs), BLOCK, staged.scratch_size(y, ins, kernel, points, threads),
    ]  # fmt: skip
    starts = 64 + np.cumsum([0, *(-(-size // 16) * 16 + 64 for size in sizes)])
    x.buffer.base, y.buffer.base, r.buffer.base, filters, bias, zeros, scratch, end = map(int, starts)
    memory = aligned(end + 64)
    memory[:] = SENTINEL
    picture = rng.normal(size=shape).astype(np.float32)
    shortcut = rng.normal(size=(n, high, wide, padded(outs))).astype(np.float32)
    x.view(memory)[...], Map(r.buffer, padded(outs)).view(memory)[...] = picture, shortcut
    memory[bias : bias + padded(outs)], memory[zeros : zeros + BLOCK] = 0, 0
    memory[bias : bias + outs] = rng.normal(size=outs)
    weights = (rng.normal(size=(outs, ins, *kernel)) / np.sqrt(ins * kernel[0] * kernel[1])).astype(
        np.float32
    )
    if order == "HWIO":
        weights = np.ascontiguousarray(weights.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    flat = np.lib.stride_tricks.as_strided(weights, (weights.size,), (4,))
    s_o, s_i, s_h, s_w = (s // 4 for s in weights.strides)
    packed = staged.pack_call((0, s_h, s_w, s_i, s_o), kernel, points, filters, ins, outs)
    staged.pack_staged(memory, np.zeros(1, np.int32), flat, *packed)
    tables = Tables()
    made = staged.staged_call(
        tables, x, y, kernel=kernel, padding=padding, points=points, filters=filters, bias=bias, zeros=zeros,
        scratch=scratch, slope=slope, cap=cap, silu=silu, residual=r if mode else None, residual_mode=mode,
        threads=threads,
    )  # fmt: skip
    untouched = memory.copy()
    staged.staged(memory, tables.array(), *made)
    whole = Map(y.buffer, padded(outs))
    found = whole.view(memory).copy()
    whole.view(memory)[...] = SENTINEL
    memory[scratch : scratch + sizes[-1]] = SENTINEL
    np.testing.assert_array_equal(memory, untouched)

    frame = [(0, 0), *((p, p) for p in padding), (0, 0)]
    wide_picture = np.pad(picture.astype(np.float64), frame)
    exact = np.zeros(found.shape)
    exact[..., :outs] = memory[bias : bias + outs]
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            taps = weights[:, :, a, b].T.astype(np.float64)
            exact[..., :outs] += wide_picture[:, a : a + high, b : b + wide] @ taps
    exact += shortcut if mode == 1 else 0
    exact = exact / (1 + np.exp(-exact)) if silu else np.minimum(np.maximum(exact, slope * exact), cap)
    exact += shortcut if mode == 2 else 0
    return found, exact


def check(*args, **options):
    found, exact = convolve(*args, **options)
    np.testing.assert_allclose(found, exact, atol=BOUND * np.abs(exact).max(), rtol=0)


KERNELS = [((3, 3), 4), ((3, 3), 6), ((7, 7), 7), ((5, 4), 7), ((3, 9), 7)]


@pytest.mark.parametrize(("kernel", "points"), KERNELS)
def test_every_form_on_maps_of_any_size(kernel, points, rng):
    for h, w in ((1, 1), (2, 5), (7, 7), (9, 4), (13, 12), (16, 17)):
        check(rng, (2, h, w, 2 * LANES), LANES + 3, kernel, points)


@pytest.mark.parametrize(("kernel", "points"), KERNELS)
@pytest.mark.parametrize("padding", [(0, 0), (2, 1), (4, 5)])
def test_any_padding(kernel, points, padding, rng):
    check(rng, (1, 11, 10, LANES), 2 * LANES, kernel, points, padding=padding)


@pytest.mark.parametrize(("kernel", "points"), KERNELS)
@pytest.mark.parametrize("order", ["OIHW", "HWIO"])
def test_channels_that_do_not_fill_vectors(kernel, points, order, rng):
    """What lies between the pixels is not a number of this map, and must not be needed."""
    check(rng, (2, 8, 9, 2 * LANES + 5), BLOCK + LANES + 1, kernel, points, order=order)
    check(rng, (1, 8, 9, LANES + 1), LANES, kernel, points, order=order, step=LANES + 1)


@pytest.mark.parametrize("points", [4, 6])
@pytest.mark.parametrize(
    ("mode", "silu", "slope", "cap"),
    [
        (0, False, 0.0, np.inf), (0, True, 1.0, np.inf), (1, False, 0.1, 0.5), (2, True, 1.0, np.inf),
        (2, False, 0.0, 6.0),
    ],
)  # fmt: skip
def test_activations_and_shortcuts(points, mode, silu, slope, cap, rng):
    options = {"mode": mode, "silu": silu, "slope": slope, "cap": cap}
    check(rng, (1, 10, 9, LANES), 2 * LANES, (3, 3), points, **options)


def test_long_sums_go_in_several_passes(rng):
    check(rng, (1, 6, 6, 300), LANES, (3, 3), 4)


@pytest.mark.parametrize("room", [1, 60_000, 10**9])
@pytest.mark.parametrize(("kernel", "points"), [((3, 3), 4), ((7, 7), 7)])
def test_rounds_of_rows_and_of_pictures(kernel, points, room, rng, monkeypatch):
    monkeypatch.setattr(staged, "_ROOM", room)
    check(rng, (5, 18, 7, LANES), LANES, kernel, points)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_share_changes_no_bit(threads):
    results = [
        convolve(np.random.default_rng(3), (2, 17, 14, 2 * LANES), 3 * LANES, (7, 7), 7, threads=n)[0]
        for n in (2, threads)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.skipif(LANES != 16, reason="the rule counts vectors")
@pytest.mark.parametrize(
    ("shape", "ins", "kernel", "points"),
    [
        ((1, 46, 46, 128), 128, (7, 7), 7),
        ((1, 14, 14, 256), 256, (3, 3), 4),
        ((1, 26, 26, 256), 384, (3, 3), 6),
        ((1, 56, 56, 64), 64, (3, 3), 0),  # filters in the cache: `winograd` does better
        ((1, 4, 4, 128), 128, (3, 3), 0),  # nothing but filters
        ((1, 46, 46, 128), 3, (7, 7), 0),
        ((1, 46, 46, 128), 128, (1, 1), 0),
        ((1, 46, 46, 128), 128, (1, 7), 0),
    ],
)  # fmt: skip
def test_the_rule(shape, ins, kernel, points):
    assert staged.pays(Map(Buffer(*shape), shape[3]), ins, kernel) == points
