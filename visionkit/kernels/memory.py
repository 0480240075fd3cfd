"""Where a kernel finds its numbers: buffers with a zero halo, maps inside them, tables of offsets.

Every kernel has the same four arguments: ``F`` one float32 memory that holds all maps and packed
weights, ``I`` one int32 memory of tables, ``p`` the call's integers and ``s`` its float32 scalars.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .jit import LANES

Call = tuple[NDArray[np.int64], NDArray[np.float32]]


def padded(channels: int) -> int:
    """`channels` rounded up to whole vectors."""
    return -(-channels // LANES) * LANES


def spaced(channels: int) -> int:
    """Numbers from pixel to pixel: whole vectors, and never a multiple of a kilobyte.

    Neighbouring pixels a power of two apart would share a few sets of the first-level cache.
    """
    step = padded(channels)
    return step + LANES if step % 256 == 0 else step


@dataclass(eq=False)
class Buffer:
    """Storage of n pictures of (h, w) pixels, `step` places each, framed by `halo` pixels of zeros."""

    n: int
    h: int
    w: int
    step: int
    halo: int = 0
    base: int = -1  # its place in F; known once the memory is laid out
    kind: int = 1  # numbers that share one place of F: 1 float32, 2 bfloat16, 4 int8

    @property
    def row(self) -> int:
        """Numbers from one row to the next."""
        return (self.w + 2 * self.halo) * self.step

    @property
    def image(self) -> int:
        """Numbers from one picture to the next."""
        return (self.h + 2 * self.halo) * self.row

    @property
    def size(self) -> int:
        """Numbers in all, with one vector to spare at the end."""
        return self.n * self.image + LANES


@dataclass(eq=False, frozen=True)
class Map:
    """`c` channels of a buffer, from channel `c0`: what an operation reads or writes."""

    buffer: Buffer
    c: int
    c0: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return (self.buffer.n, self.buffer.h, self.buffer.w, self.c)

    @property
    def origin(self) -> int:
        """The place in F of pixel (0, 0) of the first picture."""
        buffer = self.buffer
        return buffer.base + buffer.halo * (buffer.row + buffer.step) + self.c0 // buffer.kind

    @property
    def place(self) -> tuple[int, int, int, int]:
        """(origin, numbers per pixel, per row, per picture)."""
        return (self.origin, self.buffer.step, self.buffer.row, self.buffer.image)

    @property
    def dense(self) -> bool:
        """Whether the channels of neighbouring pixels follow each other without a gap."""
        return self.buffer.step == self.c

    def view(self, memory: NDArray[np.float32]) -> NDArray[np.float32]:
        """The map as an (N, H, W, C) array inside `memory`."""
        strides = tuple(4 * n for n in (self.buffer.image, self.buffer.row, self.buffer.step, 1))
        return np.lib.stride_tricks.as_strided(memory[self.origin :], self.shape, strides)

    def offsets(self, y: slice = slice(None), x: slice = slice(None)) -> NDArray[np.int32]:
        """Offsets from `origin` of all pixels, or of the rows `y` and columns `x`; order n, y, x."""
        buffer = self.buffer
        n = np.arange(buffer.n, dtype=np.int64)[:, None, None] * buffer.image
        rows = np.arange(buffer.h, dtype=np.int64)[y][:, None] * buffer.row
        columns = np.arange(buffer.w, dtype=np.int64)[x] * buffer.step
        return (n + rows + columns).astype(np.int32).ravel()


@dataclass
class Tables:
    """The int32 memory `I` while a plan is being made; equal tables are stored once."""

    parts: list[NDArray[np.int32]] = field(default_factory=list)
    size: int = 0
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, table: NDArray[np.int32]) -> int:
        """The place of `table` in I."""
        key = table.tobytes()
        if key not in self.known:
            self.known[key] = self.size
            self.parts.append(table)
            self.size += table.size
        return self.known[key]

    def array(self) -> NDArray[np.int32]:
        """All tables, one after the other."""
        return np.concatenate(self.parts) if self.parts else np.zeros(1, np.int32)


def call(integers: list[int] | tuple[int, ...], scalars: tuple[float, ...] = ()) -> Call:
    """The `p` and `s` of one kernel call."""
    return np.array(integers, np.int64), np.array(scalars or (0.0,), np.float32)
