"""A whole list of kernel calls run by one compiled call, without Python in between."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .jit import CALL, FLOATS, INTEGERS, Kernel, address, bind, invoke, serial
from .memory import Call


@serial
def _run(F, I, P, S, steps):
    """Every row of `steps` is a kernel's address and where its `p` and `s` begin in P and S."""
    for k in range(steps.shape[0]):
        invoke(steps[k, 0], (F, I, P[steps[k, 1] :], S[steps[k, 2] :]))


@cache
def _entry(kernel: Kernel) -> int:
    return address(kernel, (FLOATS, INTEGERS, *CALL))


class Program:
    """Kernel calls in one table; arguments may be changed in place between two runs.

    Args:
        calls: kernels `(F, I, p, s)` with their arguments.
        memory, tables: the F and I of all of them.

    Attributes:
        calls: the same, the arguments being views into the table.
    """

    def __init__(
        self, calls: Sequence[tuple[Kernel, Call]], memory: NDArray[np.float32], tables: NDArray[np.int32]
    ) -> None:
        self._integers = _joined([integers for _, (integers, _) in calls], np.int64)
        self._scalars = _joined([scalars for _, (_, scalars) in calls], np.float32)
        self._steps = np.zeros((len(calls), 3), np.int64)
        self.calls: list[tuple[Kernel, Call]] = []
        p = s = 0
        for row, (kernel, (integers, scalars)) in zip(self._steps, calls, strict=True):
            row[:] = _entry(kernel), p, s
            next_p, next_s = p + integers.size, s + scalars.size
            self.calls.append((kernel, (self._integers[p:next_p], self._scalars[s:next_s])))
            p, s = next_p, next_s
        self._run = bind(_run, memory, tables, self._integers, self._scalars)

    def run(self, start: int, end: int) -> None:
        """Calls start .. end, in order."""
        self._run(self._steps[start:end])


def _joined(parts: Sequence[NDArray], kind: type) -> NDArray:
    return np.concatenate([*parts, np.zeros(1, kind)])
