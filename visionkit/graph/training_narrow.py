"""The forward half of a training plan in bfloat16.

Maps are bfloat16 where convolutions, batch-norms and what moves numbers between them read and write them,
and float32 elsewhere and at the outputs. The weights stay float32 in the network; rounded copies of them are
packed before every step. Statistics, sums and all arithmetic are float32.
"""

from ..kernels import narrow_back
from ..kernels.dot import SUMS
from ..kernels.memory import Map
from ..kernels.narrow import BFLOAT16, FLOAT32, GROUP, grouped
from ..kernels.narrow_conv import narrow_conv, narrow_conv_call, taps_window
from ..tensor import Tensor
from .choice import Choose
from .geometry import Pair, Tap, weight_strides
from .precision import Narrowing, is_dense
from .trace import Graph, Node, Value

Part = tuple[slice, slice]


def lies_apart(node: Node) -> bool:
    """Whether the windows of a pool share no pixel."""
    return all(s >= k for s, k in zip(node.attrs["stride"], node.attrs["kernel"], strict=True))


class NarrowTraining(Narrowing):
    """Appends the forward steps of a graph to be trained in bfloat16."""

    def __init__(self, graph: Graph, threads: int, choose: Choose) -> None:
        super().__init__(graph, BFLOAT16, threads, choose, training=True)

    def is_narrow(self, value: Value) -> bool:
        """Whether a value is computed in bfloat16."""
        return id(value) in self._narrow

    def _narrow_values(self, graph: Graph) -> set[int]:
        """Results that are bfloat16: made by what can from such maps, and read by what can."""
        narrow: set[int] = set()
        outputs = {id(out) for out in graph.outputs}
        for node in graph.nodes:
            if id(node.output) in outputs or not any(_reads(one) for one in graph.consumers(node.output)):
                continue
            parts = node.inputs[:1] if node.op in ("batch_norm", "max_pool2d", "upsample_nearest") else (
                node.inputs if node.op in ("concat", "add") else []
            )  # fmt: skip
            if _reads(node) and all(id(part) in narrow for part in parts):
                narrow.add(id(node.output))
        return narrow

    def new_map(self, value: Value) -> Map:
        """A map for a result; numbers of bfloat16 are what they say."""
        self.scales[id(value)] = self._scale(value)
        return super().new_map(value)

    # ---- nodes ----------------------------------------------------------------------------------

    def _conv2d(self, node: Node) -> None:
        if not is_dense(node):
            super(Narrowing, self)._conv2d(node)
            return
        super()._conv2d(node)

    def _convolve(
        self, node: Node, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> None:
        x, y = self.as_kind(node.inputs[0], BFLOAT16), self.new_map(node.output)
        x.buffer.halo = max(x.buffer.halo, *padding)
        rows, columns = (
            [(i, i * dilation[k] - padding[k]) for i in range(weight.shape[2 + k])] for k in (0, 1)
        )
        s_kh, s_kw, s_i, s_o = weight_strides(weight)
        biases = self.constants.vector(node.inputs[2]) if bias is not None else None
        self.products(node.scope, x, y, weight, rows, columns, (s_kh, s_kw, s_i), s_o, biases, stride=stride)

    def products(
        self, name: str, x: Map, y: Map, weight: Tensor, rows: list[Tap], columns: list[Tap],
        strides: tuple[int, int, int], apart: int, bias: int | None = None, *, stride: Pair = (1, 1),
        part: Part = (slice(None), slice(None)), add: bool = False,
    ) -> None:  # fmt: skip
        """A convolution of the bfloat16 map x into, or added to, a part of y.

        Args:
            rows, columns: which of the kernel's take part, and how far from the pixel each reads x.
            strides: of the weights, from row to row, column to column and channel to channel of x.
            apart: from one channel of y to the next; bias: place of the biases.
            stride: of the pixels of x; part: rows and columns of y; add: to what is there.
        """
        kw = weight.shape[3]
        order = taps_window(x, rows, columns, kw)
        weights = self.constants.narrow(weight, order, x.c, kw, strides, apart, y.c)
        zeros = self.constants.zeros(grouped(y.c))
        scratch = self.scratch(SUMS * self.threads)
        self.slack = max(self.slack, 16 * x.buffer.step * stride[1] + 64)
        self.add(
            name, narrow_conv,
            lambda: narrow_conv_call(
                self.constants.tables, x, y, window=taps_window(x, rows, columns, kw), stride=stride,
                weights=weights, scale=None, bias=zeros if bias is None else bias, scratch=scratch(),
                residual=y if add else None, residual_mode=int(add), part=part, threads=self.threads,
            ),
            x, y,
        )  # fmt: skip

    def combine(self, name: str, x: Map, y: Map, add: bool) -> None:
        """y = x or y += x, whatever their kinds."""
        if y.buffer.kind == FLOAT32 and y.c % GROUP:
            self.unshared.add(y.buffer)
        self.add(name, narrow_back.narrow_combine, lambda: narrow_back.combine_call(x, y, add), x, y)

    def _add(self, node: Node) -> None:
        if not self.is_narrow(node.output):
            super()._add(node)
            return
        a, b = (self.as_kind(value, BFLOAT16) for value in node.inputs)
        y = self.new_map(node.output)
        self.combine(node.scope, a, y, False)
        self.combine(node.scope, b, y, True)


def _reads(node: Node) -> bool:
    """Whether an operation runs on bfloat16 maps both ways."""
    if node.op == "max_pool2d":
        return lies_apart(node)
    if node.op == "concat":
        last = node.attrs["axis"] in (-1, len(node.output.shape) - 1)
        return last and not any(part.shape[-1] % GROUP for part in node.inputs[:-1])
    return is_dense(node) or node.op in ("batch_norm", "upsample_nearest", "add")
