"""From a graph to kernel calls: the backward half. Nodes are lowered in reverse."""

from collections.abc import Callable

from ..errors import TraceError
from ..kernels import narrow_norm, norm, pointwise, pool
from ..kernels.jit import Kernel
from ..kernels.memory import Buffer, Call, Map, spaced
from ..kernels.narrow import FLOAT32, spread
from .backward_conv import ConvolutionBackward
from .geometry import constant, flatten_call, sliced_from
from .passes import IDENTITY, activation_of
from .trace import Node


class Backward(ConvolutionBackward):
    """Appends the backward steps to a lowered forward half."""

    def lower(self) -> None:
        """Lower all nodes, last first."""
        for node in reversed(self.graph.nodes):
            if id(node.output) not in self._wanted or id(node.output) not in self._maps:
                continue
            self._lower(node, self._maps[id(node.output)])

    def _lower(self, node: Node, g: Map) -> None:
        lower = getattr(self, f"_{node.op}", None) or (self._activation if activation_of(node) else None)
        if lower is None:
            raise TraceError(f"{node.scope}: a training plan cannot run {node.op!r} backwards")
        lower(node, g)

    def _to_input(self, node: Node, kernel: Kernel, call: Callable[[Map, bool], Call], *read: Map) -> None:
        """Add the step from the gradient of a node's result to that of its first input, if anyone wants it.

        Args:
            kernel: what runs.
            call: its arguments from the map to write, and whether to add to what is there.
            read: the maps it reads.
        """
        target = self._target(node.inputs[0])
        if target is not None:
            self.low.add(node.scope, kernel, lambda: call(*target), *read, target[0])

    def _batch_norm(self, node: Node, g: Map) -> None:
        x, attrs, narrow = self.low.like(node.inputs[0], g), node.attrs, g.buffer.kind != FLOAT32
        if attrs.get("residual"):
            # The shortcut may own this very map: whoever adds to it later comes after the steps below.
            self._pass_on(node.inputs[-1], g, True, node.scope)
        wide = spread(x)
        kind, slope, cap = attrs.get("activation", IDENTITY)
        silu, frozen = kind == pointwise.SILU, not (attrs["training"] and self.low.training)
        kept = self.low.kept[id(node.output)]
        factors = self.low.constants.reserve(3 * wide)
        places = [self._parameter(value, wide) for value in node.inputs[1:3]]
        d_gamma, d_beta = (place[0] if place else self.low.constants.reserve(wide) for place in places)
        scratch = self.low.scratch(norm.norm_scratch(x))
        form = {"kept": kept, "factors": factors, "slope": slope, "cap": cap, "silu": silu}
        self.low.add(
            node.scope, narrow_norm.narrow_sums if narrow else norm.normalise_sums,
            lambda: norm.sums_call(
                x, g, **form, scratch=scratch(), d_gamma=d_gamma, d_beta=d_beta, frozen=frozen
            ),
            x, g,
        )  # fmt: skip
        for value, place in zip(node.inputs[1:3], places, strict=True):
            if place is not None:
                self._sum_up(value, *place, x.c, node.scope)
        self._to_input(
            node, narrow_norm.narrow_gradient if narrow else norm.normalise_gradient,
            lambda into, add: norm.gradient_call(x, g, into, **form, add=add), x, g,
        )  # fmt: skip

    def _activation(self, node: Node, g: Map) -> None:
        x, form = self.low.map(node.inputs[0]), activation_of(node) or IDENTITY
        self._to_input(
            node, pointwise.activate_gradient,
            lambda into, add: pointwise.activate_gradient_call(x, g, into, *form, add), x, g,
        )  # fmt: skip

    def _prelu(self, node: Node, g: Map) -> None:
        x, given, target = self.low.map(node.inputs[0]), node.inputs[1], self._target(node.inputs[0])
        slope, cap = IDENTITY[1:]
        if constant(given).requires_grad:
            shares = Map(Buffer(*x.shape[:3], spaced(x.c)), x.c)
            form = (pointwise.SLOPES, slope, cap, False)
            self.low.add(
                node.scope, pointwise.activate_gradient,
                lambda: pointwise.activate_gradient_call(x, g, shares, *form), x, g, shares,
            )  # fmt: skip
            self._bias(given, shares, node.scope)
        if target is not None:
            into, add = target
            slopes = self.low.constants.vector(given)
            back = (pointwise.PRELU, slope, cap, add, slopes)
            self.low.add(
                node.scope, pointwise.activate_gradient,
                lambda: pointwise.activate_gradient_call(x, g, into, *back), x, g, into,
            )  # fmt: skip

    def _softmax(self, node: Node, g: Map) -> None:
        y = self.low.map(node.output)
        self._to_input(
            node, pointwise.softmax_gradient,
            lambda into, add: pointwise.softmax_gradient_call(y, g, into, add), y, g,
        )  # fmt: skip

    def _max_pool2d(self, node: Node, g: Map) -> None:
        x, y = self.low.map(node.inputs[0]), self.low.map(node.output)
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        self._to_input(
            node, pool.max_pool_gradient,
            lambda into, add: pool.max_pool_gradient_call(x, y, g, into, *sizes, add), x, y, g,
        )  # fmt: skip

    def _avg_pool2d(self, node: Node, g: Map) -> None:
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        count = bool(node.attrs["count_include_pad"])
        self._to_input(
            node, pool.average_pool_gradient,
            lambda into, add: pool.average_pool_gradient_call(g, into, *sizes, count, add), g,
        )  # fmt: skip

    def _global_avg_pool2d(self, node: Node, g: Map) -> None:
        self._to_input(
            node, pool.global_average_gradient,
            lambda into, add: pool.global_average_gradient_call(g, into, add), g,
        )  # fmt: skip

    def _upsample_nearest(self, node: Node, g: Map) -> None:
        scale = node.attrs["scale"]
        self._to_input(
            node, pool.upsample_gradient,
            lambda into, add: pool.upsample_gradient_call(g, into, scale, add), g,
        )  # fmt: skip

    def _add(self, node: Node, g: Map) -> None:
        a, b = node.inputs
        # Only one of the two may own the map, and only if the other's share was taken out before.
        self._pass_on(a, g, False, node.scope)
        self._pass_on(b, g, True, node.scope)

    def _concat(self, node: Node, g: Map) -> None:
        c0 = 0
        for value in node.inputs:
            part = Map(g.buffer, value.shape[-1], g.c0 + c0)
            c0 += value.shape[-1]
            if self.low.in_place(value, node.output):
                self._pass_on(value, part, True, node.scope)
            elif (target := self._target(value)) is not None:
                self.low.copy(node.scope, part, *target)

    def _getitem(self, node: Node, g: Map) -> None:
        target = self._target(node.inputs[0])
        if target is not None:
            whole, add = target
            if not add:
                self.low.add(node.scope, pointwise.clear, lambda: pointwise.clear_call(whole), whole)
            self.low.copy(node.scope, g, Map(whole.buffer, g.c, whole.c0 + sliced_from(node)), True)

    def _reshape(self, node: Node, g: Map) -> None:
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            if not add:
                self.low.unshared.add(into.buffer)
            self.low.add(
                node.scope, pointwise.copy, lambda: flatten_call(into, g, back=True, add=add), g, into
            )  # fmt: skip

    def _dropout(self, node: Node, g: Map) -> None:
        layer = self.low.dropouts[id(node.output)]
        self._to_input(
            node, pointwise.dropout,
            lambda into, add: pointwise.dropout_call(g, into, node.attrs["p"], layer, add), g,
        )  # fmt: skip
