"""From a graph to kernel calls: the forward half. Every node becomes one or more steps."""

from ..errors import TraceError
from ..kernels import narrow_norm, norm, pointwise, pool
from ..kernels.memory import Map
from ..kernels.narrow import FLOAT32, spread
from .geometry import flatten_call, sliced_from
from .lower_conv import ConvolutionLowering
from .passes import IDENTITY, activation_of
from .trace import Node


class Lowering(ConvolutionLowering):
    """Appends the forward steps of a graph."""

    def forward(self) -> None:
        """Lower all nodes."""
        for node in self.graph.nodes:
            lower = getattr(self, f"_{node.op}", None) or (self._activation if activation_of(node) else None)
            if lower is None:
                raise TraceError(
                    f"{node.scope or 'the network'}: a plan cannot run the operation {node.op!r}",
                    remedy="call the network without compile, or leave the operation to the codec",
                )
            lower(node)

    def _batch_norm(self, node: Node) -> None:
        attrs, y = node.attrs, self.new_map(node.output)
        x = self.like(node.inputs[0], y)
        narrow = y.buffer.kind != FLOAT32
        batch = bool(attrs["training"]) and self.training
        gamma, beta = (self.constants.vector(value) for value in node.inputs[1:3])
        mean, variance = (self.constants.vector(value, changes=batch) for value in node.inputs[3:5])
        kept = self.kept[id(node.output)] = self.constants.reserve(norm.KEPT * spread(x))
        kind, slope, cap = attrs.get("activation", IDENTITY)
        silu = kind == pointwise.SILU
        residual = self.like(node.inputs[-1], y) if attrs.get("residual") else None
        places = {"kept": kept, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        if batch:
            scratch = self.scratch(norm.norm_scratch(x))
            self.add(
                node.scope, narrow_norm.narrow_statistics if narrow else norm.batch_statistics,
                lambda: norm.statistics_call(
                    x, **places, scratch=scratch(), epsilon=attrs["eps"], momentum=attrs["momentum"]
                ),
                x,
            )  # fmt: skip
        else:
            self.add(
                node.scope, norm.running_statistics,
                lambda: norm.frozen_call(x, **places, epsilon=attrs["eps"]), x,
            )  # fmt: skip
        self.add(
            node.scope, narrow_norm.narrow_normalise if narrow else norm.normalise,
            lambda: norm.normalise_call(
                x, y, kept=kept, slope=slope, cap=cap, silu=silu, residual=residual,
                residual_mode=attrs.get("residual", 0),
            ),
            x, y, residual,
        )  # fmt: skip

    def _activation(self, node: Node) -> None:
        x, y, form = self.map(node.inputs[0]), self.new_map(node.output), activation_of(node) or IDENTITY
        self.add(node.scope, pointwise.activate, lambda: pointwise.activate_call(x, y, *form), x, y)

    def _prelu(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        form = (pointwise.PRELU, *IDENTITY[1:], self.constants.vector(node.inputs[1]))
        self.add(node.scope, pointwise.activate, lambda: pointwise.activate_call(x, y, *form), x, y)

    def _softmax(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        if node.attrs["axis"] not in (-1, len(node.output.shape) - 1):
            raise TraceError(f"{node.scope}: a plan's softmax runs over the channels, the last axis")
        self.add(node.scope, pointwise.softmax, lambda: pointwise.softmax_call(x, y), x, y)

    def _max_pool2d(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        self.add(node.scope, pool.max_pool, lambda: pool.pool_call(x, y, *sizes), x, y)

    def _avg_pool2d(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        count = int(node.attrs["count_include_pad"])
        self.add(node.scope, pool.average_pool, lambda: pool.pool_call(x, y, *sizes, count), x, y)

    def _global_avg_pool2d(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        self.add(node.scope, pool.global_average, lambda: pool.global_average_call(x, y), x, y)

    def _upsample_nearest(self, node: Node) -> None:
        x, y, scale = self.map(node.inputs[0]), self.new_map(node.output), node.attrs["scale"]
        self.add(node.scope, pool.upsample, lambda: pool.upsample_call(x, y, scale), x, y)

    def _add(self, node: Node) -> None:
        a, b = (self.map(value) for value in node.inputs)
        if a.shape != b.shape:
            raise TraceError(f"{node.scope}: a plan adds maps of one shape, not {a.shape} and {b.shape}")
        y = self.new_map(node.output)
        self.add(node.scope, pointwise.combine, lambda: pointwise.combine_call(a, y), a, y)
        self.add(node.scope, pointwise.combine, lambda: pointwise.combine_call(b, y, keep=1.0), b, y)

    def _concat(self, node: Node) -> None:
        if node.attrs["axis"] not in (-1, len(node.output.shape) - 1):
            raise TraceError(f"{node.scope}: a plan concatenates channels, the last axis")
        if all(self.in_place(part, node.output) for part in node.inputs):
            return  # every part was computed in its place
        y = self.new_map(node.output)
        c0 = y.c0
        for value in node.inputs:
            self.copy(node.scope, self.map(value), Map(y.buffer, value.shape[-1], c0))
            c0 += value.shape[-1]

    def _getitem(self, node: Node) -> None:
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        self.copy(node.scope, Map(x.buffer, y.c, x.c0 + sliced_from(node)), y)

    def _reshape(self, node: Node) -> None:
        x = self.map(node.inputs[0])
        n, h, w, c = x.shape
        if node.output.shape != (n, h * w * c):
            raise TraceError(f"{node.scope}: a plan only flattens maps, {x.shape} to {(n, h * w * c)}")
        y = self.new_map(node.output)
        self.unshared.add(y.buffer)
        self.add(node.scope, pointwise.copy, lambda: flatten_call(x, y), x, y)

    def _dropout(self, node: Node) -> None:
        x = self.map(node.inputs[0])
        if not self.training:
            self.maps[id(node.output)] = x
            return
        y, layer, p = self.new_map(node.output), len(self.dropouts) + 1, node.attrs["p"]
        self.dropouts[id(node.output)] = layer
        self.add(node.scope, pointwise.dropout, lambda: pointwise.dropout_call(x, y, p, layer), x, y)
