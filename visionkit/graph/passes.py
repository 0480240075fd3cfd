"""Rewritings of a graph that keep its result: each a function Graph -> Graph.

A convolution or batch-norm node may carry, after fusion, ``activation`` (kind, slope, cap) and
``residual`` (0 none, 1 added before, 2 added after the activation; the residual is its last input).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import inverted
from ..kernels.jit import aligned
from ..kernels.pointwise import LINEAR, SIGMOID, SILU, TANH
from ..tensor import Tensor
from .geometry import constant, memory_order
from .trace import Graph, Node, Value

Activation = tuple[int, float, float]

IDENTITY: Activation = (LINEAR, 1.0, np.inf)


def activation_of(node: Node) -> Activation | None:
    """(kind, negative slope, cap) of an activation node; None for any other."""
    if node.op == "leaky_relu":
        return (LINEAR, float(node.attrs["slope"]), np.inf)
    table: dict[str, Activation] = {
        "relu": (LINEAR, 0.0, np.inf),
        "relu6": (LINEAR, 0.0, 6.0),
        "silu": (SILU, 1.0, np.inf),
        "sigmoid": (SIGMOID, 1.0, np.inf),
        "tanh": (TANH, 1.0, np.inf),
    }
    return table.get(node.op)


def drop_dead(graph: Graph) -> Graph:
    """Without the nodes whose results nobody reads."""
    alive = {id(value) for value in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if id(node.output) in alive:
            kept.append(node)
            alive.update(id(value) for value in node.inputs)
    return Graph(graph.inputs, kept[::-1], graph.outputs)


def _only_reader(graph: Graph, value: Value) -> Node | None:
    """The one node that reads `value`, if it is one and the value is not an output."""
    readers = graph.consumers(value)
    if len(readers) != 1 or any(value is out for out in graph.outputs):
        return None
    return readers[0]


def _take_over(graph: Graph, node: Node, later: Node, inputs: list[Value], attrs: dict[str, Any]) -> Graph:
    """`node` with new inputs and attributes in the place of `later`, which it swallows."""
    fused = Node(node.op, inputs, {**node.attrs, **attrs}, later.output, node.scope)
    later.output.node = fused
    nodes = [fused if n is later else n for n in graph.nodes if n is not node]
    return Graph(graph.inputs, nodes, graph.outputs)


class Computed(Tensor):
    """A constant made of others whenever it is read: a copy would stay in memory beside the plan's own.

    Args:
        like: has its shape and its order in memory.
        make: computes it.
    """

    def __init__(self, like: Tensor, make: Callable[[], NDArray[np.float32]]) -> None:
        super().__init__(like.data)
        self._make, self._strides = make, like.strides

    @property  # type: ignore[misc]  # nobody assigns to it
    def data(self) -> NDArray[np.float32]:
        """Computed now."""
        return self._make()

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        return self._strides


def _folded(weight: Tensor, old_bias: Tensor | None, norm: Node) -> list[Tensor]:
    """Weights and bias of a convolution that does a batch-norm's work, too."""
    gamma, beta, mean, variance = (constant(value) for value in norm.inputs[1:5])

    def scale() -> NDArray[np.float64]:
        return gamma.data / np.sqrt(variance.data.astype(np.float64) + norm.attrs["eps"])

    def weights() -> NDArray[np.float32]:
        order = memory_order(weight.data)
        folded = aligned(tuple(weight.shape[axis] for axis in order)).transpose(np.argsort(order))
        return np.multiply(
            weight.data, scale()[:, None, None, None], folded, dtype=np.float64, casting="same_kind"
        )

    def bias() -> NDArray[np.float32]:
        shift = (0.0 if old_bias is None else old_bias.data) - mean.data.astype(np.float64)
        return (shift * scale() + beta.data).astype(np.float32)

    return [Computed(weight, weights), Computed(beta, bias)]


def fold_batch_norm(graph: Graph) -> Graph:
    """Batch-norms in evaluation mode become part of the convolution before them."""
    for norm in list(graph.nodes):
        if norm.op != "batch_norm" or norm.attrs["training"]:
            continue
        conv = norm.inputs[0].node
        if conv is None or conv.op != "conv2d" or _only_reader(graph, conv.output) is not norm:
            continue
        if any(value.tensor is None for value in (*conv.inputs[1:], *norm.inputs[1:5])):
            continue
        weight, old_bias = (
            constant(conv.inputs[1]),
            constant(conv.inputs[2]) if len(conv.inputs) > 2 else None,
        )
        folded = [Value(tensor.shape, tensor=tensor) for tensor in _folded(weight, old_bias, norm)]
        graph = _take_over(graph, conv, norm, [conv.inputs[0], *folded], {})
    return graph


def fuse(graph: Graph, into: tuple[str, ...], residual_before: bool) -> Graph:
    """Activations and additions become part of the nodes named by `into` just before them.

    Args:
        into: the ops that can take them.
        residual_before: whether a sum in front of the activation may be fused, too.
    """
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if node.op not in into:
                continue
            later = _only_reader(graph, node.output)
            if later is None:
                continue
            activation = activation_of(later)
            has_activation, residual = "activation" in node.attrs, node.attrs.get("residual", 0)
            if activation is not None and not has_activation and activation[0] in (LINEAR, SILU):
                graph = _take_over(graph, node, later, node.inputs, {"activation": activation})
                changed = True
                break
            if later.op == "add" and residual == 0 and (has_activation or residual_before):
                other = later.inputs[1] if later.inputs[0] is node.output else later.inputs[0]
                same = other.shape == node.output.shape and other.tensor is None
                if not same or other is node.output:
                    continue
                mode = 2 if has_activation else 1
                # The sum comes later than the node did; its place in the order is the addition's.
                graph = _take_over(graph, node, later, [*node.inputs, other], {"residual": mode})
                changed = True
                break
    return graph


def _bends(node: Node) -> bool:
    """Whether a convolution's activation is one that `inverted` has."""
    return node.attrs.get("activation", IDENTITY)[0] == LINEAR


def _pointwise(node: Node | None) -> bool:
    """Whether a node is a 1x1 convolution of all channels."""
    if node is None or node.op != "conv2d" or node.attrs["groups"] != 1 or not _bends(node):
        return False
    plain = node.attrs["stride"] == (1, 1) and node.attrs["padding"] == (0, 0)
    return plain and node.inputs[1].shape[2:] == (1, 1)


def _three_by_three(node: Node) -> bool:
    """Whether a node is a depthwise convolution of 3x3 taps, the same both ways."""
    if node.op != "conv2d" or node.attrs.get("residual") or not _bends(node):
        return False
    attrs, weight = node.attrs, node.inputs[1].shape
    depthwise = weight[1:] == (1, 3, 3) and attrs["groups"] == weight[0] == node.inputs[0].shape[-1]
    same = attrs["stride"] in ((1, 1), (2, 2)) and attrs["padding"][0] == attrs["padding"][1]
    return depthwise and same and attrs["dilation"] == (1, 1)


def fuse_inverted(graph: Graph) -> Graph:
    """1x1, depthwise 3x3 and 1x1 convolutions that only follow each other become one node where it pays.

    The first may be missing. The node's ``parts`` are the two or three; its inputs are the map of the first
    and, if there is one, the residual of the last.
    """
    for middle in list(graph.nodes):
        last = _only_reader(graph, middle.output) if _three_by_three(middle) else None
        if last is None or not _pointwise(last) or not inverted.pays(middle.output.shape):
            continue
        if last.inputs[0] is not middle.output or last.inputs[-1] is middle.output:  # as the residual
            continue
        parts, first = [middle, last], middle.inputs[0].node
        if first and _pointwise(first) and not first.attrs.get("residual"):
            parts = [first, *parts] if _only_reader(graph, first.output) is middle else parts
        inputs = [parts[0].inputs[0], *(last.inputs[-1:] if last.attrs.get("residual") else [])]
        fused = Node("inverted", inputs, {"parts": parts}, last.output, middle.scope)
        last.output.node = fused
        nodes = [fused if node is last else node for node in graph.nodes if node not in parts[:-1]]
        graph = Graph(graph.inputs, nodes, graph.outputs)
    return graph


def prepare(graph: Graph, training: bool) -> Graph:
    """All passes, in order, for inference or for training."""
    graph = drop_dead(graph)
    if training:
        return fuse(graph, ("batch_norm",), residual_before=False)
    return fuse(fold_batch_norm(graph), ("conv2d", "batch_norm"), residual_before=True)
