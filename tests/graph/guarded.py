"""Runs a plan step by step and watches its memory: who may write where, and who must not be needed.

Before every step all of the arena that nobody owns at that time is poisoned with NaN, its scratch memory with
it: numbers read from there spoil the result. After it, every changed number of the arena must belong to a map
that the step touches, or to its scratch memory, and the maps' halos must be zero.
"""

from typing import Any

import numpy as np

from visionkit.graph import Plan
from visionkit.graph.memory import lifetimes
from visionkit.kernels import pointwise
from visionkit.kernels.memory import Buffer

#: A NaN that no arithmetic makes.
POISON = np.uint32(0x7FA1B2C3)


def halo_of(buffer: Buffer, memory: np.ndarray) -> list[np.ndarray]:
    """Views of the frame around the pictures of a buffer."""
    h, width = buffer.halo, buffer.w + 2 * buffer.halo
    end = buffer.base + buffer.n * buffer.image
    whole = memory[buffer.base : end].reshape(buffer.n, -1, width, buffer.step)
    return [whole[:, :h], whole[:, whole.shape[1] - h :], whole[:, :, :h], whole[:, :, width - h :]]


class Guarded:
    """A plan whose `forward` and `backward` are watched."""

    def __init__(self, plan: Plan) -> None:
        self.plan, low = plan, plan._low
        self.words = plan.memory.view(np.uint32)
        forward = plan._split
        outputs = {low.map(value).buffer for value in low.graph.outputs}
        pinned = {buffer: (0, len(low.steps)) for buffer in outputs}
        for seed in plan._backward.seeds if plan._backward else ():
            if seed is not None:
                pinned[seed.buffer] = (forward - 1, len(low.steps))
        pinned |= dict.fromkeys(low.unshared, (-1, len(low.steps)))
        self.spans = lifetimes(low.steps, pinned)
        above = low.constants.reserved + max(step.scratch for step in low.steps)
        ends = sorted((buffer.base, buffer.base + buffer.size, id(buffer)) for buffer in self.spans)
        self.alone = {
            mine
            for at, end, mine in ends
            if at >= above and not any(a < end and at < b and other != mine for a, b, other in ends)
        }
        self.arena = low.constants.reserved

    def poison(self, step: int) -> np.ndarray:
        """Poison what nobody owns while `step` runs; where in the arena that is."""
        free = np.ones(self.words.size - self.arena, bool)
        for buffer, (first, last) in self.spans.items():
            if first <= step <= last or (buffer.halo and id(buffer) in self.alone):  # its zeros stay for ever
                free[buffer.base - self.arena : buffer.base - self.arena + buffer.size] = False
        self.words[self.arena :][free] = POISON
        return free

    def run(self, start: int, end: int) -> None:
        """In place of the program's `run`."""
        plan, low, memory, tables = self.plan, self.plan._low, self.plan.memory, self.plan.tables
        number, arena = 0, self.words[self.arena :]
        steps = zip(plan._names, plan._program.calls, strict=True)
        for i, (name, (kernel, (integers, scalars))) in enumerate(steps):
            halo = kernel is pointwise.clear_halo
            if start <= i < end:
                touches, what = low.steps[number].touches, f"{kernel.__name__} of {name!r}"
                free, scratch = self.poison(number), 0 if halo else low.steps[number].scratch
                assert free[:scratch].all(), f"{what} has scratch memory in somebody's map"
                before = arena.copy()
                kernel(memory, tables, integers, scalars)
                changed = arena != before
                for buffer in touches:
                    at = buffer.base - self.arena
                    changed[at : at + buffer.n * buffer.image] = False
                changed[:scratch] = free[:scratch] = False
                assert not changed.any(), f"{what} wrote outside its maps at {np.flatnonzero(changed)[:5]}"
                assert (arena[free] == POISON).all()
                for buffer in () if halo else touches:
                    assert not any(part.any() for part in halo_of(buffer, self.words)), (
                        f"{what} wrote into a halo"
                    )
            number += not halo

    def watch(self) -> Plan:
        """The plan, from now on watched."""
        plan: Any = self.plan
        plan._program.run = self.run
        return self.plan
