"""Rewritings of a graph that keep its result: each a function Graph -> Graph.

A convolution or batch-norm node may carry, after fusion, ``activation`` (kind, slope, cap) and
``residual`` (0 none, 1 added before, 2 added after the activation; the residual is its last input).
"""

from typing import Any

import numpy as np

from ..kernels.pointwise import LINEAR, SIGMOID, SILU, TANH
from ..tensor import Tensor
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


def fold_batch_norm(graph: Graph) -> Graph:
    """Batch-norms in evaluation mode become part of the convolution before them."""
    for norm in list(graph.nodes):
        if norm.op != "batch_norm" or norm.attrs["training"]:
            continue
        conv = norm.inputs[0].node
        if conv is None or conv.op != "conv2d" or _only_reader(graph, conv.output) is not norm:
            continue
        constants = [value.tensor for value in (*conv.inputs[1:], *norm.inputs[1:5])]
        if any(tensor is None for tensor in constants):
            continue
        weight, *old_bias, gamma, beta, mean, variance = (
            tensor.data.astype(np.float64) for tensor in constants if tensor is not None
        )
        scale = gamma / np.sqrt(variance + norm.attrs["eps"])
        weights = (weight * scale[:, None, None, None]).astype(np.float32)
        bias = (((old_bias[0] if old_bias else 0.0) - mean) * scale + beta).astype(np.float32)
        folded = [Value(tensor.shape, tensor=tensor) for tensor in (Tensor(weights), Tensor(bias))]
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


def prepare(graph: Graph, training: bool) -> Graph:
    """All passes, in order, for inference or for training."""
    graph = drop_dead(graph)
    if training:
        return fuse(graph, ("batch_norm",), residual_before=False)
    return fuse(fold_batch_norm(graph), ("conv2d", "batch_norm"), residual_before=True)
