"""Narrow convolution against its definition: exact for int8, to float32's rounding for bfloat16."""

from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.narrow_layers import Laid, Shape, fill, needs, numbers, plain, rounded, values
from visionkit.kernels import narrow_conv
from visionkit.kernels.memory import Buffer, Map
from visionkit.kernels.narrow import BFLOAT16, FLOAT32, INT8, spaced
from visionkit.kernels.narrow_conv import tiles, window

SHAPES = {
    "channels of every remainder": Shape(inputs=24, outputs=33),
    "fewer than a group": Shape(inputs=5, outputs=3),
    "a tile of channels": Shape(inputs=64, outputs=16),
    "last step begins earlier": Shape((1, 12, 20), inputs=144, outputs=24, kernel=1),
    "merged rows of two steps": Shape((1, 26, 26), inputs=48, outputs=64),
    "picture": Shape((2, 14, 30), inputs=3, outputs=16, picture=True),
    "picture, stride": Shape((1, 14, 30), inputs=3, outputs=32, stride=2, picture=True),
    "small maps, taken flat": Shape((3, 7, 7), inputs=20, outputs=40, kernel=5),
    "one pixel": Shape((5, 1, 1), inputs=90, outputs=70, kernel=1),
    "stride": Shape((1, 17, 33), inputs=16, outputs=32, stride=2),
    "dilation": Shape((1, 16, 19), inputs=16, outputs=32, dilation=2),
    "a kilobyte apart": Shape((1, 5, 6), inputs=1024, outputs=32),
    "many blocks, many chunks": Shape((2, 40, 41), inputs=256, outputs=256),
    "pooled": Shape((2, 9, 36), inputs=16, outputs=40, pooled=True),
    "pooled picture": Shape((1, 32, 32), inputs=3, outputs=16, picture=True, pooled=True),
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", [BFLOAT16, INT8], ids=["bfloat16", "int8"])


@pytest.fixture(params=["tiles", "vectors"])
def form(request, monkeypatch):
    """Both ways to multiply, where the processor has them."""
    if request.param == "vectors":
        monkeypatch.setattr(narrow_conv, "form", lambda kind: "vectors")
    return request.param


def takes(form: str, kind: int) -> None:
    """Skip what this processor lacks."""
    needs(kind)
    has = {"tiles": narrow_conv.dot.has_tiles, "vectors": narrow_conv.dot.has_vectors}[form]
    if not has(kind) or (form == "tiles" and not narrow_conv.dot.tiles_allowed()):
        pytest.skip(f"this processor has no {form} of such numbers")


def given(shape: Shape, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Input and weights that the kind holds without rounding."""
    x = rng.standard_normal((*shape.size, shape.inputs), np.float32)
    weights = rng.standard_normal((shape.outputs, shape.inputs, shape.kernel, shape.kernel), np.float32)
    if shape.kind == INT8:
        return tuple(np.rint(one * 50).clip(-127, 127).astype(np.float32) for one in (x, weights))
    return rounded(x), rounded(weights)


def exact(shape: Shape, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    y = plain(x, weights, shape.stride, shape.dilation * (shape.kernel // 2), shape.dilation)
    if shape.pooled:
        n, h, w, c = y.shape
        y = y[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
    return y


@KINDS
@pytest.mark.parametrize("name", SHAPES)
def test_convolution(name, kind, form, rng):
    takes(form, kind)
    shape = replace(SHAPES[name], kind=kind)
    x, weights = given(shape, rng)
    found, wanted = Laid(shape, x, weights).run(), exact(shape, x, weights)
    if kind == INT8:
        assert np.abs(wanted).max() < 2**24
        np.testing.assert_array_equal(found, wanted)
    else:
        assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()


@KINDS
@pytest.mark.parametrize("result", [BFLOAT16, INT8], ids=["to bfloat16", "to int8"])
def test_results_are_rounded_once(result, kind, form, rng):
    """Scale, bias, residual, activation and factor are powers of two and integers: nothing else rounds."""
    takes(form, kind)
    shape = Shape((1, 8, 18), 8, 20, kind=kind, result=result)
    x = rng.integers(-3, 4, (*shape.size, 8)).astype(np.float32)
    weights = rng.integers(-3, 4, (20, 8, 3, 3)).astype(np.float32)
    scale, bias = 2.0 ** rng.integers(-2, 3, 20), rng.integers(-9, 10, 20)
    for mode, slope, cap in ((0, 1.0, np.inf), (1, 0.0, 6.0), (2, 0.25, np.inf)):
        shortcut = Map(Buffer(*shape.size, spaced(20, INT8), kind=INT8), 20)
        laid = Laid(
            shape, x, weights, slope=slope, cap=cap, factor=0.25,
            residual=shortcut if mode else None, residual_mode=mode,
        )  # fmt: skip
        memory = laid.memory
        shortcut.buffer.base = memory.size
        laid.memory = memory = np.concatenate([memory, np.zeros(shortcut.buffer.size, np.float32)])
        added = rng.integers(-5, 6, shortcut.shape)
        fill(shortcut, memory, added)
        laid.call[0][15] = shortcut.origin if mode else laid.y.origin
        memory[laid.scale : laid.scale + 20], memory[laid.bias : laid.bias + 20] = scale, bias
        memory[laid.extra : laid.extra + 20] = 0.5
        wanted = exact(shape, x, weights) * scale + bias
        wanted = wanted + 0.5 * added if mode == 1 else wanted
        wanted = np.minimum(np.maximum(wanted, slope * wanted), cap)
        wanted = (wanted + 0.5 * added if mode == 2 else wanted) * 0.25
        wanted = wanted.astype(np.float32)
        wanted = rounded(wanted) if result == BFLOAT16 else np.rint(wanted).clip(-127, 127)
        np.testing.assert_array_equal(laid.run(), wanted)
        spare = Map(laid.y.buffer, 32)
        assert not numbers(spare, memory)[..., 20:].any(), "spare channels are zero"


@KINDS
def test_threads_do_not_change_bits(kind, form, rng):
    takes(form, kind)
    shape = Shape((2, 21, 37), 40, 70, kind=kind)
    x, weights = given(shape, rng)
    one, two = (Laid(shape, x, weights, threads=threads).run() for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@KINDS
def test_silu(kind, form, rng):
    takes(form, kind)
    shape = Shape((1, 6, 6), 16, 16, 1, kind=kind)
    x, weights = given(shape, rng)
    wanted = exact(shape, x, weights)
    laid = Laid(shape, x, weights, silu=True)
    size = 4 / np.abs(wanted).max()
    laid.memory[laid.scale : laid.scale + 16] = size
    wanted = wanted * size / (1 + np.exp(-wanted * size))
    np.testing.assert_allclose(laid.run(), wanted, rtol=0, atol=1e-5)


def test_no_step_reads_beyond_its_channels(rng):
    """Every number of every step has its own weight, or none; all weights are there."""
    for _ in range(200):
        kind = int(rng.choice([BFLOAT16, INT8]))
        inputs, kernel = int(rng.integers(1, 300)), (int(rng.integers(1, 6)), int(rng.integers(1, 8)))
        picture = inputs < 9 and rng.random() < 0.5
        step = -(-inputs // 4) * 4 // kind if picture else spaced(inputs, kind)
        x = Map(Buffer(1, 20, 20, step, 3, kind=kind), inputs)
        dilation = int(rng.integers(1, 3))
        order = window(x, kernel, (1, 2), (dilation, dilation))
        assert order.places <= 16
        assert order.source.shape == (len(order.offsets), order.places, kind)
        used = order.source[order.source >= 0]
        assert sorted(used) == list(range(kernel[0] * kernel[1] * inputs))
        # Where a number lies says which weight it must have.
        at = order.offsets[:, None].astype(np.int64) + np.arange(order.places)
        at = at + x.buffer.row + 2 * x.buffer.step
        row, rest = np.divmod(at, dilation * x.buffer.row)
        column, place = np.divmod(rest, dilation * x.buffer.step if dilation > 1 else x.buffer.step)
        channel = place[..., None] * kind + np.arange(kind)
        assert (channel < -(-inputs // 4) * 4).all()
        mine = (row * kernel[1] + column)[..., None] * inputs + channel
        np.testing.assert_array_equal(np.where(order.source < 0, -1, mine), order.source)


@pytest.mark.parametrize("stride", [1, 2])
def test_tiles_cover_every_pixel_once(stride, rng):
    for _ in range(60):
        n, h, w = (int(v) for v in rng.integers(1, (4, 20, 50)))
        halo = int(rng.integers(0, 3))
        x = Map(Buffer(n, h * stride, w * stride, 8, halo), 16)
        y = Map(Buffer(n, h, w, 8), 16)
        begins, pixels = tiles(x, y.shape[:3], (stride, stride), False)
        assert sorted(pixels[pixels >= 0]) == list(range(n * h * w))
        tile, row = np.nonzero(pixels >= 0)
        image, rest = np.divmod(pixels[tile, row], h * w)
        wanted = image * x.buffer.image + stride * (rest // w * x.buffer.row + rest % w * 8)
        np.testing.assert_array_equal(begins[tile] + row * 8 * stride, wanted)
        assert len(begins) <= n * h * -(-w // 16)


def test_float_results_keep_their_spare_channels_zero(form, rng):
    takes(form, BFLOAT16)
    shape = Shape((1, 4, 5), 16, 20)
    laid = Laid(shape, *given(shape, rng))
    laid.run()
    assert shape.result == FLOAT32
    assert not values(Map(laid.y.buffer, laid.y.buffer.step), laid.memory)[..., 20:].any()
