"""A network's table: layers, shapes, parameters, operations and receptive field."""

import math
from dataclasses import dataclass

from ..nn import Module
from ..shapes import Shape
from .trace import Graph, Node, trace

#: Operations with windows, and where their kernel size is written.
_WINDOWED = ("conv2d", "max_pool2d", "avg_pool2d")


@dataclass(frozen=True, slots=True)
class Row:
    """One operation.

    Attributes:
        name: the module's path; op: the operation; shape: of its result.
        parameters: numbers that training may change, counted where they are first used.
        flops: multiplications and additions of convolutions and linear layers.
        field: (height, width) in input pixels that one result sees; None behind a global pool.
    """

    name: str
    op: str
    shape: Shape
    parameters: int
    flops: int
    field: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The table of a network for one input shape; `str` draws it."""

    shape: Shape
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """All trainable numbers."""
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        """All multiplications and additions of one run."""
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        cells = [("layer", "operation", "output", "parameters", "MFLOP", "sees")]
        for row in self.rows:
            field = "all" if row.field is None else f"{row.field[0]}x{row.field[1]}"
            shape = "x".join(map(str, row.shape))
            flops = f"{row.flops / 1e6:.2f}" if row.flops else ""
            cells.append(
                (row.name, row.op, shape, f"{row.parameters or '':,}" if row.parameters else "", flops, field)
            )
        widths = [max(len(line[i]) for line in cells) for i in range(6)]
        lines = []
        for line in cells:
            left = [text.ljust(width) for text, width in zip(line[:3], widths[:3], strict=True)]
            right = [text.rjust(width) for text, width in zip(line[3:], widths[3:], strict=True)]
            lines.append("  ".join(left + right).rstrip())
        total = f"{self.parameters:,} parameters, {self.flops / 1e9:.3f} GFLOP for an input of {self.shape}"
        return "\n".join([*lines, total])


def summary(network: Module, shape: Shape) -> Summary:
    """The table of `network` for an input of `shape` (N, H, W, C); nothing is computed."""
    graph = trace(network, shape)
    fields = _fields(graph)
    counted: set[int] = set()
    rows = []
    for node in graph.nodes:
        parameters = 0
        for value in node.inputs:
            tensor = value.tensor
            if tensor is not None and tensor.requires_grad and id(tensor) not in counted:
                counted.add(id(tensor))
                parameters += tensor.size
        field = fields[id(node.output)]
        rows.append(Row(node.scope, node.op, node.output.shape, parameters, _flops(node), field and field[0]))
    return Summary(tuple(shape), tuple(rows))


def _flops(node: Node) -> int:
    if node.op == "conv2d":
        outputs, inputs, kh, kw = node.inputs[1].shape
        return 2 * math.prod(node.output.shape[:3]) * outputs * inputs * kh * kw
    if node.op == "linear":
        return 2 * node.output.shape[0] * math.prod(node.inputs[1].shape)
    return 0


#: (height, width) seen, and (vertical, horizontal) input pixels from one result to the next.
_Field = tuple[tuple[int, int], tuple[int, int]] | None


def _fields(graph: Graph) -> dict[int, _Field]:
    """The receptive field of every value (OPS-55): the largest over all ways from the input."""
    fields: dict[int, _Field] = {id(graph.inputs[0]): ((1, 1), (1, 1))}
    for node in graph.nodes:
        known = [fields[id(value)] for value in node.inputs if id(value) in fields]
        seen = [field for field in known if field is not None]
        field: _Field = None
        if seen and len(seen) == len(known) and node.op not in ("global_avg_pool2d", "reshape", "linear"):
            (h, w), (dy, dx) = (
                tuple(max(pair) for pair in zip(*part, strict=True)) for part in zip(*seen, strict=True)
            )
            if node.op in _WINDOWED:
                kernel = node.inputs[1].shape[2:] if node.op == "conv2d" else node.attrs["kernel"]
                gaps = node.attrs.get("dilation", (1, 1))
                h, w = h + (kernel[0] - 1) * gaps[0] * dy, w + (kernel[1] - 1) * gaps[1] * dx
                dy, dx = dy * node.attrs["stride"][0], dx * node.attrs["stride"][1]
            elif node.op == "upsample_nearest":
                scale = node.attrs["scale"]
                dy, dx = max(1, dy // scale), max(1, dx // scale)
            field = ((h, w), (dy, dx))
        fields[id(node.output)] = field
    return fields
