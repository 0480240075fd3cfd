"""Operations of two inputs, broadcast by NumPy's rules; gradients are summed back to each input's shape.

Where `maximum` or `minimum` meet a tie, each input gets half of the gradient (as in PyTorch).
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..shapes import Shape
from .op import Array, Grads, Op, broadcast, unbroadcast

Mask = NDArray[np.bool_]


def _add(out: Array, a: Array, b: Array) -> None:
    np.add(a, b, out=out)


def _add_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return unbroadcast(grad, a.shape), unbroadcast(grad, b.shape)


def _sub(out: Array, a: Array, b: Array) -> None:
    np.subtract(a, b, out=out)


def _sub_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return unbroadcast(grad, a.shape), -unbroadcast(grad, b.shape)


def _mul(out: Array, a: Array, b: Array) -> None:
    np.multiply(a, b, out=out)


def _mul_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return unbroadcast(grad * b, a.shape), unbroadcast(grad * a, b.shape)


def _div(out: Array, a: Array, b: Array) -> None:
    np.divide(a, b, out=out)


def _div_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    over = grad / b
    return unbroadcast(over, a.shape), unbroadcast(-over * a / b, b.shape)


def _maximum(out: Array, a: Array, b: Array) -> None:
    np.maximum(a, b, out=out)


def _minimum(out: Array, a: Array, b: Array) -> None:
    np.minimum(a, b, out=out)


def _share(grad: Array, wins: Mask, ties: Mask, a: Array, b: Array) -> Grads:
    part = wins + grad.dtype.type(0.5) * ties
    first = grad * part
    return unbroadcast(first, a.shape), unbroadcast(grad - first, b.shape)


def _maximum_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return _share(grad, a > b, a == b, a, b)


def _minimum_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return _share(grad, a < b, a == b, a, b)


def _where_shape(a: Shape, b: Shape, *, mask: Mask) -> Shape:
    return broadcast(mask.shape, a, b)


def _where(out: Array, a: Array, b: Array, *, mask: Mask) -> None:
    out[...] = b
    np.copyto(out, a, where=mask)


def _where_back(grad: Array, saved: None, a: Array, b: Array, *, mask: Mask) -> Grads:
    first = grad * mask
    return unbroadcast(first, a.shape), unbroadcast(grad * ~mask, b.shape)


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ShapeError(f"matmul: shapes {a} and {b} do not fit (..., M, K) and (..., K, N)")
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def _matmul(out: Array, a: Array, b: Array) -> None:
    np.matmul(a, b, out=out)


def _matmul_back(grad: Array, saved: None, a: Array, b: Array) -> Grads:
    return (
        unbroadcast(grad @ np.swapaxes(b, -1, -2), a.shape),
        unbroadcast(np.swapaxes(a, -1, -2) @ grad, b.shape),
    )


def _linear_shape(x: Shape, w: Shape, b: Shape | None = None) -> Shape:
    if len(w) != 2 or not x or x[-1] != w[1]:
        raise ShapeError(f"linear: input {x} and weights {w} do not fit (..., in) and (out, in)")
    if b is not None and b != w[:1]:
        raise ShapeError(f"linear: bias {b} does not fit weights {w}: expected ({w[0]},)")
    return (*x[:-1], w[0])


def _linear(out: Array, x: Array, w: Array, b: Array | None = None) -> None:
    np.matmul(x, w.T, out=out)
    if b is not None:
        out += b


def _linear_back(grad: Array, saved: None, x: Array, w: Array, b: Array | None = None) -> Grads:
    rows, flat = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    grads = (grad @ w, flat.T @ rows)
    return grads if b is None else (*grads, unbroadcast(flat, b.shape))


OPS = (
    Op("add", broadcast, _add, _add_back, "Add"),
    Op("sub", broadcast, _sub, _sub_back, "Sub"),
    Op("mul", broadcast, _mul, _mul_back, "Mul"),
    Op("div", broadcast, _div, _div_back, "Div"),
    Op("maximum", broadcast, _maximum, _maximum_back, "Max"),
    Op("minimum", broadcast, _minimum, _minimum_back, "Min"),
    Op("where", _where_shape, _where, _where_back, "Where"),
    Op("matmul", _matmul_shape, _matmul, _matmul_back, "MatMul"),
    Op("linear", _linear_shape, _linear, _linear_back, "Gemm"),
)
