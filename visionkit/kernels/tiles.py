"""Winograd's transforms of tiles, for any points: F(m, r) of Lavin and Gray (2016) by Cook and Toom's rule.

m neighbouring outputs of a filter of r taps take m + r - 1 multiplications: V = B^T d of the input, U = G g
of the filter, y = A^T (U V). In two dimensions each is applied to columns, then to rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import I64, VECTOR, constant, data_pointer, fma, index, load, store

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Form:
    """F(outputs, taps): its matrices B^T, G and A^T."""

    outputs: int
    taps: int
    spread: Matrix
    filter: Matrix
    gather: Matrix

    @property
    def points(self) -> int:
        """Multiplications in one dimension: the side of an input tile."""
        return self.outputs + self.taps - 1


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all (x - root), constant first."""
    terms = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *terms], [root * term for term in terms] + [Fraction(0)]
        terms = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return terms


def cook_toom(outputs: int, taps: int, points: Sequence[Fraction | int]) -> Form:
    """The form F(outputs, taps) on `outputs + taps - 2` points and infinity; a after -a, for `_apply`."""
    places = [Fraction(point) for point in points]
    spread, filters, gather = [], [], []
    for i, a in enumerate(places):
        others = places[:i] + places[i + 1 :]
        scale = Fraction(1)
        for b in others:
            scale *= a - b
        spread.append([*_product(others), Fraction(0)])
        filters.append([a**k / scale for k in range(taps)])
        gather.append([a**k for k in range(outputs)])
    spread.append(_product(places))
    filters.append([Fraction(int(k == taps - 1)) for k in range(taps)])
    gather.append([Fraction(int(k == outputs - 1)) for k in range(outputs)])

    def numbers(rows: Any) -> Matrix:
        return tuple(tuple(float(value) for value in row) for row in rows)

    return Form(outputs, taps, numbers(spread), numbers(filters), numbers(zip(*gather, strict=True)))


def _pairs(*points: Fraction) -> tuple[Fraction, ...]:
    return tuple(sign * point for point in points for sign in (1, -1))


#: By points: for 3x3 filters 4 and 6, for filters cut into 4x4 blocks 7. Fewer round less. Among eighths, all
#: exact in float32, these round least; the usual 1, 2, 1/2 round up to three times as much.
FORMS = {
    4: cook_toom(2, 3, (0, 1, -1)),
    6: cook_toom(4, 3, (0, *_pairs(Fraction(5, 8), Fraction(3, 2)))),
    7: cook_toom(4, 4, _pairs(Fraction(1, 4), Fraction(7, 8), Fraction(7, 4))),
}


# ---- a matrix of constants times a column of vectors ----------------------------------------------


def _sum(builder: Any, terms: list[tuple[float, Any]]) -> Any:
    """The sum of factor * vector."""
    flags = ("contract", "nsz")
    total = None
    for factor, vector in sorted(terms, key=lambda term: -term[0]):
        if total is None:
            total = vector if factor == 1 else builder.fmul(constant(factor), vector, flags=flags)
        elif abs(factor) == 1:
            total = (builder.fadd if factor > 0 else builder.fsub)(total, vector, flags=flags)
        else:
            total = fma(builder, constant(factor), vector, total)
    return constant(0.0) if total is None else total


def _mirrored(a: Sequence[float], b: Sequence[float]) -> bool:
    return a != b and all(abs(x) == abs(y) for x, y in zip(a, b, strict=True))


def _apply(builder: Any, matrix: Matrix, vectors: list[Any]) -> list[Any]:
    """The matrix times the vectors. Neighbouring rows or columns that differ in signs share their sums."""
    columns, kept, j = list(zip(*matrix, strict=True)), [], 0
    while j < len(columns):
        if j + 1 < len(columns) and _mirrored(columns[j], columns[j + 1]):
            left, right = vectors[j], vectors[j + 1]
            pairs = list(zip(columns[j], columns[j + 1], strict=True))
            kept.append(([a if a == b else 0.0 for a, b in pairs], builder.fadd(left, right)))
            kept.append(([a if a != b else 0.0 for a, b in pairs], builder.fsub(left, right)))
            j += 2
        else:
            kept.append((list(columns[j]), vectors[j]))
            j += 1
    rows = [[(column[i], v) for column, v in kept if column[i]] for i in range(len(matrix))]
    results: list[Any] = []
    while len(results) < len(rows):
        i = len(results)
        same = [a for a in rows[i] if i + 1 < len(rows) and a in rows[i + 1]]
        opposite = [(a, v) for a, v in rows[i] if i + 1 < len(rows) and (-a, v) in rows[i + 1]]
        if same and opposite and len(same) + len(opposite) == len(rows[i]) == len(rows[i + 1]):
            even, odd = _sum(builder, same), _sum(builder, opposite)
            results += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            results.append(_sum(builder, rows[i]))
    return results


def transform(matrix: Matrix) -> Any:
    """F[target + i step ...] = sum over j of matrix[i][j] F[source + j stride ...], a vector each."""

    @intrinsic
    def kernel(typing_context, F, source, stride, target, step):
        def generate(context, builder, sig, args):
            memory = data_pointer(context, builder, sig.args[0], args[0])
            source, stride, target, step = (
                index(builder, kind, value) for kind, value in zip(sig.args[1:], args[1:], strict=True)
            )

            def place(start: Any, width: Any, number: int) -> Any:
                return builder.add(start, builder.mul(width, ir.Constant(I64, number)))

            vectors = [load(builder, memory, place(source, stride, j), VECTOR) for j in range(len(matrix[0]))]
            for i, value in enumerate(_apply(builder, matrix, vectors)):
                store(builder, value, memory, place(target, step, i))
            return context.get_dummy_value()

        return types.void(F, source, stride, target, step), generate

    return kernel
