"""A vector of float32 lanes for Numba, and the few instructions on it.

`LANES` numbers travel together: `vload` and `vstore` move them between a flat float32 array and a
register, `+ - *` and the functions here compute on them. One source serves 16, 8 and 4 lanes.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .jit import LANES

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(F32, LANES)
INTS = ir.VectorType(I32, LANES)


class VectorType(types.Type):
    """The Numba type of one register of `LANES` float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        super().__init__(manager, frontend, VECTOR)


# ---- IR building blocks, shared with the microkernels ------------------------------------------


def data_pointer(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    """The address of an array's first element."""
    return context.make_array(array_type)(context, builder, array).data


def index(builder: Any, value_type: Any, value: Any) -> Any:
    """Any Numba integer as a 64-bit index."""
    if value.type.width == 64:
        return value
    return builder.sext(value, I64) if getattr(value_type, "signed", True) else builder.zext(value, I64)


def load(builder: Any, pointer: Any, offset: Any, kind: Any = VECTOR) -> Any:
    """A vector at `pointer + offset`, at any alignment."""
    value = builder.load(builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer()))
    value.align = 4
    return value


def store(builder: Any, value: Any, pointer: Any, offset: Any) -> None:
    """Write a vector to `pointer + offset`, at any alignment."""
    written = builder.store(value, builder.bitcast(builder.gep(pointer, [offset]), value.type.as_pointer()))
    written.align = 4


def splat(builder: Any, scalar: Any, kind: Any = VECTOR) -> Any:
    """A vector whose lanes all hold `scalar`."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, empty, zeros)


def constant(value: float) -> Any:
    """A vector constant."""
    return ir.Constant(VECTOR, [value] * LANES)


def llvm_function(builder: Any, name: str, arguments: int) -> Any:
    """An LLVM intrinsic on vectors, such as ``llvm.fmuladd``."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * arguments)
    return cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32")


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, fused where the processor can."""
    return builder.call(llvm_function(builder, "llvm.fmuladd", 3), [a, b, c])


def prefetch(builder: Any, pointer: Any) -> None:
    """Ask for the cache line at `pointer` in the second-level cache; any address will do."""
    kind = ir.FunctionType(ir.VoidType(), [F32.as_pointer(), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, second_level, data = (ir.Constant(I32, value) for value in (0, 2, 1))
    builder.call(function, [pointer, read, second_level, data])


def larger(builder: Any, a: Any, b: Any) -> Any:
    """Lane by lane the larger; b where they do not compare."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def smaller(builder: Any, a: Any, b: Any) -> Any:
    """Lane by lane the smaller; b where they do not compare."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


# ---- Numba functions ----------------------------------------------------------------------------


def _operator(python: Any, method: str) -> None:
    @infer_global(python)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and all(isinstance(a, VectorType) for a in args):
                return signature(vector, vector, vector)
            return None

    @lower_builtin(python, VectorType, VectorType)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(args[0], args[1], flags=("contract", "nsz"))


for _python, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_python, _method)
_operator(operator.truediv, "fdiv")


@intrinsic
def vload(typing_context, array, offset):
    """The `LANES` numbers at array[offset:]."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        return load(builder, pointer, index(builder, sig.args[1], args[1]))

    return vector(array, offset), generate


@intrinsic
def vstore(typing_context, array, offset, value):
    """Write `LANES` numbers to array[offset:]."""

    def generate(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0])
        store(builder, args[2], pointer, index(builder, sig.args[1], args[1]))
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


@intrinsic
def vsplat(typing_context, scalar):
    """A vector of one repeated number."""

    def generate(context, builder, sig, args):
        return splat(builder, context.cast(builder, args[0], sig.args[0], types.float32))

    return vector(scalar), generate


@intrinsic
def vfma(typing_context, a, b, c):
    """a * b + c."""

    def generate(context, builder, sig, args):
        return fma(builder, *args)

    return vector(vector, vector, vector), generate


@intrinsic
def vmax(typing_context, a, b):
    """The larger, lane by lane."""

    def generate(context, builder, sig, args):
        return larger(builder, *args)

    return vector(vector, vector), generate


@intrinsic
def vpeak(typing_context, v, best):
    """The larger, lane by lane; NaN once one of them was NaN."""

    def generate(context, builder, sig, args):
        v, best = args
        # `larger` keeps a NaN in `best` and drops one in `v`.
        return builder.select(builder.fcmp_unordered("uno", v, v), v, larger(builder, v, best))

    return vector(vector, vector), generate


@intrinsic
def vmin(typing_context, a, b):
    """The smaller, lane by lane."""

    def generate(context, builder, sig, args):
        return smaller(builder, *args)

    return vector(vector, vector), generate


@intrinsic
def vwhere_positive(typing_context, x, a, b):
    """Lane by lane a where x > 0, else b."""

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", args[0], constant(0.0)), args[1], args[2])

    return vector(vector, vector, vector), generate


@intrinsic
def vwhere_equal(typing_context, x, y, a, b):
    """Lane by lane a where x == y, else b."""

    def generate(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), generate


#: e^r on |r| <= ln2/2 with the smallest relative error, 3e-9, that degree 6 can have (Taylor: 2e-7).
_EXPONENTIAL = (1.38145345e-3, 8.36874568e-3, 4.16683909e-2, 0.166665204, 0.499999934, 1.0, 1.0)


@intrinsic
def vexp(typing_context, x):
    """e^x to 1 unit in the last place: reduction to |r| <= ln2/2 and a polynomial of degree 6.

    x is taken between -87.3 and 88, where e^x is a normal number; NaN stays NaN.
    """

    def generate(context, builder, sig, args):
        given = args[0]
        x = smaller(builder, larger(builder, given, constant(-87.3)), constant(88.0))
        round_ = llvm_function(builder, "llvm.rint", 1)
        n = builder.call(round_, [builder.fmul(x, constant(1.4426950408889634))])
        # ln 2 in two parts, so that x - n ln2 keeps its last bits.
        r = fma(builder, n, constant(-0.693145751953125), x)
        r = fma(builder, n, constant(-1.42860682030941723212e-6), r)
        y = constant(_EXPONENTIAL[0])
        for term in _EXPONENTIAL[1:]:
            y = fma(builder, y, r, constant(term))
        bits = builder.add(builder.fptosi(n, INTS), ir.Constant(INTS, [127] * LANES))
        power = builder.bitcast(builder.shl(bits, ir.Constant(INTS, [23] * LANES)), VECTOR)
        return builder.select(builder.fcmp_unordered("uno", given, given), given, builder.fmul(y, power))

    return vector(vector), generate


@intrinsic
def vsum(typing_context, x):
    """The sum of all lanes, in a fixed order (halves, quarters, ...)."""

    def generate(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            mask = [ir.Constant(ir.VectorType(I32, width), list(range(s, s + width))) for s in (0, width)]
            halves = [builder.shuffle_vector(value, value, m) for m in mask]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(I32, 0))

    return types.float32(vector), generate
