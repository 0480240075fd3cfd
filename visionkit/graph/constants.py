"""Weights, biases and statistics on their way into a plan's memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..errors import TraceError
from ..kernels import conv, narrow_pack, staged, winograd
from ..kernels.jit import Kernel
from ..kernels.memory import Call, Tables, call, padded
from ..kernels.narrow_conv import Window, packed_size
from ..tensor import Tensor
from .geometry import Pair, constant, weight_strides
from .memory import rounded
from .trace import Value


@dataclass
class Pack:
    """Weights of one tensor copied into kernel order: before every training step, once for inference."""

    kernel: Kernel
    tensor: Tensor
    call: Call


@dataclass
class Vector:
    """A bias or a statistic, copied into memory before a run, back afterwards where the run changes it."""

    tensor: Tensor
    at: int
    changes: bool = False


class Constants:
    """What a plan keeps for as long as it lives, each in the order that its kernel reads.

    Attributes:
        tables: offsets, see `Tables`.
        packs: the weights to copy; vectors: the small ones, by tensor.
        reserved: numbers taken so far, from the beginning of the memory.
    """

    def __init__(self) -> None:
        self.tables = Tables()
        self.packs: list[Pack] = []
        self.vectors: dict[int, Vector] = {}
        self.reserved = 0
        self._packed: dict[tuple[int, ...], int] = {}

    def packs_by_tensor(self) -> Iterator[tuple[Tensor, list[Pack]]]:
        """The packs of every tensor, the largest first: its folded weights are the most held beside it."""
        ordered = sorted(self.packs, key=lambda pack: (-pack.tensor.size, id(pack.tensor)))
        for _, same in groupby(ordered, key=lambda pack: id(pack.tensor)):
            packs = list(same)
            yield packs[0].tensor, packs

    def reserve(self, size: int) -> int:
        """A place for `size` numbers that lasts as long as the plan."""
        at = self.reserved
        self.reserved += rounded(size)
        return at

    def vector(self, value: Value, changes: bool = False) -> int:
        """The place of a constant vector, padded with zeros."""
        tensor = constant(value)
        if id(tensor) not in self.vectors:
            self.vectors[id(tensor)] = Vector(tensor, self.reserve(padded(tensor.size)))
        vector = self.vectors[id(tensor)]
        vector.changes |= changes
        return vector.at

    def forward(self, tensor: Tensor, start: int, outs: int, taps: int, length: int) -> int:
        """Packed weights of output channels start .. start + outs, made once per tensor and form."""
        key = (id(tensor), start, outs, taps, length, 0)
        if key not in self._packed:
            at = self._packed[key] = self.reserve(conv.packed_size(taps, length, outs))
            strides = weight_strides(tensor)
            kw, inputs = tensor.shape[3], tensor.shape[1]
            integers = (start * strides[3], *strides, kw, inputs, at, taps, length)
            shape = (conv.depth_of(taps, length), outs, padded(outs))
            self.packs.append(Pack(conv.pack, tensor, call((*integers, *shape))))
        return self._packed[key]

    def backward(self, tensor: Tensor, start: int, length: int, chosen: tuple[int, ...]) -> int:
        """Packed weights of the data gradient over output channels start .. start + length."""
        key = (id(tensor), start, length, *chosen, -1)
        if key not in self._packed:
            outs, taps = tensor.shape[1], len(chosen)
            at = self._packed[key] = self.reserve(conv.packed_size(taps, length, outs))
            strides = weight_strides(tensor)
            table = self.tables.add(np.array(chosen, np.int32))
            integers = (start * strides[3], *strides, tensor.shape[3], at, table, taps, length)
            shape = (conv.depth_of(taps, length), outs, padded(outs))
            self.packs.append(Pack(conv.pack_transposed, tensor, call((*integers, *shape))))
        return self._packed[key]

    def depthwise(self, tensor: Tensor, turned: bool = False) -> int:
        """Depthwise weights as (tap, channel), or with the last tap first."""
        key = (id(tensor), int(turned), -2)
        if key not in self._packed:
            c, _, kh, kw = tensor.shape
            at = self._packed[key] = self.reserve(kh * kw * padded(c))
            s_kh, s_kw, _, s_o = weight_strides(tensor)
            # The stride of an axis of size 1 says nothing.
            step = s_kw if kw > 1 else s_kh
            if kh > 1 and kw > 1 and s_kh != kw * s_kw:
                raise TraceError("depthwise weights must lie in memory as (KH, KW, 1, C) or (C, 1, KH, KW)")
            start, step = ((kh * kw - 1) * step, -step) if turned else (0, step)
            integers = (start, step, s_o, at, kh * kw, c, padded(c))
            self.packs.append(Pack(conv.pack_rows, tensor, call(integers)))
        return self._packed[key]

    def narrow(
        self, tensor: Tensor, window: Window, channels: int, kw: int, strides: tuple[int, int, int],
        apart: int, outs: int,
    ) -> int:  # fmt: skip
        """bfloat16 weights of a sum over `channels` channels, in the order of `window`; see `pack_call`."""
        key = (id(tensor), channels, *strides, apart, *window.source.ravel().tolist(), -6)
        if key not in self._packed:
            at = self._packed[key] = self.reserve(packed_size(window, outs))
            self.packs.append(Pack(narrow_pack.pack_narrow, tensor, narrow_pack.pack_call(
                self.tables, window, channels=channels, kw=kw, start=0, strides=strides, apart=apart,
                target=at, outs=outs,
            )))  # fmt: skip
        return self._packed[key]

    def zeros(self, size: int) -> int:
        """A place of zeros, for layers without a bias."""
        key = (-3, padded(size))
        if key not in self._packed:
            self._packed[key] = self.reserve(padded(size))
        return self._packed[key]

    def winograd(self, tensor: Tensor, strides: tuple[int, ...], ins: int, outs: int) -> int:
        """Winograd's form of 3x3 filters; `strides` are their start and (KH, KW, in, out) steps."""
        key = (id(tensor), *strides, -4)
        if key not in self._packed:
            at = self._packed[key] = self.reserve(winograd.filter_size(ins, outs))
            self.packs.append(
                Pack(winograd.pack_winograd, tensor, winograd.pack_call(strides, at, ins, outs))
            )
        return self._packed[key]

    def staged(
        self, tensor: Tensor, strides: tuple[int, ...], kernel: Pair, points: int, ins: int, outs: int
    ) -> int:
        """Filters as `staged` reads them; `strides` are their start and (KH, KW, in, out) steps."""
        key = (id(tensor), *strides, points, -5)
        if key not in self._packed:
            at = self._packed[key] = self.reserve(staged.filter_size(points, kernel, ins, outs))
            sizes = staged.pack_call(strides, kernel, points, at, ins, outs)
            self.packs.append(Pack(staged.pack_staged, tensor, sizes))
        return self._packed[key]
