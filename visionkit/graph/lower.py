"""From a graph to kernel calls: the forward half.

Every node becomes one or more steps that read and write maps in one memory. Layout is decided here:
halos as wide as their readers need, parts of a concatenation written in place, weights packed.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import TraceError
from ..kernels import conv, depthwise, inverted, norm, pointwise, pool, staged, winograd, winograd_deep
from ..kernels.jit import LANES, Kernel
from ..kernels.memory import Buffer, Call, Map, call, padded, spaced
from ..tensor import Tensor
from .choice import Choose
from .constants import Constants
from .geometry import (
    Pair,
    as_filter,
    constant,
    flatten_call,
    four,
    group_slices,
    merges,
    sliced_from,
    weight_strides,
    window_pixels,
    window_taps,
)
from .memory import Step
from .passes import IDENTITY, activation_of
from .trace import Graph, Node, Value

#: (kernel, stride, padding, dilation) that Winograd's form is made for.
_WINOGRAD = ((3, 3), (1, 1), (1, 1), (1, 1))


class Lowering:
    """Steps, maps and constants of one plan while it is being made.

    Args:
        graph: after the passes.
        training: batch-norms use the batch's statistics where the node says so, maps are kept.
        threads: how many threads will share each step.
        choose: which convolutions take Winograd's form.
    """

    def __init__(self, graph: Graph, training: bool, threads: int, choose: Choose) -> None:
        self.graph, self.training, self.threads, self.choose = graph, training, threads, choose
        self.constants = Constants()
        self.steps: list[Step] = []
        self.maps: dict[int, Map] = {}
        self.kept: dict[int, int] = {}  # of batch-norm outputs: where their statistics stand
        self.dropouts: dict[int, int] = {}  # of dropout outputs: the layer's number
        self.unshared: set[Buffer] = set()
        self.scratch_size = 0
        self.slack = 64  # numbers behind the memory's end that kernels may read
        self.gain = 1.0  # of the pictures' numbers in the map of the input
        self._placed = self._placements()
        given = graph.inputs[0]
        self.input = self.maps[id(given)] = Map(self.picture(given), given.shape[-1])
        self.unshared.add(self.input.buffer)

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

    # ---- memory ---------------------------------------------------------------------------------

    def scratch(self, size: int) -> Callable[[], int]:
        """Room that a step may use while it runs; the place is known once the memory is laid out."""
        self.scratch_size = max(self.scratch_size, size)
        return lambda: self.constants.reserved

    def map(self, value: Value) -> Map:
        """The map of a value that has been computed."""
        if id(value) not in self.maps:
            raise TraceError("a plan's operations read maps, not constants")
        return self.maps[id(value)]

    def new_map(self, value: Value) -> Map:
        """A map for a result: in a concatenation's buffer where it was placed there, else in its own."""
        if id(value) in self._placed:
            whole, c0 = self._placed[id(value)]
            if id(whole) not in self.maps:
                self.new_map(whole)
            made = Map(self.maps[id(whole)].buffer, value.shape[-1], c0)
        else:
            made = Map(self.buffer(value), value.shape[-1])
        self.maps[id(value)] = made
        return made

    def buffer(self, value: Value) -> Buffer:
        """Storage of a result."""
        n, h, w, c = four(value.shape)
        return Buffer(n, h, w, spaced(c))

    def picture(self, value: Value) -> Buffer:
        """Storage of the network's input."""
        return Buffer(*four(value.shape))

    def take_call(self) -> tuple[Kernel, NDArray[np.int64]]:
        """The kernel that takes pictures in, and its integers."""
        return pointwise.take_picture, call(self.input.place)[0]

    def in_place(self, part: Value, whole: Value) -> bool:
        """Whether `part` is computed straight into the concatenation `whole`."""
        return id(part) in self._placed and self._placed[id(part)][0] is whole

    def apart(self, part: Map, whole: Map) -> Map:
        """`part` of `whole` if vectors can be written there, else a map of its own to be copied from."""
        ends_well = part.c % LANES == 0 or part.c0 + part.c == whole.c0 + whole.c
        if (part.c0 - whole.c0) % LANES == 0 and ends_well:
            return part
        return Map(Buffer(*part.shape[:3], spaced(part.c)), part.c)

    def copy(self, name: str, x: Map, y: Map, add: bool = False) -> None:
        """Copy or add x to y, channel by channel; y's spare lanes stay as they are: zero."""
        self.unshared.add(y.buffer)
        self.add(name, pointwise.copy, lambda: pointwise.copy_call(x, y, add), x, y)

    def add(self, name: str, kernel: Kernel, make: Callable[[], Call], *maps: Map | None) -> None:
        """Append a step that touches `maps`."""
        self.steps.append(Step(name, kernel, make, tuple({m.buffer: 0 for m in maps if m is not None})))

    def _placements(self) -> dict[int, tuple[Value, int]]:
        """Values that can be computed straight into their part of a concatenation."""
        placed: dict[int, tuple[Value, int]] = {}
        wholes = {id(node.output) for node in self.graph.nodes if node.op == "concat"}
        for node in self.graph.nodes:
            if node.op != "concat":
                continue
            parts, c0 = node.inputs, 0
            fits = len({id(part) for part in parts}) == len(parts)
            for i, part in enumerate(parts):
                fits &= part.node is not None and id(part) not in wholes and id(part) not in placed
                fits &= part.shape[-1] % LANES == 0 or i == len(parts) - 1
                fits &= part.node is not None and part.node.op not in ("reshape", "dropout")
            for part in parts if fits else ():
                placed[id(part)] = (node.output, c0)
                c0 += part.shape[-1]
        return placed

    # ---- nodes ----------------------------------------------------------------------------------

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

    def _batch_norm(self, node: Node) -> None:
        x, attrs, y = self.map(node.inputs[0]), node.attrs, self.new_map(node.output)
        batch = bool(attrs["training"]) and self.training
        gamma, beta = (self.constants.vector(value) for value in node.inputs[1:3])
        mean, variance = (self.constants.vector(value, changes=batch) for value in node.inputs[3:5])
        kept = self.kept[id(node.output)] = self.constants.reserve(norm.KEPT * padded(x.c))
        kind, slope, cap = attrs.get("activation", IDENTITY)
        silu = kind == pointwise.SILU
        residual = self.map(node.inputs[-1]) if attrs.get("residual") else None
        places = {"kept": kept, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        if batch:
            scratch = self.scratch(norm.norm_scratch(x))
            self.add(
                node.scope, norm.batch_statistics,
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
            node.scope, norm.normalise,
            lambda: norm.normalise_call(
                x, y, kept=kept, slope=slope, cap=cap, silu=silu, residual=residual,
                residual_mode=attrs.get("residual", 0),
            ),
            x, y, residual,
        )  # fmt: skip

    def _activation(self, node: Node) -> None:
        x, y, form = self.map(node.inputs[0]), self.new_map(node.output), activation_of(node) or IDENTITY
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
