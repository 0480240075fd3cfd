"""One run of a network with shapes instead of numbers: its graph."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import TraceError
from ..nn import Module
from ..ops import Op
from ..shapes import Shape
from ..tensor import Tensor, current_scope, tracing


@dataclass(eq=False)
class Value:
    """What flows along an edge: a node's result, the network's input, or a constant tensor."""

    shape: Shape
    node: "Node | None" = None
    tensor: Tensor | None = None


@dataclass(eq=False)
class Node:
    """One operation, where the network calls it (`scope`), and what it reads and makes."""

    op: str
    inputs: list[Value]
    attrs: dict[str, Any]
    output: Value
    scope: str = ""


@dataclass
class Graph:
    """A network's operations in the order they run."""

    inputs: list[Value]
    nodes: list[Node]
    outputs: list[Value]

    def consumers(self, value: Value) -> list[Node]:
        """The nodes that read `value`."""
        return [node for node in self.nodes if any(given is value for given in node.inputs)]


@dataclass
class _Recorder:
    nodes: list[Node] = field(default_factory=list)
    values: dict[int, Value] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)  # kept alive: `values` knows them by id

    def value(self, tensor: Tensor) -> Value:
        if id(tensor) not in self.values:
            if tensor.is_symbolic:
                raise TraceError("a tensor of another trace is used")
            self.values[id(tensor)] = Value(tensor.shape, tensor=tensor)
            self.tensors.append(tensor)
        return self.values[id(tensor)]

    def symbol(self, shape: Shape) -> tuple[Tensor, Value]:
        tensor, value = Tensor.symbolic(shape), Value(shape)
        self.values[id(tensor)] = value
        self.tensors.append(tensor)
        return tensor, value

    def emit(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any], shape: Shape) -> Tensor:
        tensor, value = self.symbol(shape)
        node = Node(op.name, [self.value(t) for t in inputs], dict(attrs), value, current_scope())
        value.node = node
        self.nodes.append(node)
        return tensor


def trace(network: Module | Callable[..., Any], shape: Shape) -> Graph:
    """The graph of `network` for an input of `shape`.

    Args:
        network: maps one tensor to a tensor or a tuple of tensors.
        shape: of the input, (N, H, W, C) for pictures.

    Raises:
        TraceError: the network reads the values of a tensor, or returns something else than tensors.
        ShapeError: an operation does not fit; the message names the module.
    """
    recorder = _Recorder()
    tensor, value = recorder.symbol(tuple(shape))
    with tracing(recorder):
        result = network(tensor)
    outputs = result if isinstance(result, tuple | list) else (result,)
    if not outputs or not all(isinstance(out, Tensor) for out in outputs):
        raise TraceError(f"a network returns a tensor or a tuple of tensors, not {type(result).__name__}")
    return Graph([value], recorder.nodes, [recorder.value(out) for out in outputs])
