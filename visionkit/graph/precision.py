"""The forward half of a plan in bfloat16 or int8: maps are narrow where convolutions read them.

Convolutions multiply narrow numbers, sum in float32 or int32, and round once on the way to their map.
Max-pools, up-sampling and concatenation move narrow numbers. All else runs as `Lowering` has it, on float32
maps: a map of the wrong kind is converted, once. What the network returns is float32.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownNameError, UsageError
from ..kernels import narrow, pointwise
from ..kernels.dot import SUMS, missing
from ..kernels.memory import Buffer, Map, call, spaced
from ..kernels.narrow import BFLOAT16, FLOAT32, GROUP, INT8, MOST, grouped, move, narrow_max_pool
from ..kernels.narrow_conv import narrow_conv, narrow_conv_call, pack, packed_size, window
from ..kernels.narrow_depthwise import depthwise_weights, narrow_depthwise, narrow_depthwise_call
from ..tensor import Tensor
from .choice import Choose
from .constants import Pack
from .geometry import Pair, as_filter, constant, four
from .lower import Lowering
from .passes import IDENTITY
from .ranges import Ranges
from .trace import Graph, Node, Value

F32 = NDArray[np.float32]

#: The precisions of plans, and the kind of numbers that convolutions multiply.
PRECISIONS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "int8": INT8}

#: Operations that read and write narrow maps.
_NARROW = ("conv2d", "linear", "max_pool2d", "upsample_nearest", "concat")


def kind_of(precision: str, training: bool) -> int:
    """The kind of numbers of a precision that can be had here.

    Raises:
        UnknownNameError: there is no such precision.
        UsageError: this processor lacks it, or training cannot use it.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError("no such precision", value=precision, remedy=f"one of {', '.join(PRECISIONS)}")
    kind = PRECISIONS[precision]
    if training and kind == INT8:
        raise UsageError("training runs in float32 or bfloat16", value=precision)
    if lacking := missing(kind) if kind != FLOAT32 else "":
        raise UsageError(f"this processor cannot run {precision}: it lacks {lacking}", remedy="use float32")
    return kind


class Narrowing(Lowering):
    """Steps, maps and constants of a plan in bfloat16 or int8.

    Args:
        graph: after the passes.
        kind: BFLOAT16 or INT8.
        threads, choose, training: see `Layout`.
        ranges: of the graph's values, for INT8.

    Attributes:
        scales: of each narrow value, by id: what the numbers of every channel are to be multiplied with.
    """

    def __init__(
        self, graph: Graph, kind: int, threads: int, choose: Choose, ranges: Ranges | None = None,
        training: bool = False,
    ) -> None:  # fmt: skip
        if kind == INT8 and ranges is None:
            remedy = "calibrate it: visionkit weights calibrate, --calibrate, or calibrate(...)"
            raise UsageError("int8 needs the ranges of the network's values", remedy=remedy)
        self.kind = kind
        self.scales: dict[int, F32] = {}
        self._ranges = ranges.of(graph) if ranges else {}
        self._narrow = self._narrow_values(graph)
        given = graph.inputs[0]
        if all(is_dense(node) for node in graph.consumers(given)) and given not in graph.outputs:
            self._narrow.add(id(given))
        self._converted: dict[tuple[int, int], Map] = {}
        self._vectors: dict[bytes, int] = {}
        self._pooled: set[int] = set()  # pools that the convolution before them has done
        super().__init__(graph, training, threads, choose)
        if self.input.buffer.kind == INT8:
            self.gain = 1.0 / float(self._scale(given)[0])

    def _narrow_values(self, graph: Graph) -> set[int]:
        """The results, by id, that are stored in narrow numbers."""
        return {id(node.output) for node in graph.nodes if _writes_narrow(graph, node)}

    # ---- maps -----------------------------------------------------------------------------------

    def picture(self, value: Value) -> Buffer:
        """Storage of the network's input: pixels of 4 channels, or a multiple, where it is narrow."""
        n, h, w, c = four(value.shape)
        if id(value) not in self._narrow:
            return super().picture(value)
        self.scales[id(value)] = self._scale(value)
        return Buffer(n, h, w, -(-c // 4) * 4 // self.kind, kind=self.kind)

    def take_call(self) -> tuple[Callable[..., object], NDArray[np.int64]]:
        """The kernel that takes pictures, and its integers."""
        buffer = self.input.buffer
        if buffer.kind == FLOAT32:
            return super().take_call()
        return narrow.take_narrow_picture, call((*self.input.place, buffer.kind, buffer.step * buffer.kind))[
            0
        ]

    def buffer(self, value: Value) -> Buffer:
        """Storage of a result."""
        return self.storage(value, self.kind if id(value) in self._narrow else FLOAT32)

    def storage(self, value: Value, kind: int) -> Buffer:
        """Storage of a result in numbers of a kind."""
        n, h, w, c = four(value.shape)
        return Buffer(n, h, w, spaced(c) if kind == FLOAT32 else narrow.spaced(c, kind), kind=kind)

    def map(self, value: Value) -> Map:
        """The float32 map of a value that has been computed."""
        return self.as_kind(value, FLOAT32)

    def like(self, value: Value, y: Map) -> Map:
        """The map of a computed value in the kind of `y`."""
        return self.as_kind(value, y.buffer.kind)

    def as_kind(self, value: Value, kind: int) -> Map:
        """The map of a computed value in the wanted kind."""
        made = self.stored(value)
        if made.buffer.kind == kind:
            return made
        key = (id(value), kind)
        if key not in self._converted:
            y = self._converted[key] = Map(self.storage(value, kind), made.c)
            self._move("convert", value, y, value)
        return self._converted[key]

    def _move(self, name: str, source: Value, y: Map, target: Value, repeat: int = 1) -> None:
        """Rewrite the map of `source` as `y`, and settle the scales of `target` if y is narrow."""
        x = self.stored(source)
        factors: F32 = np.ones(x.c, np.float32)
        if x.buffer.kind == FLOAT32:
            scales = self._scale(target)
            factors = np.reciprocal(scales)
        else:
            scales = self.scales[id(source)]
            if y.buffer.kind == FLOAT32:
                factors = scales
        if y.buffer.kind != FLOAT32:
            self.scales[id(target)] = scales
        at = self._vector(factors)
        self.add(name, move, lambda: narrow.move_call(x, y, at, repeat), x, y)

    def _scale(self, value: Value) -> F32:
        """The scale of each channel of a value that is rounded to narrow numbers here."""
        scale = self._ranges[id(value)] / MOST if self.kind == INT8 else 1.0
        return np.full(value.shape[-1], scale, np.float32)

    def _vector(self, numbers: F32) -> int:
        """The place of constant numbers, zeros behind them."""
        key = numbers.tobytes()
        if key not in self._vectors:
            whole = np.zeros(grouped(numbers.size), np.float32)
            whole[: numbers.size] = numbers
            self._vectors[key] = self.constants.vector(Value(whole.shape, tensor=Tensor(whole)))
        return self._vectors[key]

    def _placements(self) -> dict[int, tuple[Value, int]]:
        """Values that can be computed straight into their part of a narrow concatenation."""
        placed: dict[int, tuple[Value, int]] = {}
        for node in self.graph.nodes:
            if node.op != "concat" or id(node.output) not in self._narrow:
                continue
            parts, c0 = node.inputs, 0
            fits = len({id(part) for part in parts}) == len(parts)
            for part in parts:
                fits &= id(part) in self._narrow and id(part) not in placed
                fits &= part.node is not None and part.node.op != "concat"
            for part in parts if fits else ():
                placed[id(part)] = (node.output, c0)
                c0 += part.shape[-1]
        return placed

    # ---- nodes ----------------------------------------------------------------------------------

    def _conv2d(self, node: Node) -> None:
        attrs, weight = node.attrs, constant(node.inputs[1])
        if not (is_dense(node) or _is_depthwise(node)):
            super()._conv2d(node)
            return
        bias = constant(node.inputs[2]) if len(node.inputs) - bool(attrs.get("residual")) > 2 else None
        window = (attrs["stride"], attrs["padding"], attrs["dilation"])
        self._convolve(node, weight, bias, *window)

    def _linear(self, node: Node) -> None:
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        self._convolve(node, as_filter(constant(node.inputs[1])), bias, (1, 1), (0, 0), (1, 1))

    def _convolve(
        self, node: Node, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> None:
        """One convolution, dense or depthwise, with what is fused to it."""
        pool = self._pool_behind(node)
        result = pool.output if pool else node.output
        x, y = self.as_kind(node.inputs[0], self.kind), self.new_map(result)
        if is_dense(node):
            x.buffer.halo = max(x.buffer.halo, *padding)
        self.slack = max(self.slack, 16 * x.buffer.step * stride[1] + 64)
        if y.buffer.kind != FLOAT32:
            self.scales[id(result)] = self._scale(result)
        factor = 1 / float(self._scale(result)[0]) if y.buffer.kind == INT8 else 1.0
        mode = node.attrs.get("residual", 0)
        residual = self.stored(node.inputs[-1]) if mode else None
        residual_scale = self._vector(self.scales.get(id(node.inputs[-1]), np.ones(y.c, np.float32)))
        kind, slope, cap = node.attrs.get("activation", IDENTITY)
        rest = {
            "stride": stride, "slope": slope, "cap": cap, "factor": factor, "silu": kind == pointwise.SILU,
            "residual": residual, "residual_mode": mode, "residual_scale": residual_scale,
        }  # fmt: skip
        kernel, scales = (weight.shape[2], weight.shape[3]), self.scales[id(node.inputs[0])]
        biases = self.constants.reserve(grouped(y.c))
        if not is_dense(node):
            weights = self.constants.reserve(kernel[0] * kernel[1] * grouped(y.c))

            def write_depthwise(memory: F32, *_: object) -> None:
                packed = depthwise_weights(weight.data * scales[:, None, None, None])
                memory[weights : weights + packed.size] = packed
                if bias is not None:
                    memory[biases : biases + y.c] = bias.data

            self._keep(write_depthwise, weight)
            self.add(
                node.scope, narrow_depthwise,
                lambda: narrow_depthwise_call(
                    x, y, kernel=kernel, padding=padding, dilation=dilation, weights=weights, bias=biases,
                    **rest,
                ),
                x, y, residual,
            )  # fmt: skip
            return
        order = window(x, kernel, padding, dilation)
        weights = self.constants.reserve(packed_size(order, y.c))
        steps = self.constants.reserve(grouped(y.c))

        def write(memory: F32, *_: object) -> None:
            numbers = weight.data * scales[:, None, None]
            scale = np.ones(y.c, np.float32)
            if self.kind == INT8:
                largest = np.abs(numbers).reshape(y.c, -1).max(axis=1)
                scale = np.where(largest > 0, largest / MOST, 1).astype(np.float32)
                numbers = np.rint(numbers / scale[:, None, None, None])
            packed = pack(numbers, order, self.kind)
            memory[weights : weights + packed.size] = packed
            memory[steps : steps + y.c] = scale
            if bias is not None:
                memory[biases : biases + y.c] = bias.data

        self._keep(write, weight)
        scratch = self.scratch(SUMS * self.threads)
        self.add(
            node.scope, narrow_conv,
            lambda: narrow_conv_call(
                self.constants.tables, x, y, window=window(x, kernel, padding, dilation), weights=weights,
                scale=steps, bias=biases, scratch=scratch(), pooled=pool is not None, threads=self.threads,
                **rest,
            ),
            x, y, residual,
        )  # fmt: skip

    def _keep(self, write: Callable[..., None], weight: Tensor) -> None:
        """Have constants written whenever the plan takes over the network's weights."""
        self.constants.packs.append(Pack(write, weight, call(())))

    def _pool_behind(self, node: Node) -> Node | None:
        """The 2x2 max-pool that alone reads a convolution, where the maximum of the sums will do."""
        kind, slope, _ = node.attrs.get("activation", IDENTITY)
        readers = self.graph.consumers(node.output)
        if len(readers) != 1 or node.output in self.graph.outputs or not is_dense(node):
            return None
        pool, two = readers[0], (2, 2)
        if pool.op != "max_pool2d" or node.attrs.get("residual") or kind == pointwise.SILU or slope < 0:
            return None
        if (pool.attrs["kernel"], pool.attrs["stride"], pool.attrs["padding"]) != (two, two, (0, 0)):
            return None
        self._pooled.add(id(pool))
        return pool

    def _max_pool2d(self, node: Node) -> None:
        if id(node) in self._pooled:
            return
        if id(node.output) not in self._narrow:
            super()._max_pool2d(node)
            return
        x, y = self.as_kind(node.inputs[0], self.kind), self.new_map(node.output)
        self.scales[id(node.output)] = self.scales[id(node.inputs[0])]
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        self.add(node.scope, narrow_max_pool, lambda: narrow.narrow_pool_call(x, y, *sizes), x, y)

    def _upsample_nearest(self, node: Node) -> None:
        if id(node.output) not in self._narrow:
            super()._upsample_nearest(node)
            return
        self._move(node.scope, node.inputs[0], self.new_map(node.output), node.output, node.attrs["scale"])

    def _concat(self, node: Node) -> None:
        if id(node.output) not in self._narrow:
            super()._concat(node)
            return
        parts = node.inputs
        if not all(self.in_place(part, node.output) for part in parts):
            y, c0 = self.new_map(node.output), 0
            for part in parts:
                self._move(node.scope, part, Map(y.buffer, part.shape[-1], c0), part)
                c0 += part.shape[-1]
        self.scales[id(node.output)] = np.concatenate([self.scales[id(part)] for part in parts])


def is_dense(node: Node) -> bool:
    """Whether a node multiplies all channels of its input with all of its output."""
    return node.op == "linear" or (node.op == "conv2d" and node.attrs["groups"] == 1)


def _is_depthwise(node: Node) -> bool:
    return node.op == "conv2d" and node.attrs["groups"] == node.inputs[0].shape[-1] == node.output.shape[-1]


def _reads_narrow(node: Node) -> bool:
    return node.op in _NARROW and (node.op != "conv2d" or is_dense(node) or _is_depthwise(node))


def _writes_narrow(graph: Graph, node: Node) -> bool:
    """Whether a result is narrow: it can be, is not returned, and a convolution or the like reads it."""
    if not _reads_narrow(node) or any(node.output is out for out in graph.outputs):
        return False
    if node.op == "concat":
        last = node.attrs["axis"] in (-1, len(node.output.shape) - 1)
        if not last or any(part.shape[-1] % GROUP for part in node.inputs[:-1]):
            return False
    return any(_reads_narrow(reader) for reader in graph.consumers(node.output))
