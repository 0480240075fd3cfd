"""The kernels of training in bfloat16, each against a slow emulation: rounded numbers, float64 sums."""

from dataclasses import dataclass

import numpy as np
import pytest

from tests.kernels.narrow_layers import POISON, fill, needs, plain, rounded, values
from tests.kernels.test_narrow_conv import takes
from visionkit.kernels import narrow_back, narrow_norm, narrow_pack, narrow_wgrad, norm
from visionkit.kernels.jit import Kernel, aligned
from visionkit.kernels.memory import Buffer, Call, Map, Tables
from visionkit.kernels.memory import spaced as spaced_float
from visionkit.kernels.narrow import BFLOAT16, FLOAT32, grouped, spaced
from visionkit.kernels.narrow_conv import pack, packed_size, taps_window, window


class Room:
    """A memory of its own, poisoned where nobody put numbers."""

    def __init__(self) -> None:
        self.end = 64
        self.maps: list[tuple[Map, np.ndarray]] = []
        self.vectors: list[tuple[int, np.ndarray]] = []

    def take(self, size: int) -> int:
        at, self.end = self.end, self.end + -(-size // 16) * 16 + 32
        return at

    def map(self, x: np.ndarray, halo: int = 0, kind: int = BFLOAT16, step: int = 0) -> Map:
        n, h, w, c = x.shape
        wide = spaced(c, kind) if kind != FLOAT32 else spaced_float(c)
        made = Map(Buffer(n, h, w, step or wide, halo, kind=kind), c)
        made.buffer.base = self.take(made.buffer.size + 64)
        self.maps.append((made, x))
        return made

    def vector(self, x: np.ndarray) -> int:
        at = self.take(x.size)
        self.vectors.append((at, x))
        return at

    def run(self, tables: Tables, *calls: tuple[Kernel, Call], W: np.ndarray | None = None) -> np.ndarray:
        """The memory after the calls; what lies between the maps is untouched."""
        memory = aligned(self.end + 256)
        memory[:] = POISON
        for place, x in self.maps:
            buffer = place.buffer
            memory[buffer.base : buffer.base + buffer.n * buffer.image] = 0
            fill(place, memory, x)
        for at, x in self.vectors:
            memory[at : at + x.size] = x
        for kernel, call in calls:
            kernel(memory, tables.array(), *([] if W is None else [W]), *call)
        return memory


@dataclass
class Shape:
    """One convolution."""

    size: tuple[int, int, int]
    inputs: int
    outputs: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    picture: bool = False

    @property
    def padding(self) -> tuple[int, int]:
        return self.dilation[0] * (self.kernel[0] // 2), self.dilation[1] * (self.kernel[1] // 2)

    @property
    def result(self) -> tuple[int, int, int]:
        sides = (
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, p, d, k, s in zip(
                self.size[1:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return (self.size[0], *sides)


SHAPES = {
    "1x1": Shape((1, 5, 7), 16, 16, (1, 1)),
    "odd channels": Shape((2, 9, 20), 24, 33),
    "several pictures a slab": Shape((7, 13, 13), 40, 70),
    "stride": Shape((2, 16, 18), 20, 24, stride=(2, 2)),
    "many slabs": Shape((2, 40, 50), 16, 32),
    "a wide row": Shape((1, 3, 900), 16, 16),
    "dilation": Shape((2, 11, 12), 16, 16, dilation=(2, 2)),
    "all uneven": Shape((2, 17, 19), 33, 17, (5, 3), (3, 2), (1, 2)),
    "linear": Shape((5, 1, 1), 37, 50, (1, 1)),
    "several blocks": Shape((2, 20, 21), 200, 150),
    "stride of a 1x1": Shape((2, 14, 15), 16, 20, (1, 1), (2, 2)),
    "picture": Shape((2, 18, 22), 3, 16, picture=True),
    "picture, stride": Shape((2, 18, 23), 3, 16, (7, 7), (2, 2), picture=True),
    "picture without a frame": Shape((2, 18, 23), 3, 16, (1, 1), picture=True),
    "picture, even kernel": Shape((3, 17, 24), 3, 16, (2, 4), picture=True),
    "picture, dilation": Shape((1, 18, 23), 3, 16, dilation=(2, 2), picture=True),
}


@pytest.fixture(params=["tiles", "vectors"])
def form(request, monkeypatch):
    """Both ways to multiply, where the processor has them."""
    takes(request.param, BFLOAT16)
    if request.param == "vectors":
        monkeypatch.setattr(narrow_wgrad, "form", lambda kind: "vectors")
    return request.param


def weight_gradient(s: Shape, x: np.ndarray, g: np.ndarray, threads: int = 2) -> np.ndarray:
    """(tap, in, out) by the kernel."""
    room, tables = Room(), Tables()
    x_map = room.map(x, max(s.padding), step=2 if s.picture else 0)
    g_map = room.map(g, 1)
    sizes = {"kernel": s.kernel, "stride": s.stride, "padding": s.padding, "dilation": s.dilation}
    scratch = room.take(narrow_wgrad.narrow_wgrad_scratch(x_map, g_map, **sizes, threads=threads))
    count = s.kernel[0] * s.kernel[1] * s.inputs * s.outputs
    at = room.take(count)
    call = narrow_wgrad.narrow_wgrad_call(
        tables, x_map, g_map, **sizes, scratch=scratch, gradient=at, columns=s.outputs,
        threads=threads,
    )  # fmt: skip
    memory = room.run(tables, (narrow_wgrad.narrow_wgrad, call))
    assert (memory[at + count : at + count + 16].view(np.uint32) == POISON.view(np.uint32)).all()
    return memory[at : at + count].reshape(-1, s.inputs, s.outputs)


@pytest.mark.parametrize("name", SHAPES)
def test_weight_gradient(name, form, rng):
    s = SHAPES[name]
    x = rounded(rng.standard_normal((*s.size, s.inputs), np.float32))
    g = rounded(rng.standard_normal((*s.result, s.outputs), np.float32))
    (top, left), (_, high, wide) = s.padding, s.result
    around = np.pad(x.astype(np.float64), ((0, 0), (top, top), (left, left), (0, 0)))
    wanted = []
    for i in range(s.kernel[0]):
        for j in range(s.kernel[1]):
            y, z = i * s.dilation[0], j * s.dilation[1]
            part = around[:, y : y + (high - 1) * s.stride[0] + 1 : s.stride[0],
                          z : z + (wide - 1) * s.stride[1] + 1 : s.stride[1]]  # fmt: skip
            wanted.append(np.tensordot(part, g.astype(np.float64), ((0, 1, 2), (0, 1, 2))))
    found = weight_gradient(s, x, g)
    assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()
    np.testing.assert_array_equal(weight_gradient(s, x, g, threads=1), found)


@pytest.mark.parametrize("inputs", [3, 16, 24, 40, 130])
@pytest.mark.parametrize("memory_order", ["OIHW", "HWIO"])
def test_weights_are_packed_as_numpy_packs_them(inputs, memory_order, rng):
    needs(BFLOAT16)
    for outputs in (5, 16, 40, 64):
        weights = rng.standard_normal((outputs, inputs, 3, 2), np.float32)
        flat = weights if memory_order == "OIHW" else np.ascontiguousarray(weights.transpose(2, 3, 1, 0))
        lying = weights if memory_order == "OIHW" else flat.transpose(3, 2, 0, 1)
        s_o, s_i, s_kh, s_kw = (stride // 4 for stride in lying.strides)
        turned = np.ascontiguousarray(weights.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
        cases = (
            (weights, inputs, (s_kh, s_kw, s_i), s_o, ([(0, -1), (1, 0), (2, 1)], [(0, 0), (1, 1)])),
            (turned, outputs, (s_kh, s_kw, s_o), s_i, ([(2, -1), (1, 0), (0, 1)], [(1, 0), (0, 1)])),
        )
        for as_given, channels, strides, apart, (rows, columns) in cases:
            step = 2 if channels == 3 else spaced(channels, BFLOAT16)
            x = Map(Buffer(1, 9, 9, step, 1, kind=BFLOAT16), channels)
            order = taps_window(x, rows, columns, 2)
            wanted = pack(as_given, window(x, (3, 2), (1, 0), (1, 1)), BFLOAT16)
            room, tables = Room(), Tables()
            at = room.vector(np.zeros(packed_size(order, len(as_given)), np.float32))
            call = narrow_pack.pack_call(
                tables, order, channels=channels, kw=2, start=0, strides=strides, apart=apart, target=at,
                outs=len(as_given),
            )  # fmt: skip
            memory = room.run(tables, (narrow_pack.pack_narrow, call), W=flat.reshape(-1))
            found = memory[at : at + wanted.size]
            np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


def test_a_part_of_a_map_is_convolved(rng):
    """Every second row and third column of y, and added to it."""
    needs(BFLOAT16)
    from visionkit.kernels import dot
    from visionkit.kernels.narrow_conv import narrow_conv, narrow_conv_call

    x, before = (rounded(rng.standard_normal(s, np.float32)) for s in ((2, 5, 6, 24), (2, 9, 16, 20)))
    weights = rounded(rng.standard_normal((20, 24, 3, 3), np.float32))
    room, tables = Room(), Tables()
    x_map, y_map = room.map(x, 1), room.map(before, 1)
    order = window(x_map, (3, 3), (1, 1), (1, 1))
    at, scratch = room.vector(pack(weights, order, BFLOAT16)), room.take(2 * dot.SUMS)
    bias = room.vector(np.arange(32, dtype=np.float32))
    call = narrow_conv_call(
        tables, x_map, y_map, window=order, stride=(1, 1), weights=at, scale=None, bias=bias, threads=2,
        scratch=scratch, residual=y_map, residual_mode=1,
        part=(slice(0, 9, 2), slice(0, 16, 3)),
    )  # fmt: skip
    found = values(y_map, room.run(tables, (narrow_conv, call)))
    wanted = before.astype(np.float64)
    wanted[:, ::2, ::3] += plain(x, weights, 1, 1, 1) + np.arange(20)
    np.testing.assert_allclose(found, wanted, rtol=2**-8, atol=1e-5)
    wanted[:, ::2, ::3] = found[:, ::2, ::3]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("channels", [5, 48])
def test_batch_norm(channels, mode, silu, rng):
    needs(BFLOAT16)
    x, shortcut, g, before = (
        rounded(rng.normal(1, 2, (3, 7, 11, channels)).astype(np.float32)) for _ in "xrgt"
    )
    gamma, beta, mean, variance = (rng.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4))
    wide, room, tables = grouped(channels), Room(), Tables()
    x_map, r_map, g_map, t_map = (room.map(one, i % 2) for i, one in enumerate((x, shortcut, g, before)))
    y_map = room.map(np.zeros_like(x), 1)
    kept, factors = room.take(norm.KEPT * wide), room.take(3 * wide)
    d_gamma, d_beta = room.take(wide), room.take(wide)
    at = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    places = {name: room.vector(one) for name, one in at.items()}
    scratch = room.take(norm.norm_scratch(x_map))
    slope, form = 0.1, {"slope": 0.1, "cap": np.inf, "silu": silu, "kept": kept}
    memory = room.run(
        tables,
        (narrow_norm.narrow_statistics, norm.statistics_call(
            x_map, kept=kept, scratch=scratch, epsilon=1e-3, momentum=0.1, **places
        )),
        (narrow_norm.narrow_normalise, norm.normalise_call(
            x_map, y_map, residual=r_map if mode else None, residual_mode=mode, **form
        )),
        (narrow_norm.narrow_sums, norm.sums_call(
            x_map, g_map, scratch=scratch, d_gamma=d_gamma, d_beta=d_beta, factors=factors, frozen=False,
            **form,
        )),
        (narrow_norm.narrow_gradient, norm.gradient_call(
            x_map, g_map, t_map, factors=factors, add=True, **form
        )),
    )  # fmt: skip
    x, shortcut, g, before = (one.astype(np.float64) for one in (x, shortcut, g, before))
    axes, count = (0, 1, 2), 3 * 7 * 11
    inverse = 1 / np.sqrt(x.var(axes) + 1e-3)
    normal = (x - x.mean(axes)) * inverse
    v = normal * gamma + beta + (shortcut if mode == 1 else 0)
    sigmoid = 1 / (1 + np.exp(-v))
    y = v * sigmoid if silu else np.maximum(v, slope * v)
    np.testing.assert_allclose(
        values(y_map, memory), y + (shortcut if mode == 2 else 0), rtol=2**-8, atol=1e-5
    )
    for name, moved in (("mean", x.mean(axes)), ("variance", x.var(axes) * count / (count - 1))):
        found = memory[places[name] : places[name] + channels]
        np.testing.assert_allclose(found, 0.9 * at[name] + 0.1 * moved, rtol=1e-6, atol=1e-6)
    if mode == 1:
        return  # backward, a sum in front of an activation is a node of its own
    d = g * (sigmoid + v * sigmoid * (1 - sigmoid) if silu else np.where(v > 0, 1, slope))
    found = [memory[at : at + channels] for at in (d_gamma, d_beta)]
    np.testing.assert_allclose(found[0], (d * normal).sum(axes), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found[1], d.sum(axes), rtol=1e-5, atol=1e-4)
    dx = gamma * inverse * (d - d.mean(axes) - normal * (d * normal).mean(axes))
    np.testing.assert_allclose(values(t_map, memory), before + dx, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    "sizes", [((2, 2), (2, 2), (0, 0)), ((3, 3), (3, 4), (1, 1)), ((1, 2), (2, 3), (0, 0))]
)
def test_pool_gradient(sizes, add, rng):
    needs(BFLOAT16)
    kernel, stride, padding = sizes
    x = rounded(rng.integers(-3, 4, (2, 13, 15, 20)).astype(np.float32))  # with ties
    high, wide = (
        (side + 2 * p - k) // s + 1 for side, p, k, s in zip((13, 15), padding, kernel, stride, strict=True)
    )
    y, before = np.zeros((2, high, wide, 20), np.float32), rounded(rng.standard_normal(x.shape, np.float32))
    g = rounded(rng.standard_normal(y.shape, np.float32))
    wanted = before.astype(np.float64) if add else np.zeros(x.shape)
    for n, i, j, c in np.ndindex(y.shape):
        top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
        window_ = x[n, max(0, top) : top + kernel[0], max(0, left) : left + kernel[1], c]
        y[n, i, j, c] = window_.max()
        a, b = np.unravel_index(np.argmax(window_), window_.shape)
        wanted[n, max(0, top) + a, max(0, left) + b, c] += g[n, i, j, c]
    room = Room()
    maps = [room.map(one, 1) for one in (x, y, g, before)]
    call = narrow_back.pool_gradient_call(*maps, kernel, stride, padding, add)
    memory = room.run(Tables(), (narrow_back.narrow_pool_gradient, call))
    np.testing.assert_array_equal(values(maps[3], memory), rounded(wanted.astype(np.float32)))


@pytest.mark.parametrize("add", [False, True])
def test_upsample_gradient(add, rng):
    needs(BFLOAT16)
    g, before = (rounded(rng.standard_normal(s, np.float32)) for s in ((2, 8, 10, 20), (2, 4, 5, 20)))
    wanted = g.reshape(2, 4, 2, 5, 2, 20).sum((2, 4), dtype=np.float64) + (before if add else 0)
    room = Room()
    maps = [room.map(one, 1) for one in (g, before)]
    call = narrow_back.upsample_gradient_call(*maps, 2, add)
    memory = room.run(Tables(), (narrow_back.narrow_upsample_gradient, call))
    np.testing.assert_allclose(values(maps[1], memory), wanted, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("kinds", [(FLOAT32, BFLOAT16), (BFLOAT16, FLOAT32), (BFLOAT16, BFLOAT16)])
@pytest.mark.parametrize("add", [False, True])
def test_combine(kinds, add, rng):
    needs(BFLOAT16)
    x, y = (rng.standard_normal((2, 4, 5, 21), np.float32) for _ in range(2))
    x, y = (rounded(one) if kind == BFLOAT16 else one for one, kind in zip((x, y), kinds, strict=True))
    room = Room()
    x_map, y_map = (room.map(one, 1, kind) for one, kind in zip((x, y), kinds, strict=True))
    memory = room.run(Tables(), (narrow_back.narrow_combine, narrow_back.combine_call(x_map, y_map, add)))
    wanted = x + y if add else x
    np.testing.assert_array_equal(values(y_map, memory), rounded(wanted) if kinds[1] == BFLOAT16 else wanted)
