"""From our operations to ONNX nodes, one method an operation.

A value of four axes may be there in our order (N, H, W, C), in ONNX's (N, C, H, W) ("maps"), or in both:
each operation asks for the order that it needs, and a Transpose is written where that is missing.
"""

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from ..errors import TraceError
from ..functional import Pair
from ..ops import OPS
from ..ops.op import normal_axes
from .onnx_values import Values
from .trace import Node

#: Where axis i of (N, H, W, C) lies in (N, C, H, W).
_IN_MAPS = (0, 2, 3, 1)
#: Operations that work element by element, whatever the order of the axes.
_POINTWISE = frozenset({
    "add", "sub", "mul", "div", "maximum", "minimum", "relu", "leaky_relu", "sigmoid", "tanh", "exp", "log",
    "sqrt", "abs", "atan", "softplus", "neg", "relu6", "clip", "pow",
})  # fmt: skip


class Nodes(Values):
    """Appends the nodes of a graph's operations, in order."""

    def lower(self, node: Node) -> None:
        """Write one operation.

        Raises:
            TraceError: ONNX cannot say it, or not for a batch of any size.
        """
        self.scope = node.scope
        special: Callable[[Node], None] | None = getattr(self, f"_{node.op}", None)
        if special:
            special(node)
        else:
            assert node.op in _POINTWISE
            self._pointwise(node)

    def _one(self, node: Node, maps: bool, *inputs: str, **attrs: Any) -> None:
        """The operation as the one ONNX node that its record names."""
        self.put(node.output, maps, self.emit(OPS[node.op].onnx, *inputs, **attrs))

    def _follows(self, node: Node) -> bool:
        """Whether to stay in ONNX's order: some input is there already."""
        return len(node.output.shape) == 4 and any(self.has_maps(value) for value in node.inputs)

    def _axes(self, node: Node, maps: bool, axis: int | Sequence[int] | None) -> list[int]:
        axes = normal_axes(axis, len(node.inputs[0].shape))
        return [_IN_MAPS[a] if maps else a for a in axes]

    # ---- element by element ---------------------------------------------------------------------

    def _pointwise(self, node: Node) -> None:
        maps, attrs = self._follows(node), node.attrs
        inputs = [self.name(value, maps) for value in node.inputs]
        given = [attrs[key] for key in ("lo", "hi", "exponent") if key in attrs]
        numbers = (0.0, 6.0) if node.op == "relu6" else given
        inputs += [self.constant(np.float32(number)) for number in numbers]
        self._one(node, maps, *inputs, **({"alpha": attrs["slope"]} if "slope" in attrs else {}))

    def _silu(self, node: Node) -> None:
        maps = self._follows(node)
        x = self.name(node.inputs[0], maps)
        self.put(node.output, maps, self.emit("Mul", x, self.emit("Sigmoid", x)))

    def _prelu(self, node: Node) -> None:
        maps = self._follows(node)
        x, slope = self.name(node.inputs[0], maps), self.name(node.inputs[1])
        self._one(node, maps, x, self.reshaped(slope, (*node.inputs[1].shape, 1, 1)) if maps else slope)

    def _where(self, node: Node) -> None:
        maps, mask = self._follows(node), node.attrs["mask"]
        if maps:
            mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape).transpose(0, 3, 1, 2)
        self._one(node, maps, self.constant(mask), *(self.name(value, maps) for value in node.inputs))

    def _dropout(self, node: Node) -> None:
        """Gone: outside of training it does nothing."""
        maps = self._follows(node)
        self.put(node.output, maps, self.name(node.inputs[0], maps))

    # ---- windows --------------------------------------------------------------------------------

    def _conv2d(self, node: Node) -> None:
        attrs = node.attrs
        self._one(
            node, True, self.name(node.inputs[0], True), *(self.name(value) for value in node.inputs[1:]),
            kernel_shape=node.inputs[1].shape[2:], strides=attrs["stride"], pads=attrs["padding"] * 2,
            dilations=attrs["dilation"], group=attrs["groups"],
        )  # fmt: skip

    def _max_pool2d(self, node: Node) -> None:
        self._pool(node, self.name(node.inputs[0], True), node.attrs["padding"])

    def _avg_pool2d(self, node: Node) -> None:
        x, padding = self.name(node.inputs[0], True), node.attrs["padding"]
        counts = bool(node.attrs["count_include_pad"])
        if counts and node.attrs["ceil_mode"]:
            # The zeros around count, what ceil_mode adds behind them does not: make the former numbers.
            x = self.emit("Pad", x, self.constant(np.array([0, 0, *padding] * 2, np.int64)))
            self._pool(node, x, (0, 0), padding)
        else:
            self._pool(node, x, padding, count_include_pad=counts)

    def _pool(self, node: Node, x: str, before: Pair, added: Pair = (0, 0), **attrs: Any) -> None:
        """One window operation whose ceil_mode is spelt out as padding: runtimes disagree about it."""
        kernel, stride, after = node.attrs["kernel"], node.attrs["stride"], list(before)
        if node.attrs["ceil_mode"]:
            for i in (0, 1):
                size, count = node.inputs[0].shape[1 + i], node.output.shape[1 + i]
                reach = (count - 1) * stride[i] + kernel[i]
                after[i] = max(0, reach - size - 2 * added[i] - before[i])
        self._one(node, True, x, kernel_shape=kernel, strides=stride, pads=[*before, *after], **attrs)

    def _global_avg_pool2d(self, node: Node) -> None:
        self._one(node, True, self.name(node.inputs[0], True))

    def _upsample_nearest(self, node: Node) -> None:
        scales = self.constant(np.array([1, 1, node.attrs["scale"], node.attrs["scale"]], np.float32))
        self._one(
            node, True, self.name(node.inputs[0], True), "", scales, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    # ---- channels and matrices ------------------------------------------------------------------

    def _batch_norm(self, node: Node) -> None:
        if node.attrs["training"]:
            raise TraceError(
                f"{node.scope}: a batch-norm in training mode cannot be exported",
                remedy="call network.eval() first",
            )
        parameters = [self.name(value) for value in node.inputs[1:]]
        maps, last = len(node.output.shape) == 4, len(node.output.shape) - 1
        x = self.name(node.inputs[0], maps)
        if maps or last == 1:
            self._one(node, maps, x, *parameters, epsilon=node.attrs["eps"])
            return
        there, back = [0, last, *range(1, last)], [0, *range(2, last + 1), 1]
        y = self.emit("BatchNormalization", self.emit("Transpose", x, perm=there), *parameters,
                      epsilon=node.attrs["eps"])  # fmt: skip
        self.put(node.output, False, self.emit("Transpose", y, perm=back))

    def _linear(self, node: Node) -> None:
        x, weight, *bias = (self.name(value) for value in node.inputs)
        if len(node.output.shape) == 2:
            self._one(node, False, x, weight, *bias, transB=1)
            return
        y = self.emit("MatMul", x, self.emit("Transpose", weight, perm=(1, 0)))
        self.put(node.output, False, self.emit("Add", y, *bias) if bias else y)

    def _matmul(self, node: Node) -> None:
        self._one(node, False, *(self.name(value) for value in node.inputs))

    def _softmax(self, node: Node) -> None:
        maps = self._follows(node)
        (axis,) = self._axes(node, maps, node.attrs["axis"])
        self._one(node, maps, self.name(node.inputs[0], maps), axis=axis)

    _log_softmax = _softmax

    def _sum(self, node: Node) -> None:
        maps, x, axes, keepdims = self._reduction(node)
        self._one(node, maps, x, self.constant(np.array(axes, np.int64)), keepdims=keepdims)

    def _mean(self, node: Node) -> None:
        maps, x, axes, keepdims = self._reduction(node)
        self._one(node, maps, x, axes=axes, keepdims=keepdims)

    def _reduction(self, node: Node) -> tuple[bool, str, list[int], bool]:
        maps = self._follows(node)  # only where four axes are left of four
        axes = self._axes(node, maps, node.attrs.get("axis"))
        return maps, self.name(node.inputs[0], maps), axes, bool(node.attrs.get("keepdims"))

    # ---- moving numbers -------------------------------------------------------------------------

    def _concat(self, node: Node) -> None:
        maps = self._follows(node)
        (axis,) = self._axes(node, maps, node.attrs["axis"])
        self._one(node, maps, *(self.name(value, maps) for value in node.inputs), axis=axis)

    def _transpose(self, node: Node) -> None:
        axes = [a % len(node.output.shape) for a in node.attrs["axes"]]
        self._one(node, False, self.name(node.inputs[0]), perm=axes)

    def _reshape(self, node: Node) -> None:
        self.put(node.output, False, self.reshaped(self.name(node.inputs[0]), node.output.shape))

    def _getitem(self, node: Node) -> None:
        """Slice, single positions too; a Reshape then drops and adds axes."""
        x = node.inputs[0]
        cuts = [cut.indices(n) for cut, n in zip(self._cuts(node), x.shape, strict=True)]
        same_axes = node.output.shape == tuple(len(range(*cut)) for cut in cuts)
        maps = same_axes and self._follows(node)
        y = self.name(x, maps)
        moved = [
            (_IN_MAPS[i] if maps else i, cut)
            for i, (cut, n) in enumerate(zip(cuts, x.shape, strict=True))
            if cut != (0, n, 1)
        ]
        if moved:
            axes, found = zip(*moved, strict=True)
            starts, stops, steps = zip(*found, strict=True)
            # Backwards to the very beginning: -1 would mean the end.
            ends = [np.iinfo(np.int64).min if stop < 0 else stop for stop in stops]
            columns = (starts, ends, axes, steps)
            y = self.emit("Slice", y, *(self.constant(np.array(column, np.int64)) for column in columns))
        self.put(node.output, maps, y if same_axes else self.reshaped(y, node.output.shape))

    def _cuts(self, node: Node) -> list[slice]:
        """One slice an axis; a single position is a slice of length 1."""
        index, shape = node.attrs["index"], node.inputs[0].shape
        parts = [part for part in (index if isinstance(index, tuple) else (index,)) if part is not None]
        kinds = (int, slice, np.integer, EllipsisType)
        if not all(isinstance(part, kinds) and not isinstance(part, bool) for part in parts):
            raise TraceError(
                f"{node.scope}: only slices and single positions can be exported, no lists or masks",
                value=index,
            )
        at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + (at < len(parts)))
        cuts = [
            part if isinstance(part, slice) else slice(part % n, part % n + 1)
            for part, n in zip(parts, shape, strict=True)
        ]
        for cut, size in zip(cuts, shape, strict=True):
            if self.is_open(size) and cut.indices(size) != (0, size, 1):
                self.refuse("a part of it is taken")
        return cuts
