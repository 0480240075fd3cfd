"""Numbers of 16 and 8 bits: rounding, moving, pooling, pictures, depthwise convolution."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.narrow_layers import POISON, fill, numbers, plain, rounded, values
from visionkit.kernels.jit import LANES, aligned, serial
from visionkit.kernels.memory import Buffer, Map, call
from visionkit.kernels.memory import spaced as spaced_float
from visionkit.kernels.narrow import (
    BFLOAT16,
    FLOAT32,
    INT8,
    get,
    grouped,
    move,
    move_call,
    narrow_max_pool,
    narrow_pool_call,
    put,
    spaced,
    take_narrow_picture,
    to_bfloat16,
)
from visionkit.kernels.narrow_depthwise import depthwise_weights, narrow_depthwise, narrow_depthwise_call

NO_TABLES = np.zeros(1, np.int32)
KINDS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "int8": INT8}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@serial
def _there_and_back(F, G, kind, count):
    for i in range(0, count, LANES):
        put(F, i, kind, get(G, i, 1))
        put(G, i, 1, get(F, i, kind))


def through(x: np.ndarray, kind: int) -> np.ndarray:
    """Numbers written as a kind and read again."""
    whole = np.zeros(-(-x.size // LANES) * LANES, np.float32)
    whole[: x.size] = x
    _there_and_back(np.zeros(whole.size, np.float32), whole, kind, whole.size)
    return whole[: x.size]


def by_value(x: np.ndarray) -> np.ndarray:
    """The nearest of the two bfloat16 neighbours, the even one in between: by distances, not by bits."""
    low = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
    high = ((x.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    below, above = np.abs(x.astype(np.float64) - low), np.abs(high.astype(np.float64) - x)
    odd = (low.view(np.uint32) >> 16) & 1 == 1
    return np.where((above < below) | ((above == below) & odd), high, low)


def test_bfloat16_is_the_nearest(rng):
    x = (rng.standard_normal(4096) * 10.0 ** rng.integers(-30, 30, 4096)).astype(np.float32)
    halfway = (x[:512].view(np.uint32) & 0xFFFF0000 | 0x8000).view(np.float32)
    x = np.concatenate([x, halfway])
    wanted = np.concatenate([by_value(x), [0, -0.0, 1, np.inf, -np.inf]])
    x = np.concatenate([x, wanted[-5:]]).astype(np.float32)
    np.testing.assert_array_equal(rounded(x), wanted)
    np.testing.assert_array_equal(through(x, BFLOAT16), wanted)
    worst = np.array([0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(through(worst, BFLOAT16)).all()
    assert np.isnan(rounded(worst)).all()


def test_int8_is_the_nearest_within_its_range():
    x = np.array([0, 0.5, 1.5, -2.5, 126.49, 127.5, 1e9, -1e9, -128, np.inf, -np.inf, np.nan], np.float32)
    wanted = [0, 0, 2, -2, 126, 127, 127, -127, -127, 127, -127, -127]
    np.testing.assert_array_equal(through(x, INT8), wanted)


def laid(*maps: Map) -> np.ndarray:
    """A poisoned memory with these maps, and room for 64 numbers at its beginning."""
    end = 64
    for one in maps:
        one.buffer.base = end
        end += -(-one.buffer.size // 16) * 16
    memory = aligned(end + 64)
    memory[64:] = POISON
    return memory


def a_map(n: int, h: int, w: int, c: int, kind: int, halo: int = 0) -> Map:
    return Map(Buffer(n, h, w, spaced_float(c) if kind == FLOAT32 else spaced(c, kind), halo, kind=kind), c)


@kinds
@pytest.mark.parametrize("source", KINDS.values(), ids=[f"from {name}" for name in KINDS])
@pytest.mark.parametrize(("channels", "repeat"), [(5, 1), (16, 2), (40, 1), (35, 3)])
def test_moving(kind, source, channels, repeat, rng):
    x, y = a_map(2, 3, 5, channels, source, 1), a_map(2, 3 * repeat, 5 * repeat, channels, kind, 1)
    memory = laid(x, y)
    numbers_in = rng.integers(-90, 90, x.shape).astype(np.float32)
    fill(x, memory, numbers_in)
    factors = rng.choice([0.5, 1.0, 2.0], channels).astype(np.float32)
    memory[:channels], memory[channels:64] = factors, 0
    move(memory, NO_TABLES, *move_call(x, y, 0, repeat))
    wanted = (numbers_in * factors).repeat(repeat, axis=1).repeat(repeat, axis=2)
    wanted = {FLOAT32: wanted, BFLOAT16: rounded(wanted), INT8: np.rint(wanted).clip(-127, 127)}[kind]
    np.testing.assert_array_equal(values(y, memory), wanted)
    wide = spaced_float(channels) if kind == FLOAT32 else grouped(channels)
    assert not numbers(Map(y.buffer, wide), memory)[..., channels:].any()


@pytest.mark.parametrize("kind", [BFLOAT16, INT8], ids=["bfloat16", "int8"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((2, 2), (2, 2), (0, 0)), ((5, 3), (1, 2), (2, 1))]
)
def test_max_pool(kind, kernel, stride, padding, rng):
    x = a_map(2, 9, 11, 35, kind)
    high, wide = (
        (s + 2 * p - k) // t + 1 for s, p, k, t in zip((9, 11), padding, kernel, stride, strict=True)
    )
    y = a_map(2, high, wide, 35, kind, 1)
    memory = laid(x, y)
    given = rng.integers(-127, 128, x.shape).astype(np.float32)
    fill(Map(x.buffer, grouped(35)), memory, np.zeros((2, 9, 11, grouped(35))))
    fill(x, memory, given)
    narrow_max_pool(memory, NO_TABLES, *narrow_pool_call(x, y, kernel, stride, padding))
    around = np.full((2, 9 + 2 * padding[0], 11 + 2 * padding[1], 35), -np.inf)
    around[:, padding[0] : padding[0] + 9, padding[1] : padding[1] + 11] = given
    for i in range(high):
        for j in range(wide):
            top, left = i * stride[0], j * stride[1]
            best = around[:, top : top + kernel[0], left : left + kernel[1]].max(axis=(1, 2))
            np.testing.assert_array_equal(values(y, memory)[:, i, j], best)


def test_max_pool_hands_nan_on():
    x, y = a_map(1, 2, 2, 16, BFLOAT16), a_map(1, 1, 1, 16, BFLOAT16)
    memory = laid(x, y)
    fill(x, memory, np.where(np.arange(64).reshape(1, 2, 2, 16) % 5 == 0, np.nan, 1.0))
    narrow_max_pool(memory, NO_TABLES, *narrow_pool_call(x, y, (2, 2), (2, 2), (0, 0)))
    wanted = np.isnan(values(x, memory)).any(axis=(1, 2))
    np.testing.assert_array_equal(np.isnan(values(y, memory))[:, 0, 0], wanted)


@kinds
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("width", "channels"), [(8, 3), (9, 3), (3, 3), (6, 1), (5, 4), (4, 6)])
def test_pictures(kind, dtype, width, channels, rng):
    pictures = rng.integers(0, 256, (2, 3, width, channels)).astype(dtype)
    wide = -(-channels // 4) * 4
    y = Map(Buffer(2, 3, width, wide // kind, 1, kind=kind), channels)
    memory = laid(y)
    integers = call((*y.place, kind, wide))[0]
    scaling = np.array((100, 0.75), np.float32)
    take_narrow_picture(memory, NO_TABLES, integers, scaling, pictures)
    wanted = (pictures.astype(np.float32) - 100) * np.float32(0.75)
    wanted = {FLOAT32: wanted, BFLOAT16: rounded(wanted), INT8: np.rint(wanted).clip(-127, 127)}[kind]
    np.testing.assert_array_equal(values(y, memory), wanted)
    assert not numbers(Map(y.buffer, wide), memory)[..., channels:].any()
    outside = memory.view(np.uint32)[y.buffer.base : y.buffer.base + y.buffer.row]
    assert (outside == POISON.view(np.uint32)).all(), "the halo is nobody's"


@pytest.mark.parametrize("kind", [BFLOAT16, INT8], ids=["bfloat16", "int8"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (2, 3, 0, 1), (7, 1, 5, 1)],
)
@pytest.mark.parametrize("size", [(9, 11), (7, 7), (4, 3)])
def test_depthwise(kind, kernel, stride, padding, dilation, size, rng):
    if min(size) + 2 * padding < dilation * (kernel - 1) + 1:
        pytest.skip("the window is larger than the picture")
    x = a_map(2, *size, 35, kind)
    given = rng.integers(-9, 10, x.shape).astype(np.float32)
    weights = rng.integers(-5, 6, (35, 1, kernel, kernel)).astype(np.float32)
    one_by_one = np.zeros((35, 35, kernel, kernel), np.float32)
    one_by_one[np.arange(35), np.arange(35)] = weights[:, 0]
    wanted = np.maximum(plain(given, one_by_one, stride, padding, dilation), 0) * 0.25
    y = a_map(*wanted.shape, kind)
    memory = laid(x, y)
    fill(Map(x.buffer, grouped(35)), memory, np.zeros((*x.shape[:3], grouped(35))))
    fill(x, memory, given)
    packed = depthwise_weights(weights)
    end = memory.size
    memory = np.concatenate([memory, packed, np.zeros(grouped(35), np.float32)])
    narrow_depthwise(memory, NO_TABLES, *narrow_depthwise_call(
        x, y, kernel=(kernel, kernel), stride=(stride, stride), padding=(padding, padding),
        dilation=(dilation, dilation), weights=end, bias=end + packed.size, slope=0.0, factor=0.25,
    ))  # fmt: skip
    wanted = rounded(wanted.astype(np.float32)) if kind == BFLOAT16 else np.rint(wanted).clip(-127, 127)
    np.testing.assert_array_equal(values(y, memory), wanted)


def test_kernels_are_linked_with_what_an_earlier_process_has_kept(tmp_path):
    """`put` names an instruction; a process that only links it must be able to read that, too."""
    program = """
import numpy as np
from visionkit.kernels import narrow
from visionkit.kernels.memory import Buffer, Map
x = Map(Buffer(1, 2, 2, 8, base=16, kind=2), 16)
y = Map(Buffer(1, 2, 2, 8, base=64, kind=2), 16)
call = {call}
narrow.{kernel}(np.ones(128, np.float32), np.zeros(1, np.int32), *call)
"""
    for kernel, given in (
        ("move", "narrow.move_call(x, y, 0)"),
        ("narrow_max_pool", "narrow.narrow_pool_call(x, y, (1, 1), (1, 1), (0, 0))"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program.format(kernel=kernel, call=given)],
            env=os.environ | {"VISIONKIT_CACHE": str(tmp_path)}, cwd=Path(__file__).parents[2],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]


def test_bfloat16_of_any_array_order(rng):
    x = rng.standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_array_equal(to_bfloat16(x.T), to_bfloat16(x).T)
