"""Where the gradients of maps and parameters stand while a backward half is being made.

A value's gradient gets a map when its first reader delivers it; later readers add to it. Where an operation
only passes its gradient on, the map itself is passed on.
"""

from dataclasses import dataclass

from ..kernels import pointwise
from ..kernels.memory import Map, call
from ..tensor import Tensor
from .geometry import constant
from .lower import Lowering
from .trace import Value


@dataclass
class Gradient:
    """Where the gradient of a parameter is summed: at `at`, in kernel order."""

    tensor: Tensor
    at: int


class Gradients:
    """The gradients of a lowered forward half, none of them computed yet.

    Attributes:
        gradients: the parameters' gradients, by parameter.
        seeds: for each output, the map into which the caller writes its gradient; None where no
            parameter that wants a gradient lies above it.
    """

    def __init__(self, lowering: Lowering) -> None:
        self.low = lowering
        self.graph = lowering.graph
        self.gradients: dict[int, Gradient] = {}
        self._maps: dict[int, Map] = {}
        self._wanted = self._find_wanted()
        self.seeds: list[Map | None] = []
        for value in self.graph.outputs:
            if id(value) not in self._wanted:
                self.seeds.append(None)
                continue
            if id(value) not in self._maps:
                self._maps[id(value)] = self._new(value)
            self.seeds.append(self._maps[id(value)])

    def _find_wanted(self) -> set[int]:
        """Values that depend on a parameter that wants a gradient."""
        wanted: set[int] = set()
        for node in self.graph.nodes:
            for value in node.inputs:
                if id(value) in wanted or (value.tensor is not None and value.tensor.requires_grad):
                    wanted.add(id(node.output))
        return wanted

    def _new(self, value: Value) -> Map:
        return Map(self.low.buffer(value), value.shape[-1])

    def _target(self, value: Value) -> tuple[Map, bool] | None:
        """The map for a share of a value's gradient, and whether one is there to be added to."""
        if id(value) not in self._wanted:
            return None
        known = id(value) in self._maps
        if not known:
            self._maps[id(value)] = self._new(value)
        return self._maps[id(value)], known

    def _pass_on(self, value: Value, gradient: Map, alias: bool, name: str) -> None:
        """Give `gradient` itself to `value`, or add or copy it where it must stay apart."""
        if id(value) not in self._wanted:
            return
        if id(value) not in self._maps and alias:
            self._maps[id(value)] = gradient
            return
        target, add = self._target(value) or (gradient, False)
        self.low.add(
            name, pointwise.combine,
            lambda: pointwise.combine_call(gradient, target, keep=float(add)), gradient, target,
        )  # fmt: skip

    def _parameter(self, value: Value, size: int) -> tuple[int, bool] | None:
        """Where a parameter's gradient goes; for its second use, a place apart that is added afterwards."""
        tensor = constant(value)
        if not tensor.requires_grad:
            return None
        if id(tensor) not in self.gradients:
            self.gradients[id(tensor)] = Gradient(tensor, self.low.constants.reserve(size))
            return self.gradients[id(tensor)].at, False
        return self.low.constants.reserve(size), True

    def _sum_up(self, value: Value, at: int, again: bool, size: int, name: str) -> None:
        if again:
            first = self.gradients[id(constant(value))].at
            self.low.add(name, pointwise.add_numbers, lambda: call((at, first, size)))
