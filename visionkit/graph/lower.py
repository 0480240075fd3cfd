"""From a graph to kernel calls: the forward half.

Every node becomes one or more steps that read and write maps in one memory. Layout is decided here:
halos as wide as their readers need, parts of a concatenation written in place, weights packed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import TraceError
from ..kernels import conv, depthwise, norm, pointwise, pool
from ..kernels.jit import LANES, Kernel
from ..kernels.memory import Buffer, Call, Map, Tables, call, padded
from ..tensor import Tensor
from .memory import Step, rounded
from .passes import IDENTITY, activation_of
from .trace import Graph, Node, Value

Pair = tuple[int, int]


@dataclass
class Pack:
    """Weights of one tensor copied into kernel order: before every training step, once for inference."""

    kernel: Kernel
    tensor: Tensor
    call: Call


@dataclass
class Vector:
    """A bias or a statistic, copied into memory before a run, back afterwards where the run changes it."""

    tensor: Tensor
    at: int
    changes: bool = False


def window_taps(x: Map, kernel: Pair, padding: Pair, dilation: Pair, merged: bool) -> np.ndarray:
    """Offset of each tap from an input pixel; one tap per kernel row if `merged`."""
    rows = [(i * dilation[0] - padding[0]) * x.buffer.row for i in range(kernel[0])]
    columns = [(j * dilation[1] - padding[1]) * x.buffer.step for j in range(1 if merged else kernel[1])]
    return np.array([r + c for r in rows for c in columns], np.int32)


def window_pixels(x: Map, y: Map, stride: Pair) -> np.ndarray:
    """Offset in x of the window of every pixel of y."""
    buffer = x.buffer
    n = np.arange(buffer.n, dtype=np.int64)[:, None, None] * buffer.image
    rows = np.arange(y.buffer.h, dtype=np.int64)[:, None] * stride[0] * buffer.row
    columns = np.arange(y.buffer.w, dtype=np.int64) * stride[1] * buffer.step
    return (n + rows + columns).astype(np.int32).ravel()


def merges(x: Map, dilation: Pair) -> bool:
    """Whether a kernel row is contiguous in x and can be summed as one tap."""
    return x.dense and dilation[1] == 1


class Lowering:
    """Steps, maps and constants of one plan while it is being made.

    Args:
        graph: after the passes.
        training: batch-norms use the batch's statistics where the node says so, maps are kept.
        threads: how many threads will share each step.
    """

    def __init__(self, graph: Graph, training: bool, threads: int) -> None:
        self.graph, self.training, self.threads = graph, training, threads
        self.tables = Tables()
        self.steps: list[Step] = []
        self.packs: list[Pack] = []
        self.vectors: dict[int, Vector] = {}
        self.maps: dict[int, Map] = {}
        self.kept: dict[int, int] = {}  # of batch-norm outputs: where their statistics stand
        self.dropouts: dict[int, Call] = {}  # of dropout outputs: the call, whose step the plan sets
        self.unshared: set[Buffer] = set()
        self.reserved = 0
        self.scratch_size = 0
        self._packed: dict[tuple[int, ...], int] = {}
        self._placed = self._placements()
        n, h, w, c = _four(graph.inputs[0].shape)
        self.input = Map(Buffer(n, h, w, c), c)
        self.maps[id(graph.inputs[0])] = self.input
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

    def reserve(self, size: int) -> int:
        """A place for `size` numbers that lasts as long as the plan."""
        at = self.reserved
        self.reserved += rounded(size)
        return at

    def scratch(self, size: int) -> Callable[[], int]:
        """Room that a step may use while it runs; the place is known once the memory is laid out."""
        self.scratch_size = max(self.scratch_size, size)
        return lambda: self.reserved

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
            n, h, w, c = _four(value.shape)
            made = Map(Buffer(n, h, w, padded(c)), c)
        self.maps[id(value)] = made
        return made

    def in_place(self, part: Value, whole: Value) -> bool:
        """Whether `part` is computed straight into the concatenation `whole`."""
        return id(part) in self._placed and self._placed[id(part)][0] is whole

    def vector(self, value: Value, changes: bool = False) -> int:
        """The place of a constant vector, padded with zeros."""
        tensor = constant(value)
        if id(tensor) not in self.vectors:
            self.vectors[id(tensor)] = Vector(tensor, self.reserve(padded(tensor.size)))
        vector = self.vectors[id(tensor)]
        vector.changes |= changes
        return vector.at

    def apart(self, part: Map, whole: Map) -> Map:
        """`part` of `whole` if vectors can be written there, else a map of its own to be copied from."""
        ends_well = part.c % LANES == 0 or part.c0 + part.c == whole.c0 + whole.c
        if (part.c0 - whole.c0) % LANES == 0 and ends_well:
            return part
        return Map(Buffer(*part.shape[:3], padded(part.c)), part.c)

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

    # ---- weights --------------------------------------------------------------------------------

    def pack_forward(self, tensor: Tensor, start: int, outs: int, taps: int, length: int) -> int:
        """Packed weights of output channels start .. start + outs, made once per tensor and form."""
        key = (id(tensor), start, outs, taps, length, 0)
        if key not in self._packed:
            at = self._packed[key] = self.reserve(conv.packed_size(taps, length, outs))
            strides = weight_strides(tensor)
            kw, inputs = tensor.shape[3], tensor.shape[1]
            integers = (start * strides[3], *strides, kw, inputs, at, taps, length)
            shape = (conv.depth_of(taps, length), outs, padded(outs))
            self.packs.append(Pack(conv.pack, tensor, call((*integers, *shape))))
        return self._packed[key]

    def pack_backward(self, tensor: Tensor, start: int, length: int, chosen: tuple[int, ...]) -> int:
        """Packed weights of the data gradient over output channels start .. start + length."""
        key = (id(tensor), start, length, *chosen, -1)
        if key not in self._packed:
            outs, taps = tensor.shape[1], len(chosen)
            at = self._packed[key] = self.reserve(conv.packed_size(taps, length, outs))
            strides = weight_strides(tensor)
            table = self.tables.add(np.array(chosen, np.int32))
            integers = (start * strides[3], *strides, tensor.shape[3], at, table, taps, length)
            shape = (conv.depth_of(taps, length), outs, padded(outs))
            self.packs.append(Pack(conv.pack_transposed, tensor, call((*integers, *shape))))
        return self._packed[key]

    def pack_taps(self, tensor: Tensor) -> int:
        """Depthwise weights as (tap, channel)."""
        key = (id(tensor), -2)
        if key not in self._packed:
            c, _, kh, kw = tensor.shape
            at = self._packed[key] = self.reserve(kh * kw * padded(c))
            s_kh, s_kw, _, s_o = weight_strides(tensor)
            if s_kh != kw * s_kw:
                raise TraceError("depthwise weights must lie in memory as (KH, KW, 1, C) or (C, 1, KH, KW)")
            integers = (0, s_kw, s_o, at, kh * kw, c, padded(c))
            self.packs.append(Pack(conv.pack_rows, tensor, call(integers)))
        return self._packed[key]

    def zeros(self, size: int) -> int:
        """A place of zeros, for layers without a bias."""
        key = (-3, padded(size))
        if key not in self._packed:
            self._packed[key] = self.reserve(padded(size))
        return self._packed[key]

    # ---- nodes ----------------------------------------------------------------------------------

    def _conv2d(self, node: Node) -> None:
        x, attrs = self.map(node.inputs[0]), node.attrs
        weight, y = constant(node.inputs[1]), self.new_map(node.output)
        count = len(node.inputs) - (1 if attrs.get("residual") else 0)
        bias = self.vector(node.inputs[2]) if count > 2 else self.zeros(y.c)
        kind, slope, cap = attrs.get("activation", IDENTITY)
        residual = self.map(node.inputs[-1]) if attrs.get("residual") else None
        kernel, stride = (weight.shape[2], weight.shape[3]), attrs["stride"]
        padding, dilation, groups = attrs["padding"], attrs["dilation"], attrs["groups"]
        x.buffer.halo = max(x.buffer.halo, *padding)
        silu = kind == pointwise.SILU
        if groups > 1 and groups == x.c == y.c:
            weights = self.pack_taps(weight)
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
        merged = merges(x, dilation)
        taps, length = (kernel[0], kernel[1] * x.c) if merged else (kernel[0] * kernel[1], x.c)
        weights = self.pack_forward(weight, start, y.c, taps, length)
        self.add(
            name, conv.conv,
            lambda: conv.conv_call(
                self.tables, x, y, taps=window_taps(x, kernel, padding, dilation, merged), length=length,
                weights=weights, bias=bias, x_pixels=window_pixels(x, y, stride), y_pixels=y.offsets(),
                slope=slope, cap=cap, silu=silu, residual=residual, residual_mode=residual_mode,
                threads=self.threads,
            ),
            x, y, residual,
        )  # fmt: skip

    def _linear(self, node: Node) -> None:
        x, weight, y = self.map(node.inputs[0]), constant(node.inputs[1]), self.new_map(node.output)
        bias = self.vector(node.inputs[2]) if len(node.inputs) > 2 else self.zeros(y.c)
        one = (1, 1)
        self.convolve(node.scope, x, y, as_filter(weight), 0, bias, one, one, (0, 0), one)

    def _batch_norm(self, node: Node) -> None:
        x, attrs, y = self.map(node.inputs[0]), node.attrs, self.new_map(node.output)
        batch = bool(attrs["training"]) and self.training
        gamma, beta = (self.vector(value) for value in node.inputs[1:3])
        mean, variance = (self.vector(value, changes=batch) for value in node.inputs[3:5])
        kept = self.kept[id(node.output)] = self.reserve(norm.KEPT * padded(x.c))
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
        made = self.dropouts[id(node.output)] = pointwise.dropout_call(layer)
        self.add(node.scope, pointwise.dropout, lambda: pointwise.fill_dropout(made, x, y, p, False), x, y)


def constant(value: Value) -> Tensor:
    """The tensor of a constant value."""
    if value.tensor is None:
        raise TraceError("weights of a planned layer are parameters, not results of other layers")
    return value.tensor


def weight_strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides in numbers of (KH, KW, in, out) of weights whose shape is (out, in, KH, KW)."""
    s_o, s_i, s_kh, s_kw = (stride // tensor.data.itemsize for stride in tensor.data.strides)
    return s_kh, s_kw, s_i, s_o


def as_filter(weight: Tensor) -> Tensor:
    """The (out, in) weights of a linear layer as those of a 1x1 convolution, in the same memory."""
    return Tensor(weight.data[:, :, None, None])


def group_slices(x: Map, y: Map, groups: int) -> list[tuple[Map, Map, int]]:
    """The channels of each group: input map, output map, first output channel."""
    ins, outs = x.c // groups, y.c // groups
    return [
        (Map(x.buffer, ins, x.c0 + g * ins), Map(y.buffer, outs, y.c0 + g * outs), g * outs)
        for g in range(groups)
    ]


def sliced_from(node: Node) -> int:
    """The first channel of a slice of channels, such as x[..., 4:8]."""
    index = node.attrs["index"]
    index = index if isinstance(index, tuple) else (index,)
    shape = node.inputs[0].shape
    whole = slice(None)
    leading = index[:-1] if len(index) == len(shape) else ()
    last = index[-1]
    fits = index == (Ellipsis, last) or all(part == whole for part in leading)
    if not fits or not isinstance(last, slice) or last.step not in (None, 1):
        raise TraceError(f"{node.scope}: a plan only takes slices of channels, x[..., a:b]", value=index)
    return last.indices(shape[-1])[0]


def flatten_call(x: Map, y: Map, back: bool = False, add: bool = False) -> Call:
    """Copy (N, H, W, C) to (N, H W C), or back."""
    n, h, w, c = x.shape
    flat = (y.origin, c, w * c, y.buffer.image)
    places = (*flat, *x.place) if back else (*x.place, *flat)
    return call((*places, n, h, w, c), (float(add),))


def _four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) == 2:
        return (shape[0], 1, 1, shape[1])
    if len(shape) != 4:
        raise TraceError(f"a plan's maps are (N, H, W, C) or (N, C), not {shape}")
    return (shape[0], shape[1], shape[2], shape[3])
