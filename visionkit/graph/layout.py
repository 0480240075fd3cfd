"""Steps, maps and constants of a plan while it is being made.

Layout is decided here: parts of a concatenation are written in place, scratch is shared, buffers get halos as
wide as their readers need.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import TraceError
from ..kernels import pointwise
from ..kernels.jit import LANES, Kernel
from ..kernels.memory import Buffer, Call, Map, call, spaced
from .choice import Choose
from .constants import Constants
from .geometry import (
    four,
)
from .memory import Step
from .trace import Graph, Value


class Layout:
    """Steps, maps and constants of one plan while it is being made.

    Args:
        graph: after the passes.
        training: batch-norms use the batch's statistics where the node says so, maps are kept.
        threads: how many threads will share each step.
        choose: which convolutions take Winograd's form.
    """

    def __init__(self, graph: Graph, training: bool, threads: int, choose: Choose) -> None:
        self.graph, self.training, self.threads, self.choose = graph, training, threads, choose
        self.constants = Constants()
        self.steps: list[Step] = []
        self.maps: dict[int, Map] = {}
        self.kept: dict[int, int] = {}  # of batch-norm outputs: where their statistics stand
        self.dropouts: dict[int, int] = {}  # of dropout outputs: the layer's number
        self.unshared: set[Buffer] = set()
        self._scratch = 0
        self.slack = 64  # numbers behind the memory's end that kernels may read
        self.gain = 1.0  # of the pictures' numbers in the map of the input
        self._placed = self._placements()
        given = graph.inputs[0]
        self.input = self.maps[id(given)] = Map(self.picture(given), given.shape[-1])
        self.unshared.add(self.input.buffer)

    def scratch(self, size: int) -> Callable[[], int]:
        """Room that the next step, and no other, may use; its place is known once the memory is laid out."""
        self._scratch, following = size, len(self.steps)

        def place() -> int:
            assert self.steps[following].scratch == size, "scratch memory belongs to the step that comes next"
            return self.constants.reserved

        return place

    def map(self, value: Value) -> Map:
        """The float32 map of a value that has been computed."""
        return self.stored(value)

    def like(self, value: Value, y: Map) -> Map:
        """The map of a value that has been computed, in the kind of `y`."""
        return self.map(value)

    def stored(self, value: Value) -> Map:
        """The map of a value as it was computed, of any kind."""
        if id(value) not in self.maps:
            raise TraceError("a plan's operations read maps, not constants")
        return self.maps[id(value)]

    def new_map(self, value: Value) -> Map:
        """A map for a result: in a concatenation's buffer where it was placed there, else in its own."""
        if id(value) in self._placed:
            whole, c0 = self._placed[id(value)]
            if id(whole) not in self.maps:
                self.new_map(whole)
            made = Map(self.maps[id(whole)].buffer, value.shape[-1], c0)
        else:
            made = Map(self.buffer(value), value.shape[-1])
        self.maps[id(value)] = made
        return made

    def buffer(self, value: Value) -> Buffer:
        """Storage of a result."""
        n, h, w, c = four(value.shape)
        return Buffer(n, h, w, spaced(c))

    def picture(self, value: Value) -> Buffer:
        """Storage of the network's input."""
        return Buffer(*four(value.shape))

    def take_call(self) -> tuple[Kernel, NDArray[np.int64]]:
        """The kernel that takes pictures in, and its integers."""
        return pointwise.take_picture, call(self.input.place)[0]

    def in_place(self, part: Value, whole: Value) -> bool:
        """Whether `part` is computed straight into the concatenation `whole`."""
        return id(part) in self._placed and self._placed[id(part)][0] is whole

    def apart(self, part: Map, whole: Map) -> Map:
        """`part` of `whole` if vectors can be written there, else a map of its own to be copied from."""
        ends_well = part.c % LANES == 0 or part.c0 + part.c == whole.c0 + whole.c
        if (part.c0 - whole.c0) % LANES == 0 and ends_well:
            return part
        return Map(Buffer(*part.shape[:3], spaced(part.c)), part.c)

    def copy(self, name: str, x: Map, y: Map, add: bool = False) -> None:
        """Copy or add x to y, channel by channel; y's spare lanes stay as they are: zero."""
        self.unshared.add(y.buffer)
        self.add(name, pointwise.copy, lambda: pointwise.copy_call(x, y, add), x, y)

    def add(self, name: str, kernel: Kernel, make: Callable[[], Call], *maps: Map | None) -> None:
        """Append a step that touches `maps`."""
        touched = tuple({m.buffer: 0 for m in maps if m is not None})
        self.steps.append(Step(name, kernel, make, touched, self._scratch))
        self._scratch = 0

    def _placements(self) -> dict[int, tuple[Value, int]]:
        """Values that can be computed straight into their part of a concatenation."""
        placed: dict[int, tuple[Value, int]] = {}
        wholes = {id(node.output) for node in self.graph.nodes if node.op == "concat"}
        for node in self.graph.nodes:
            if node.op != "concat":
                continue
            parts, c0 = node.inputs, 0
            fits = len({id(part) for part in parts}) == len(parts)
            for i, part in enumerate(parts):
                fits &= part.node is not None and id(part) not in wholes and id(part) not in placed
                fits &= part.shape[-1] % LANES == 0 or i == len(parts) - 1
                fits &= part.node is not None and part.node.op not in ("reshape", "dropout")
            for part in parts if fits else ():
                placed[id(part)] = (node.output, c0)
                c0 += part.shape[-1]
        return placed
