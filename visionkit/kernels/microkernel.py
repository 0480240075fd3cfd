"""The two register-blocked inner loops, emitted as LLVM IR.

`convolution` multiplies tiles of pixels by vectors of output channels over all taps and input channels;
`correlation` does the same for the weight gradient, where the sum runs over pixels. The accumulators of a
tile stay in registers for the whole sum. Tiles come in several heights: the highest is taken while it
fits, then the next.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .jit import LANES
from .simd import F32, I64, data_pointer, fma, index, larger, load, prefetch, smaller, splat, store

_LINE = 16  # numbers of a cache line
_AHEAD = 4 * _LINE  # numbers fetched ahead in one go


def number(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


def _rolled(module: Any) -> Any:
    """The property of a loop that it stays rolled; LLVM wants its first part to be itself."""
    how = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    property_ = module.add_metadata([how])
    property_.operands = (property_, how)
    return property_


def loop(
    builder: Any, count: Any, name: str, carried: list[Any], body: Any, rolled: bool = False
) -> list[Any]:
    """for i in range(count): carried = body(i, carried). `count` is at least 1.

    A `rolled` loop is not unrolled: one that seldom runs must not take registers from what is around it.
    """
    before = builder.basic_block
    head = builder.function.append_basic_block(name)
    done = builder.function.append_basic_block(name + ".end")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64)
    i.add_incoming(number(0), before)
    values = []
    for start in carried:
        value = builder.phi(start.type)
        value.add_incoming(start, before)
        values.append(value)
    new = body(i, values)
    following = builder.add(i, number(1))
    i.add_incoming(following, builder.basic_block)
    for value, result in zip(values, new, strict=True):
        value.add_incoming(result, builder.basic_block)
    branch = builder.cbranch(builder.icmp_signed("<", following, count), head, done)
    if rolled:
        branch.set_metadata("llvm.loop", _rolled(builder.module))
    builder.position_at_end(done)
    return new


def when(builder: Any, condition: Any, values: list[Any], change: Any) -> list[Any]:
    """`change(values)` if the condition holds, else `values`."""
    before = builder.basic_block
    then = builder.function.append_basic_block("then")
    done = builder.function.append_basic_block("done")
    builder.cbranch(condition, then, done)
    builder.position_at_end(then)
    changed = change(values)
    after = builder.basic_block
    builder.branch(done)
    builder.position_at_end(done)
    merged = []
    for old, new in zip(values, changed, strict=True):
        value = builder.phi(old.type)
        value.add_incoming(old, before)
        value.add_incoming(new, after)
        merged.append(value)
    return merged


def repeat(
    builder: Any, count: Any, name: str, carried: list[Any], body: Any, rolled: bool = False
) -> list[Any]:
    """`loop` for a count that may be 0."""
    some = builder.icmp_signed(">", count, number(0))
    return when(builder, some, carried, lambda values: loop(builder, count, name, values, body, rolled))


def _tiles(builder: Any, start: Any, end: Any, heights: tuple[int, ...], body: Any) -> None:
    """body(i, height) for tiles from start to end, the highest first."""
    for height in heights:
        before = builder.basic_block
        head, inside, done = (builder.function.append_basic_block(name) for name in ("tile", "in", "out"))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(I64)
        i.add_incoming(start, before)
        builder.cbranch(builder.icmp_signed(">=", builder.sub(end, i), number(height)), inside, done)
        builder.position_at_end(inside)
        body(i, height)
        i.add_incoming(builder.add(i, number(height)), builder.basic_block)
        builder.branch(head)
        builder.position_at_end(done)
        start = i


class Arguments:
    """Named access to an intrinsic's arguments."""

    def __init__(self, context: Any, builder: Any, names: str, sig: Any, args: Any) -> None:
        self._context, self._builder = context, builder
        self._values = dict(zip(names.split(), zip(sig.args, args, strict=True), strict=True))

    def pointer(self, name: str) -> Any:
        """The address of an array's first element."""
        return data_pointer(self._context, self._builder, *self._values[name])

    def integer(self, name: str) -> Any:
        """An integer of 64 bits."""
        return index(self._builder, *self._values[name])

    def number(self, name: str) -> Any:
        """A float32 number."""
        kind, value = self._values[name]
        return self._context.cast(self._builder, value, kind, types.float32)

    def vector(self, name: str) -> Any:
        """A vector whose lanes all hold it."""
        return splat(self._builder, self.number(name))

    def differs(self, name: str, neutral: float) -> Any:
        """Whether a number is another one, or NaN."""
        return self._builder.fcmp_unordered("!=", self.number(name), ir.Constant(F32, neutral))


def convolution(vectors: int, heights: tuple[int, ...]) -> Any:
    """A microkernel: the pixels p .. end, in tiles, by `vectors * LANES` output channels.

    All buffers are slices of one float32 memory `F`; pixel p of the input starts at
    ``x + I[x_table + p]``, its tap t at ``+ I[taps + t]``; the output pixel at ``y + I[y_table + p]``.
    ``first`` starts from the bias, otherwise from the partial sums in the output; ``last`` adds the
    residual (1 before, 2 after the activation) and applies min(max(v, slope v), cap).
    """
    names = (
        "F I x x_table p end taps tap_count tap_length w y y_table bias first last slope cap "
        "residual_mode residual residual_table"
    )
    columns = [number(v * LANES) for v in range(vectors)]

    def tile(builder: Any, given: Arguments, pixel: Any, rows: int) -> None:
        memory, tables = given.pointer("F"), given.pointer("I")

        def entry(position: Any) -> Any:
            return builder.sext(builder.load(builder.gep(tables, [position])), I64)

        def pixels(start: str, table: str) -> list[Any]:
            base, first_entry = given.integer(start), builder.add(given.integer(table), pixel)
            offsets = [entry(builder.add(first_entry, number(r))) for r in range(rows)]
            return [builder.gep(memory, [builder.add(base, offset)]) for offset in offsets]

        inputs = pixels("x", "x_table")
        bias = builder.gep(memory, [given.integer("bias")])
        sums = when(
            builder,
            builder.icmp_signed("==", given.integer("first"), number(0)),
            [load(builder, bias, column) for column in columns] * rows,
            lambda _: [load(builder, out, column) for out in pixels("y", "y_table") for column in columns],
        )
        taps, length = given.integer("taps"), given.integer("tap_length")
        weights = builder.gep(memory, [given.integer("w")])
        # The weights that follow these are needed next: every tile fetches its share of them, so that
        # they are in the cache by then.
        size = builder.mul(length, number(vectors * LANES))
        behind = builder.gep(weights, [builder.mul(size, given.integer("tap_count"))])
        pixels_in_all = builder.sub(given.integer("end"), given.integer("p"))
        few = builder.icmp_signed("<", pixels_in_all, number(heights[0]))
        pixels_in_all = builder.select(few, number(heights[0]), pixels_in_all)
        share = builder.sdiv(builder.mul(size, number(heights[0])), pixels_in_all)
        steps = builder.sdiv(builder.add(share, number(_AHEAD // 2)), number(_AHEAD))
        done = builder.sdiv(builder.sub(pixel, given.integer("p")), number(heights[0]))
        steps_done = builder.mul(builder.mul(done, given.integer("tap_count")), steps)
        ahead = builder.gep(behind, [builder.mul(steps_done, number(_AHEAD))])

        def fetch(_: Any, carried: list[Any]) -> list[Any]:
            for line in range(0, _AHEAD, _LINE):
                prefetch(builder, builder.gep(carried[0], [number(line)]))
            return [builder.gep(carried[0], [number(_AHEAD)])]

        def one_tap(t: Any, carried: list[Any]) -> list[Any]:
            *carried, ahead = carried
            ahead = repeat(builder, steps, "ahead", [ahead], fetch, rolled=True)[0]
            # The tap goes into the index that all pixels share: their addresses stay as they are.
            shift = entry(builder.add(taps, t))

            def channels(k: Any, count: int, carried: list[Any]) -> list[Any]:
                sums, weights = list(carried[:-1]), carried[-1]
                for c in range(count):
                    row = [
                        load(builder, weights, number(c * vectors * LANES + v * LANES))
                        for v in range(vectors)
                    ]
                    for r in range(rows):
                        value = builder.load(builder.gep(builder.gep(inputs[r], [k]), [number(c)]))
                        value = splat(builder, value)
                        for v in range(vectors):
                            at = r * vectors + v
                            sums[at] = fma(builder, value, row[v], sums[at])
                return [*sums, builder.gep(weights, [number(count * vectors * LANES)])]

            def one_by_one(start: Any, count: Any, carried: list[Any]) -> list[Any]:
                return repeat(
                    builder, count, "channel", carried, lambda k, c: channels(builder.add(start, k), 1, c)
                )

            if rows < heights[0]:
                return [*one_by_one(shift, length, carried), ahead]
            # Two channels at a time: each pixel's address costs an addition, and those compete with the
            # multiplications for the same ports.
            pairs, odd = builder.ashr(length, number(1)), builder.and_(length, number(1))

            def two(k: Any, carried: list[Any]) -> list[Any]:
                return channels(builder.add(shift, builder.shl(k, number(1))), 2, carried)

            carried = repeat(builder, pairs, "pair", carried, two)
            last_one = builder.add(shift, builder.shl(pairs, number(1)))
            return [*one_by_one(last_one, odd, carried), ahead]

        sums = loop(builder, given.integer("tap_count"), "tap", [*sums, weights, ahead], one_tap)[:-2]
        mode = given.integer("residual_mode")

        def add_residual(old: list[Any]) -> list[Any]:
            shortcut = pixels("residual", "residual_table")
            new = [load(builder, pointer, column) for pointer in shortcut for column in columns]
            return [builder.fadd(a, b) for a, b in zip(old, new, strict=True)]

        def bend(values: list[Any]) -> list[Any]:
            slope = given.vector("slope")
            return [larger(builder, builder.fmul(v, slope), v) for v in values]

        def limit(values: list[Any]) -> list[Any]:
            cap = given.vector("cap")
            return [smaller(builder, cap, v) for v in values]

        def finish(values: list[Any]) -> list[Any]:
            values = when(builder, builder.icmp_signed("==", mode, number(1)), values, add_residual)
            values = when(builder, given.differs("slope", 1.0), values, bend)
            values = when(builder, given.differs("cap", float("inf")), values, limit)
            return when(builder, builder.icmp_signed("==", mode, number(2)), values, add_residual)

        is_last = builder.icmp_signed("!=", given.integer("last"), number(0))
        sums = when(builder, is_last, sums, finish)
        # Their places are read anew: none of the few registers holds them during the sum.
        for r, out in enumerate(pixels("y", "y_table")):
            for v, column in enumerate(columns):
                store(builder, sums[r * vectors + v], out, column)

    @intrinsic
    def kernel(
        typing_context, F, I, x, x_table, p, end, taps, tap_count, tap_length, w, y, y_table, bias, first,
        last, slope, cap, residual_mode, residual, residual_table,
    ):  # fmt: skip
        def generate(context, builder, sig, args):
            given = Arguments(context, builder, names, sig, args)
            start, stop = given.integer("p"), given.integer("end")
            _tiles(builder, start, stop, heights, lambda i, rows: tile(builder, given, i, rows))
            return context.get_dummy_value()

        return types.void(
            F, I, x, x_table, p, end, taps, tap_count, tap_length, w, y, y_table, bias, first, last, slope,
            cap, residual_mode, residual, residual_table,
        ), generate  # fmt: skip

    return kernel


def correlation(vectors: int, heights: tuple[int, ...]) -> Any:
    """A microkernel: `channels` input channels, in tiles, by `vectors * LANES` outputs of a weight gradient.

    Adds ``sum over r < height, c < width of F[x + r x_row + c x_step + i] * F[g + r g_row + c g_step + o]``
    to ``F[dw + i dw_row + o]``.
    """
    names = "F x x_step x_row g g_step g_row height width dw dw_row channels"
    columns = [number(v * LANES) for v in range(vectors)]

    def tile(builder: Any, given: Arguments, channel: Any, rows: int) -> None:
        memory = given.pointer("F")
        source = builder.gep(memory, [builder.add(given.integer("x"), channel)])
        gradient = builder.gep(memory, [given.integer("g")])
        x_step, x_row = given.integer("x_step"), given.integer("x_row")
        g_step, g_row = given.integer("g_step"), given.integer("g_row")
        width, dw_row = given.integer("width"), given.integer("dw_row")
        start = builder.gep(memory, [given.integer("dw")])
        lines = [builder.mul(builder.add(channel, number(r)), dw_row) for r in range(rows)]
        targets = [builder.gep(start, [line]) for line in lines]
        sums = [load(builder, target, column) for target in targets for column in columns]

        def one_row(y: Any, carried: list[Any]) -> list[Any]:
            begin = [
                builder.gep(source, [builder.mul(y, x_row)]),
                builder.gep(gradient, [builder.mul(y, g_row)]),
            ]

            def one_pixel(c: Any, carried: list[Any]) -> list[Any]:
                sums, here, there = list(carried[:-2]), carried[-2], carried[-1]
                row = [load(builder, there, column) for column in columns]
                for r in range(rows):
                    value = splat(builder, builder.load(builder.gep(here, [number(r)])))
                    for v in range(vectors):
                        at = r * vectors + v
                        sums[at] = fma(builder, value, row[v], sums[at])
                return [*sums, builder.gep(here, [x_step]), builder.gep(there, [g_step])]

            return loop(builder, width, "pixel", [*carried, *begin], one_pixel)[:-2]

        sums = loop(builder, given.integer("height"), "row", sums, one_row)
        for r, target in enumerate(targets):
            for v, column in enumerate(columns):
                store(builder, sums[r * vectors + v], target, column)

    @intrinsic
    def kernel(typing_context, F, x, x_step, x_row, g, g_step, g_row, height, width, dw, dw_row, channels):
        def generate(context, builder, sig, args):
            given = Arguments(context, builder, names, sig, args)
            stop = given.integer("channels")
            _tiles(builder, number(0), stop, heights, lambda i, rows: tile(builder, given, i, rows))
            return context.get_dummy_value()

        return types.void(
            F, x, x_step, x_row, g, g_step, g_row, height, width, dw, dw_row, channels
        ), generate

    return kernel
