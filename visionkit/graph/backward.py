"""From a graph to kernel calls: the backward half.

Nodes are lowered in reverse. A value's gradient gets a map when its first reader delivers it; later
readers add to it. Where an operation only passes its gradient on, the map itself is passed on.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import TraceError
from ..kernels import conv, depthwise, norm, pointwise, pool, wgrad, winograd, winograd_deep, winograd_wgrad
from ..kernels.memory import Buffer, Call, Map, call, padded, spaced
from ..tensor import Tensor
from .geometry import (
    Pair,
    Tap,
    as_filter,
    constant,
    flatten_call,
    group_slices,
    merges,
    phases,
    reach,
    sliced_from,
    weight_strides,
    window_taps,
)
from .lower import Lowering
from .passes import IDENTITY, activation_of
from .trace import Node, Value


@dataclass
class Gradient:
    """Where the gradient of a parameter is summed: at `at`, in kernel order."""

    tensor: Tensor
    at: int


def _plain(shape: dict[str, Pair]) -> bool:
    """Whether Winograd's forms can compute this convolution's gradients."""
    return shape["kernel"] == (3, 3) and all(
        shape[part] == (1, 1) for part in ("stride", "padding", "dilation")
    )


class Backward:
    """Appends the backward steps to a lowered forward half.

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

    def lower(self) -> None:
        """Lower all nodes, last first."""
        for node in reversed(self.graph.nodes):
            if id(node.output) not in self._wanted or id(node.output) not in self._maps:
                continue
            gradient = self._maps[id(node.output)]
            lower = getattr(self, f"_{node.op}", None) or (self._activation if activation_of(node) else None)
            if lower is None:
                raise TraceError(f"{node.scope}: a training plan cannot run {node.op!r} backwards")
            lower(node, gradient)

    # ---- gradients of maps and parameters -------------------------------------------------------

    def _find_wanted(self) -> set[int]:
        """Values that depend on a parameter that wants a gradient."""
        wanted: set[int] = set()
        for node in self.graph.nodes:
            for value in node.inputs:
                if id(value) in wanted or (value.tensor is not None and value.tensor.requires_grad):
                    wanted.add(id(node.output))
        return wanted

    def _new(self, value: Value) -> Map:
        like = self.low.map(value)
        return Map(Buffer(*like.shape[:3], spaced(like.c)), like.c)

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

    # ---- nodes ----------------------------------------------------------------------------------

    def _conv2d(self, node: Node, g: Map) -> None:
        attrs, weight = node.attrs, constant(node.inputs[1])
        self._convolution(
            node, g, weight, attrs["stride"], attrs["padding"], attrs["dilation"], attrs["groups"]
        )  # fmt: skip

    def _linear(self, node: Node, g: Map) -> None:
        self._convolution(node, g, as_filter(constant(node.inputs[1])), (1, 1), (0, 0), (1, 1), 1)

    def _convolution(
        self, node: Node, g: Map, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> None:
        x, kernel = self.low.map(node.inputs[0]), (weight.shape[2], weight.shape[3])
        if len(node.inputs) > 2:
            self._bias(node.inputs[2], g, node.scope)
        target = self._target(node.inputs[0])
        shape = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        place = self._parameter(node.inputs[1], weight.size)
        if groups > 1 and groups == x.c == g.c:
            self._depthwise(node, x, g, target, place, shape, weight)
        else:
            for xs, gs, start in group_slices(x, g, groups):
                if place is not None:
                    self._weights(node.scope, xs, gs, place[0] + start, g.c, shape)
            for i, (xs, gs, start) in enumerate(group_slices(x, g, groups)):
                if target is not None:
                    part = Map(target[0].buffer, xs.c, target[0].c0 + i * xs.c)
                    into = self.low.apart(part, target[0])
                    if into is part:
                        self._data(node.scope, gs, part, target[1], weight, start, shape)
                    else:
                        self._data(node.scope, gs, into, False, weight, start, shape)
                        self.low.copy(node.scope, into, part, target[1])
        if place is not None:
            self._sum_up(node.inputs[1], *place, weight.size, node.scope)

    def _bias(self, value: Value, g: Map, name: str) -> None:
        place = self._parameter(value, padded(g.c))
        if place is None:
            return
        scratch = self.low.scratch(wgrad.bias_scratch(g))
        self.low.add(name, wgrad.bias_gradient, lambda: wgrad.bias_call(g, scratch(), place[0]), g)
        self._sum_up(value, *place, g.c, name)

    def _weights(self, name: str, x: Map, g: Map, at: int, columns: int, shape: dict[str, Pair]) -> None:
        kernel, threads = shape["kernel"], self.low.threads
        if _plain(shape) and winograd_wgrad.pays(g, x.c):
            scratch = self.low.scratch(winograd_wgrad.scratch_size(g, x.c, threads))
            self.low.add(
                name, winograd_wgrad.winograd_wgrad,
                lambda: winograd_wgrad.wgrad_call(
                    x, g, scratch=scratch(), gradient=at, columns=columns, threads=threads
                ),
                x, g,
            )  # fmt: skip
            return
        merged = merges(x, shape["dilation"]) and x.c < 16
        taps, length = (kernel[0], kernel[1] * x.c) if merged else (kernel[0] * kernel[1], x.c)
        scratch = self.low.scratch(wgrad.wgrad_scratch(taps, length, g, threads))
        padding, dilation = shape["padding"], shape["dilation"]
        self.low.add(
            name, wgrad.wgrad,
            lambda: wgrad.wgrad_call(
                self.low.constants.tables, x, g, taps=window_taps(x, kernel, padding, dilation, merged),
                length=length, stride=shape["stride"], scratch=scratch(), gradient=at, columns=columns,
                threads=threads,
            ),
            x, g,
        )  # fmt: skip

    def _data(
        self, name: str, g: Map, target: Map, add: bool, weight: Tensor, start: int, shape: dict[str, Pair]
    ) -> None:
        """The data gradient: for every phase of the stride a convolution of g with some of the taps."""
        zero = self.low.constants.zeros(target.c)
        if _plain(shape) and winograd.pays(target, g.c, True):
            # The same convolution with every filter turned by half a turn, in and out exchanged.
            s_kh, s_kw, s_i, s_o = weight_strides(weight)
            strides = (start * s_o + 2 * (s_kh + s_kw), -s_kh, -s_kw, s_o, s_i)
            self.low.winograd(
                name, g, target, weight, strides, zero, residual=target if add else None, residual_mode=1
            )  # fmt: skip
            return
        if _plain(shape) and winograd_deep.pays(target, g.c):
            turned = self.low.constants.backward(weight, start, g.c, tuple(reversed(range(9))))
            self.low.winograd_deep(name, g, target, turned, zero, target if add else None)
            return
        rows, columns = (phases(target.shape[1 + i], shape, i) for i in (0, 1))
        if not add and not all(taps for _, taps in [*rows, *columns]):
            self.low.add(name, pointwise.clear, lambda: pointwise.clear_call(target), target)
            add = True
        for i, (y_phase, y_taps) in enumerate(rows):
            for j, (x_phase, x_taps) in enumerate(columns):
                if not y_taps or not x_taps or i >= target.shape[1] or j >= target.shape[2]:
                    continue
                far = max(reach(g.shape[1 + k], phase, taps) for k, phase, taps in
                            ((0, y_phase, y_taps), (1, x_phase, x_taps)))  # fmt: skip
                g.buffer.halo = max(g.buffer.halo, far)
                kw = shape["kernel"][1]
                chosen = tuple(a * kw + b for a, _ in y_taps for b, _ in x_taps)
                weights = self.low.constants.backward(weight, start, g.c, chosen)

                def make(
                    y_phase: slice = y_phase, x_phase: slice = x_phase, y_taps: list[Tap] = y_taps,
                    x_taps: list[Tap] = x_taps, weights: int = weights,
                ) -> Call:  # fmt: skip
                    row, step = g.buffer.row, g.buffer.step
                    taps = np.array([a * row + b * step for _, a in y_taps for _, b in x_taps], np.int32)
                    pixels = target.offsets(y_phase, x_phase)
                    n = np.arange(g.buffer.n, dtype=np.int64)[:, None, None] * g.buffer.image
                    lines = np.arange(len(range(target.shape[1])[y_phase]), dtype=np.int64)[:, None] * row
                    cells = np.arange(len(range(target.shape[2])[x_phase]), dtype=np.int64) * step
                    return conv.conv_call(
                        self.low.constants.tables, g, target, taps=taps, length=g.c, weights=weights,
                        bias=zero, x_pixels=(n + lines + cells).astype(np.int32).ravel(), y_pixels=pixels,
                        residual=target, residual_mode=3 if add else 0, residual_pixels=pixels,
                        threads=self.low.threads,
                    )  # fmt: skip

                self.low.add(name, conv.conv, make, g, target)

    def _depthwise(
        self, node: Node, x: Map, g: Map, target: tuple[Map, bool] | None, place: tuple[int, bool] | None,
        shape: dict[str, Pair], weight: Tensor,
    ) -> None:  # fmt: skip
        if place is not None:
            scratch = self.low.scratch(depthwise.weight_scratch(g, shape["kernel"]))
            self.low.add(
                node.scope, depthwise.depthwise_weight_gradient,
                lambda: depthwise.weight_gradient_call(x, g, **shape, scratch=scratch(), target=place[0]),
                x, g,
            )  # fmt: skip
        if target is not None:
            weights = self.low.constants.depthwise(weight)
            into, add = target
            self.low.add(
                node.scope, depthwise.depthwise_input_gradient,
                lambda: depthwise.input_gradient_call(g, into, **shape, weights=weights, add=add),
                g, into,
            )  # fmt: skip

    def _batch_norm(self, node: Node, g: Map) -> None:
        x, attrs = self.low.map(node.inputs[0]), node.attrs
        if attrs.get("residual"):
            # The shortcut may own this very map: whoever adds to it later comes after the steps below.
            self._pass_on(node.inputs[-1], g, True, node.scope)
        wide = padded(x.c)
        kind, slope, cap = attrs.get("activation", IDENTITY)
        silu, frozen = kind == pointwise.SILU, not (attrs["training"] and self.low.training)
        kept = self.low.kept[id(node.output)]
        factors = self.low.constants.reserve(3 * wide)
        places = [self._parameter(value, wide) for value in node.inputs[1:3]]
        d_gamma, d_beta = (place[0] if place else self.low.constants.reserve(wide) for place in places)
        scratch = self.low.scratch(norm.norm_scratch(x))
        form = {"kept": kept, "factors": factors, "slope": slope, "cap": cap, "silu": silu}
        self.low.add(
            node.scope, norm.normalise_sums,
            lambda: norm.sums_call(
                x, g, **form, scratch=scratch(), d_gamma=d_gamma, d_beta=d_beta, frozen=frozen
            ),
            x, g,
        )  # fmt: skip
        for value, place in zip(node.inputs[1:3], places, strict=True):
            if place is not None:
                self._sum_up(value, *place, x.c, node.scope)
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            self.low.add(
                node.scope, norm.normalise_gradient, lambda: norm.gradient_call(x, g, into, **form, add=add),
                x, g, into,
            )  # fmt: skip

    def _activation(self, node: Node, g: Map) -> None:
        x, target = self.low.map(node.inputs[0]), self._target(node.inputs[0])
        if target is not None:
            into, add = target
            form = activation_of(node) or IDENTITY
            self.low.add(
                node.scope, pointwise.activate_gradient,
                lambda: pointwise.activate_gradient_call(x, g, into, *form, add), x, g, into,
            )  # fmt: skip

    def _softmax(self, node: Node, g: Map) -> None:
        y, target = self.low.map(node.output), self._target(node.inputs[0])
        if target is not None:
            into, add = target
            self.low.add(
                node.scope, pointwise.softmax_gradient,
                lambda: pointwise.softmax_gradient_call(y, g, into, add), y, g, into,
            )  # fmt: skip

    def _max_pool2d(self, node: Node, g: Map) -> None:
        x, y, target = self.low.map(node.inputs[0]), self.low.map(node.output), self._target(node.inputs[0])
        if target is not None:
            into, add = target
            sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
            self.low.add(
                node.scope, pool.max_pool_gradient,
                lambda: pool.max_pool_gradient_call(x, y, g, into, *sizes, add), x, y, g, into,
            )  # fmt: skip

    def _avg_pool2d(self, node: Node, g: Map) -> None:
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
            count = bool(node.attrs["count_include_pad"])
            self.low.add(
                node.scope, pool.average_pool_gradient,
                lambda: pool.average_pool_gradient_call(g, into, *sizes, count, add), g, into,
            )  # fmt: skip

    def _global_avg_pool2d(self, node: Node, g: Map) -> None:
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            self.low.add(
                node.scope, pool.global_average_gradient,
                lambda: pool.global_average_gradient_call(g, into, add), g, into,
            )  # fmt: skip

    def _upsample_nearest(self, node: Node, g: Map) -> None:
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            scale = node.attrs["scale"]
            self.low.add(
                node.scope, pool.upsample_gradient,
                lambda: pool.upsample_gradient_call(g, into, scale, add), g, into,
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
        target = self._target(node.inputs[0])
        if target is not None:
            into, add = target
            layer = self.low.dropouts[id(node.output)]
            self.low.add(
                node.scope, pointwise.dropout,
                lambda: pointwise.dropout_call(g, into, node.attrs["p"], layer, add), g, into,
            )  # fmt: skip
