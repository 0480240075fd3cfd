"""The backward steps of convolutions: gradients of weights, of biases, and of what went in."""

import numpy as np

from ..kernels import conv, depthwise, pointwise, wgrad, winograd, winograd_deep, winograd_wgrad
from ..kernels.memory import Call, Map, padded
from ..tensor import Tensor
from .geometry import (
    Pair,
    Tap,
    as_filter,
    constant,
    group_slices,
    merges,
    phases,
    reach,
    weight_strides,
    window_taps,
)
from .gradients import Gradients
from .trace import Node, Value


def _plain(shape: dict[str, Pair]) -> bool:
    """Whether Winograd's forms can compute this convolution's gradients."""
    return shape["kernel"] == (3, 3) and all(
        shape[part] == (1, 1) for part in ("stride", "padding", "dilation")
    )


class ConvolutionBackward(Gradients):
    """Appends the backward steps of convolutions, dense and depthwise, and of linear layers."""

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
            into, add = target
            if shape["stride"] == (1, 1):
                self._turned(node.scope, g, into, add, weight, shape)
                return
            weights = self.low.constants.depthwise(weight)
            self.low.add(
                node.scope, depthwise.depthwise_input_gradient,
                lambda: depthwise.input_gradient_call(g, into, **shape, weights=weights, add=add),
                g, into,
            )  # fmt: skip

    def _turned(
        self, name: str, g: Map, target: Map, add: bool, weight: Tensor, shape: dict[str, Pair]
    ) -> None:
        """The data gradient of stride 1: the same depthwise convolution, filters turned by half a turn."""
        low, kernel, dilation = self.low, shape["kernel"], shape["dilation"]
        weights, zero = low.constants.depthwise(weight, turned=True), low.constants.zeros(g.c)
        padding = (
            dilation[0] * (kernel[0] - 1) - shape["padding"][0],
            dilation[1] * (kernel[1] - 1) - shape["padding"][1],
        )
        g.buffer.halo = max(g.buffer.halo, *padding)
        low.add(
            name, depthwise.depthwise,
            lambda: depthwise.depthwise_call(
                g, target, kernel=kernel, stride=(1, 1), padding=padding, dilation=dilation, weights=weights,
                bias=zero, residual=target if add else None, residual_mode=3,
            ),
            g, target,
        )  # fmt: skip
