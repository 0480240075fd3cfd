"""The steps of convolutions: direct, by Winograd in its forms, depthwise, fused, and of linear layers."""

import numpy as np

from ..kernels import conv, depthwise, inverted, pointwise, staged, winograd, winograd_deep
from ..kernels.memory import Map
from ..tensor import Tensor
from .geometry import (
    Pair,
    as_filter,
    constant,
    group_slices,
    merges,
    weight_strides,
    window_pixels,
    window_taps,
)
from .layout import Layout
from .passes import IDENTITY
from .trace import Node

#: (kernel, stride, padding, dilation) that Winograd's form is made for.
_WINOGRAD = ((3, 3), (1, 1), (1, 1), (1, 1))


class ConvolutionLowering(Layout):
    """Appends the steps of convolutions, with the kernels that suit their shapes."""

    def _conv2d(self, node: Node) -> None:
        x, attrs = self.map(node.inputs[0]), node.attrs
        weight, y = constant(node.inputs[1]), self.new_map(node.output)
        count = len(node.inputs) - (1 if attrs.get("residual") else 0)
        bias = self.constants.vector(node.inputs[2]) if count > 2 else self.constants.zeros(y.c)
        kind, slope, cap = attrs.get("activation", IDENTITY)
        residual = self.map(node.inputs[-1]) if attrs.get("residual") else None
        kernel, stride = (weight.shape[2], weight.shape[3]), attrs["stride"]
        padding, dilation, groups = attrs["padding"], attrs["dilation"], attrs["groups"]
        silu = kind == pointwise.SILU
        if groups > 1 and groups == x.c == y.c:
            weights = self.constants.depthwise(weight)
            x.buffer.halo = max(x.buffer.halo, *padding)
            self.add(
                node.scope, depthwise.depthwise,
                lambda: depthwise.depthwise_call(
                    x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation, weights=weights,
                    bias=bias, slope=slope, cap=cap, silu=silu, residual=residual,
                    residual_mode=attrs.get("residual", 0),
                ),
                x, y, residual,
            )  # fmt: skip
            return
        for xs, ys, start in group_slices(x, y, groups):
            shortcut = residual and Map(residual.buffer, ys.c, residual.c0 + start)
            into = self.apart(ys, y)
            self.convolve(
                node.scope, xs, into, weight, start, bias + start, kernel, stride, padding, dilation,
                slope, cap, silu, shortcut, attrs.get("residual", 0),
            )  # fmt: skip
            if into is not ys:
                self.copy(node.scope, into, ys)

    def convolve(
        self, name: str, x: Map, y: Map, weight: Tensor, start: int, bias: int, kernel: Pair, stride: Pair,
        padding: Pair, dilation: Pair, slope: float = 1.0, cap: float = np.inf, silu: bool = False,
        residual: Map | None = None, residual_mode: int = 0,
    ) -> None:  # fmt: skip
        """One dense convolution of `x` into `y` with output channels start .. start + y.c of `weight`."""
        if self.training:  # the weight gradient reads it, too
            x.buffer.halo = max(x.buffer.halo, *padding)
        s_kh, s_kw, s_i, s_o = weight_strides(weight)
        strides = (start * s_o, s_kh, s_kw, s_i, s_o)
        points = self.choose.staged(y, x.c, kernel) if stride == dilation == (1, 1) else 0
        if points:
            self.staged(
                name, x, y, weight, strides, bias, kernel, padding, points, slope, cap, silu, residual,
                residual_mode,
            )  # fmt: skip
            return
        if (kernel, stride, padding, dilation) == _WINOGRAD and self.choose.winograd(y, x.c):
            self.winograd(name, x, y, weight, strides, bias, slope, cap, silu, residual, residual_mode)
            return
        if (kernel, stride, padding, dilation) == _WINOGRAD and self.training and winograd_deep.pays(y, x.c):
            self.winograd_deep(name, x, y, self.constants.forward(weight, start, y.c, 9, x.c), bias)
            return
        x.buffer.halo = max(x.buffer.halo, *padding)
        merged = merges(x, dilation)
        taps, length = (kernel[0], kernel[1] * x.c) if merged else (kernel[0] * kernel[1], x.c)
        weights = self.constants.forward(weight, start, y.c, taps, length)
        self.add(
            name, conv.conv,
            lambda: conv.conv_call(
                self.constants.tables, x, y, taps=window_taps(x, kernel, padding, dilation, merged),
                length=length, weights=weights, bias=bias, x_pixels=window_pixels(x, y, stride),
                y_pixels=y.offsets(), slope=slope, cap=cap, silu=silu, residual=residual,
                residual_mode=residual_mode, threads=self.threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def winograd(
        self, name: str, x: Map, y: Map, weight: Tensor, strides: tuple[int, int, int, int, int], bias: int,
        slope: float = 1.0, cap: float = np.inf, silu: bool = False, residual: Map | None = None,
        residual_mode: int = 0,
    ) -> None:  # fmt: skip
        """A 3x3 convolution by Winograd; `strides` are the filters' start and (KH, KW, in, out) steps."""
        filters = self.constants.winograd(weight, strides, x.c, y.c)
        zeros = self.constants.zeros(conv.BLOCK)
        scratch = self.scratch(winograd.scratch_size(y, x.c, self.threads))
        self.add(
            name, winograd.winograd,
            lambda: winograd.winograd_call(
                self.constants.tables, x, y, filters=filters, bias=bias, zeros=zeros, scratch=scratch(),
                slope=slope, cap=cap, silu=silu, residual=residual, residual_mode=residual_mode,
                threads=self.threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def staged(
        self, name: str, x: Map, y: Map, weight: Tensor, strides: tuple[int, int, int, int, int], bias: int,
        kernel: Pair, padding: Pair, points: int, slope: float, cap: float, silu: bool, residual: Map | None,
        residual_mode: int,
    ) -> None:  # fmt: skip
        """A convolution of stride 1 by Winograd's form of that many points, in stages."""
        filters = self.constants.staged(weight, strides, kernel, points, x.c, y.c)
        zeros = self.constants.zeros(conv.BLOCK)
        scratch = self.scratch(staged.scratch_size(y, x.c, kernel, points, self.threads))
        self.add(
            name, staged.staged,
            lambda: staged.staged_call(
                self.constants.tables, x, y, kernel=kernel, padding=padding, points=points, filters=filters,
                bias=bias, zeros=zeros, scratch=scratch(), slope=slope, cap=cap, silu=silu,
                residual=residual, residual_mode=residual_mode, threads=self.threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def winograd_deep(
        self, name: str, x: Map, y: Map, weights: int, bias: int, residual: Map | None = None
    ) -> None:
        """A 3x3 convolution by Winograd from filters packed for `conv`, 9 taps in order."""
        zeros = self.constants.zeros(conv.BLOCK)
        scratch = self.scratch(winograd_deep.scratch_size(y, self.threads))
        self.add(
            name, winograd_deep.winograd_deep,
            lambda: winograd_deep.winograd_call(
                self.constants.tables, x, y, weights=weights, bias=bias, zeros=zeros, scratch=scratch(),
                residual=residual, threads=self.threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def _inverted(self, node: Node) -> None:
        parts = node.attrs["parts"]
        *_, middle, last = parts
        x, y = self.map(node.inputs[0]), self.new_map(node.output)
        residual = self.map(node.inputs[1]) if len(node.inputs) > 1 else None
        hidden, threads = middle.output.shape[-1], self.threads
        stride, padding = middle.attrs["stride"][0], middle.attrs["padding"][0]

        def packed(part: Node) -> tuple[int, int]:
            """Where a part's weights and biases stand."""
            weight, outs = constant(part.inputs[1]), part.output.shape[-1]
            given = len(part.inputs) - bool(part.attrs.get("residual")) > 2
            bias = self.constants.vector(part.inputs[2]) if given else self.constants.zeros(outs)
            if part is middle:
                return self.constants.depthwise(weight), bias
            return self.constants.forward(weight, 0, outs, 1, weight.shape[1]), bias

        if parts[0] is middle:
            x.buffer.halo = max(x.buffer.halo, padding)
        expand = None if parts[0] is middle else packed(parts[0])
        depthwise_, project = packed(middle), packed(last)
        forms = [part.attrs.get("activation", IDENTITY)[1:] for part in (parts[0], middle, last)]
        scratch = self.scratch(inverted.scratch_size(x, y, hidden, stride, padding, threads))
        self.add(
            node.scope, inverted.inverted,
            lambda: inverted.inverted_call(
                self.constants.tables, x, y, hidden=hidden, stride=stride, padding=padding, expand=expand,
                depthwise=depthwise_, project=project,
                activations=tuple(number for form in forms for number in form), scratch=scratch(),
                residual=residual, residual_mode=last.attrs.get("residual", 0), threads=threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def _linear(self, node: Node) -> None:
        x, weight, y = self.map(node.inputs[0]), constant(node.inputs[1]), self.new_map(node.output)
        bias = self.constants.vector(node.inputs[2]) if len(node.inputs) > 2 else self.constants.zeros(y.c)
        one = (1, 1)
        self.convolve(node.scope, x, y, as_filter(weight), 0, bias, one, one, (0, 0), one)
