"""Where every buffer lives: one arena, in which buffers that are never alive together share memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..kernels.jit import Kernel
from ..kernels.memory import Buffer, Call

_ALIGN = 16  # numbers: one cache line


@dataclass(eq=False)
class Step:
    """One kernel call: its name in the table, and the arguments, made once the memory is laid out.

    Attributes:
        touches: the buffers that it reads or writes.
        scratch: numbers at the arena's beginning that it may use while it runs.
    """

    name: str
    kernel: Kernel
    make: Callable[[], Call]
    touches: tuple[Buffer, ...]
    scratch: int = 0


def rounded(size: int) -> int:
    """`size` numbers, rounded up to whole cache lines."""
    return -(-size // _ALIGN) * _ALIGN


def lifetimes(steps: list[Step], pinned: dict[Buffer, tuple[int, int]]) -> dict[Buffer, tuple[int, int]]:
    """First and last step of every buffer; `pinned` ones live at least as long as said there."""
    spans = dict(pinned)
    for i, step in enumerate(steps):
        for buffer in step.touches:
            first, last = spans.get(buffer, (i, i))
            spans[buffer] = (min(first, i), max(last, i))
    return spans


def lay_out(
    spans: dict[Buffer, tuple[int, int]], start: int, scratch: Sequence[int] = ()
) -> tuple[int, set[Buffer]]:
    """Give every buffer its base, from `start` on.

    The largest buffers are placed first, each at the lowest address that is free for its whole life. Scratch
    memory stays at the beginning, where it is still in the cache from one step to the next.

    Args:
        spans: first and last step of every buffer.
        start: of the arena.
        scratch: numbers that each step uses from `start` on.

    Returns:
        The end of the arena, and the buffers whose memory another one also uses.
    """
    placed: list[tuple[int, int, tuple[int, int], Buffer | None]] = [
        (start, start + rounded(size), (i, i), None) for i, size in enumerate(scratch) if size
    ]
    for buffer, span in sorted(spans.items(), key=lambda item: (-item[0].size, item[1])):
        size = rounded(buffer.size)
        rivals = sorted(
            (at, end) for at, end, other, _ in placed if other[0] <= span[1] and span[0] <= other[1]
        )
        base = start
        for at, end in rivals:
            if base + size <= at:
                break
            base = max(base, end)
        buffer.base = base
        placed.append((base, base + size, span, buffer))
    end = max((end for _, end, _, _ in placed), default=start)
    shared = {
        one
        for at, stop, _, one in placed
        if one and any(a < stop and at < b and other is not one for a, b, _, other in placed)
    }
    return end, shared
