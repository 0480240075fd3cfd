"""What tests of narrow kernels share: numbers of narrow maps, and one convolution in a memory of its own."""

from dataclasses import dataclass

import numpy as np
import pytest

from visionkit.kernels import dot
from visionkit.kernels.jit import aligned
from visionkit.kernels.memory import Buffer, Map, Tables
from visionkit.kernels.memory import spaced as spaced_float
from visionkit.kernels.narrow import BFLOAT16, FLOAT32, INT8, grouped, spaced, to_bfloat16
from visionkit.kernels.narrow_conv import narrow_conv, narrow_conv_call, pack, packed_size, window

DTYPES = {FLOAT32: np.float32, BFLOAT16: np.uint16, INT8: np.int8}
NAMES = {FLOAT32: "float32", BFLOAT16: "bfloat16", INT8: "int8"}
#: A NaN in float32, and two in bfloat16: what nobody may read.
POISON = np.float32(np.uint32(0x7FC17FC1).view(np.float32))


def needs(kind: int) -> None:
    """Skip the test where the processor lacks what this kind needs."""
    if lacking := dot.missing(kind):
        pytest.skip(f"this processor cannot multiply {NAMES[kind]}: it lacks {lacking}")


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    """Numbers as bfloat16 has them, in float32."""
    return widened(to_bfloat16(x))


def numbers(place: Map, memory: np.ndarray) -> np.ndarray:
    """A map of any kind as a view of its own numbers, bfloat16 as uint16."""
    buffer = place.buffer
    flat = memory.view(DTYPES[buffer.kind])
    strides = (*(4 * n for n in (buffer.image, buffer.row, buffer.step)), flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat[place.origin * buffer.kind :], place.shape, strides)


def values(place: Map, memory: np.ndarray) -> np.ndarray:
    """A copy of a map's numbers as float32."""
    found = numbers(place, memory)
    return widened(found) if place.buffer.kind == BFLOAT16 else found.astype(np.float32)


def fill(place: Map, memory: np.ndarray, x: np.ndarray) -> None:
    """Write numbers into a map."""
    numbers(place, memory)[...] = to_bfloat16(x) if place.buffer.kind == BFLOAT16 else x


def plain(x: np.ndarray, weights: np.ndarray, stride: int, padding: int, dilation: int) -> np.ndarray:
    """Convolution (N, H, W, C) by its definition, in float64."""
    (n, h, w, _), (outs, _, kh, kw) = x.shape, weights.shape
    around = np.pad(x.astype(np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    high = (h + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    wide = (w + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    y = np.zeros((n, high, wide, outs))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation, i * dilation + (high - 1) * stride + 1, stride)
            columns = slice(j * dilation, j * dilation + (wide - 1) * stride + 1, stride)
            y += around[:, rows, columns] @ weights[:, :, i, j].T.astype(np.float64)
    return y


@dataclass
class Shape:
    """One convolution: pictures, channels, kernel, and where its input lies."""

    size: tuple[int, int, int] = (1, 9, 20)
    inputs: int = 24
    outputs: int = 33
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    picture: bool = False  # the input's pixels have 4 channels
    pooled: bool = False
    kind: int = BFLOAT16
    result: int = FLOAT32


class Laid:
    """A convolution in a memory of its own, every place that nobody owns poisoned."""

    def __init__(self, shape: Shape, x: np.ndarray, weights: np.ndarray, *, threads: int = 2, **rest) -> None:
        s, kind = shape, shape.kind
        padding = s.dilation * (s.kernel // 2)
        high, wide = ((side + s.stride - 1) // s.stride // (2 if s.pooled else 1) for side in s.size[1:])
        step = -(-s.inputs // 4) * 4 // kind if s.picture else spaced(s.inputs, kind)
        out_step = spaced_float(s.outputs) if s.result == FLOAT32 else spaced(s.outputs, s.result)
        self.x = Map(Buffer(*s.size, step, padding, kind=kind), s.inputs)
        self.y = Map(Buffer(s.size[0], high, wide, out_step, 1, kind=s.result), s.outputs)
        order = window(self.x, (s.kernel, s.kernel), (padding, padding), (s.dilation, s.dilation))
        sizes = (
            self.x.buffer.size, self.y.buffer.size, packed_size(order, s.outputs), grouped(s.outputs),
            grouped(s.outputs), threads * dot.SUMS, grouped(s.outputs), 16 * s.stride * step,
        )  # fmt: skip
        starts = np.cumsum([64, *(-(-size // 16) * 16 + 32 for size in sizes)]).tolist()
        self.x.buffer.base, self.y.buffer.base, at, self.scale, self.bias, scratch, self.extra, _, end = (
            starts
        )
        self.memory = aligned(end)
        self.memory[:] = POISON
        self.memory[starts[0] : starts[0] + self.x.buffer.n * self.x.buffer.image] = 0
        fill(self.x, self.memory, x)
        self.memory[at : at + sizes[2]] = pack(weights, order, kind)
        for place, value in ((self.scale, 1), (self.bias, 0), (self.extra, 0)):
            self.memory[place : place + sizes[3]] = value
        self.tables = Tables()
        self.call = narrow_conv_call(
            self.tables, self.x, self.y, window=order, stride=(s.stride, s.stride), weights=at,
            scale=self.scale, bias=self.bias, scratch=scratch, pooled=s.pooled, threads=threads,
            residual_scale=self.extra, **rest,
        )  # fmt: skip

    def run(self) -> np.ndarray:
        """The result, after a look at what was written elsewhere."""
        before, buffer = self.memory.view(np.uint32).copy(), self.y.buffer
        narrow_conv(self.memory, self.tables.array(), *self.call)
        changed = self.memory.view(np.uint32) != before
        own = np.zeros(changed.size, bool)
        places = np.lib.stride_tricks.as_strided(
            own[self.y.origin :], (*self.y.shape[:3], buffer.step), (buffer.image, buffer.row, buffer.step, 1)
        )
        places[...] = True
        own[self.call[0][27] : self.call[0][27] + 2 * dot.SUMS] = True
        assert not (changed & ~own).any()
        return values(self.y, self.memory)
