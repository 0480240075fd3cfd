"""The backward half of a training plan in bfloat16: gradients of maps have the maps' kind.

Gradients of parameters are float32 sums. What does not run on bfloat16 maps runs as `Backward` has it,
between conversions.
"""

from ..kernels import narrow_back, narrow_wgrad, pointwise
from ..kernels.memory import Buffer, Map, spaced
from ..kernels.narrow import BFLOAT16, FLOAT32
from ..tensor import Tensor
from .backward import Backward
from .geometry import Pair, constant, phases, reach, weight_strides
from .gradients import Gradients
from .precision import is_dense
from .trace import Node, Value
from .training_narrow import NarrowTraining


class NarrowBackward(Backward):
    """Appends the backward steps to a forward half in bfloat16."""

    low: NarrowTraining

    def __init__(self, lowering: NarrowTraining) -> None:
        super().__init__(lowering)
        #: While a node runs in float32: its shares of bfloat16 gradients, and where they belong.
        self._shares: list[tuple[Map, Map, bool]] | None = None

    def _lower(self, node: Node, g: Map) -> None:
        if is_dense(node) or (g.buffer.kind == BFLOAT16 and node.op in _NARROW):
            super()._lower(node, g)
            return
        self._shares = []
        super()._lower(node, self._as(g, FLOAT32, node.scope))
        shares, self._shares = self._shares, None
        for share, target, add in shares:
            self.low.combine(node.scope, share, target, add)

    def _as(self, g: Map, kind: int, name: str) -> Map:
        """A gradient in the wanted kind."""
        if g.buffer.kind == kind:
            return g
        n, h, w, c = g.shape
        made = Map(self.low.storage(Value((n, h, w, c)), kind), c)
        self.low.combine(name, g, made, False)
        return made

    def _target(self, value: Value) -> tuple[Map, bool] | None:
        target = super()._target(value)
        if self._shares is None or target is None or target[0].buffer.kind == FLOAT32:
            return target
        n, h, w, c = target[0].shape
        share = Map(Buffer(n, h, w, spaced(c)), c)
        self._shares.append((share, *target))
        return share, False

    def _pass_on(self, value: Value, gradient: Map, alias: bool, name: str) -> None:
        if id(value) not in self._wanted:
            return
        same = gradient.buffer.kind == self.low.buffer(value).kind
        if alias and same and id(value) not in self._maps:
            self._maps[id(value)] = gradient
            return
        target, add = Gradients._target(self, value) or (gradient, False)
        self.low.combine(name, gradient, target, add)

    # ---- nodes ----------------------------------------------------------------------------------

    def _convolution(
        self, node: Node, g: Map, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> None:
        if groups > 1:
            super()._convolution(node, g, weight, stride, padding, dilation, groups)
            return
        if len(node.inputs) > 2 and constant(node.inputs[2]).requires_grad:
            self._bias(node.inputs[2], self._as(g, FLOAT32, node.scope), node.scope)
        x, g = self.low.as_kind(node.inputs[0], BFLOAT16), self._as(g, BFLOAT16, node.scope)
        kernel = (weight.shape[2], weight.shape[3])
        shape = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        place = self._parameter(node.inputs[1], weight.size)
        if place is not None:
            self._weights(node.scope, x, g, place[0], g.c, shape)
            self._sum_up(node.inputs[1], *place, weight.size, node.scope)
        target = self._target(node.inputs[0])
        if target is not None:
            self._data(node.scope, g, *target, weight, 0, shape)

    def _weights(self, name: str, x: Map, g: Map, at: int, columns: int, shape: dict[str, Pair]) -> None:
        if x.buffer.kind == FLOAT32:
            super()._weights(name, x, g, at, columns, shape)
            return
        low = self.low
        scratch = low.scratch(narrow_wgrad.narrow_wgrad_scratch(x, g, **shape, threads=low.threads))
        low.add(
            name, narrow_wgrad.narrow_wgrad,
            lambda: narrow_wgrad.narrow_wgrad_call(
                low.constants.tables, x, g, **shape, scratch=scratch(), gradient=at, columns=columns,
                threads=low.threads,
            ),
            x, g,
        )  # fmt: skip

    def _data(
        self, name: str, g: Map, target: Map, add: bool, weight: Tensor, start: int, shape: dict[str, Pair]
    ) -> None:
        if g.buffer.kind == FLOAT32:
            super()._data(name, g, target, add, weight, start, shape)
            return
        rows, columns = (phases(target.shape[1 + i], shape, i) for i in (0, 1))
        if not add and not all(taps for _, taps in [*rows, *columns]):
            self.low.add(name, pointwise.clear, lambda: narrow_back.clear_call(target), target)
            add = True
        s_kh, s_kw, s_i, s_o = weight_strides(weight)
        for i, (y_phase, y_taps) in enumerate(rows):
            for j, (x_phase, x_taps) in enumerate(columns):
                if not y_taps or not x_taps or i >= target.shape[1] or j >= target.shape[2]:
                    continue
                far = max(reach(g.shape[1], y_phase, y_taps), reach(g.shape[2], x_phase, x_taps))
                g.buffer.halo = max(g.buffer.halo, far)
                self.low.products(
                    name, g, target, weight, y_taps, x_taps, (s_kh, s_kw, s_o), s_i,
                    part=(y_phase, x_phase), add=add,
                )  # fmt: skip

    def _max_pool2d(self, node: Node, g: Map) -> None:
        if g.buffer.kind == FLOAT32:
            super()._max_pool2d(node, g)
            return
        x, y = self.low.stored(node.inputs[0]), self.low.stored(node.output)
        sizes = (node.attrs["kernel"], node.attrs["stride"], node.attrs["padding"])
        self._to_input(
            node, narrow_back.narrow_pool_gradient,
            lambda into, add: narrow_back.pool_gradient_call(x, y, g, into, *sizes, add), x, y, g,
        )  # fmt: skip

    def _upsample_nearest(self, node: Node, g: Map) -> None:
        if g.buffer.kind == FLOAT32:
            super()._upsample_nearest(node, g)
            return
        scale = node.attrs["scale"]
        self._to_input(
            node, narrow_back.narrow_upsample_gradient,
            lambda into, add: narrow_back.upsample_gradient_call(g, into, scale, add), g,
        )  # fmt: skip

    def _concat(self, node: Node, g: Map) -> None:
        if g.buffer.kind == FLOAT32:
            super()._concat(node, g)
            return
        c0 = 0
        for value in node.inputs:
            part = Map(g.buffer, value.shape[-1], g.c0 + c0)
            c0 += value.shape[-1]
            self._pass_on(value, part, self.low.in_place(value, node.output), node.scope)


#: What runs backwards on bfloat16 maps where its result is one, besides convolutions.
_NARROW = ("batch_norm", "max_pool2d", "upsample_nearest", "concat", "add")
