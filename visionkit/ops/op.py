"""The record of one operation, and the small rules that several of them share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..shapes import Shape

Array = NDArray[Any]
Saved = Any
Grads = tuple[Array | None, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation on arrays: pure, with its shape rule, its gradient and its ONNX name.

    Attributes:
        name: the key in `OPS`.
        shape: `(*input_shapes, **attrs) -> output shape`; raises `ShapeError` with what does not fit.
        forward: `(out, *arrays, **attrs) -> saved` fills `out` and returns what `backward` needs.
        backward: `(grad, saved, *arrays, **attrs) -> gradients`, one per input, None for "no gradient".
            Gradients may share memory with `grad`: nobody writes into them.
        onnx: the ONNX operator it exports to.
    """

    name: str
    shape: Callable[..., Shape]
    forward: Callable[..., Saved]
    backward: Callable[..., Grads]
    onnx: str


def broadcast(*shapes: Shape) -> Shape:
    """The shape that `shapes` broadcast to, NumPy's rules."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


def unbroadcast(grad: Array, shape: Shape) -> Array:
    """`grad` summed over the axes along which an input of `shape` was repeated."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and grad.shape[extra + i] != 1))
    return grad.sum(axes, dtype=np.float64).astype(grad.dtype).reshape(shape)


def normal_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """`axis` as a sorted tuple of non-negative axes; None means all of them."""
    given = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = tuple(sorted(a + ndim if a < 0 else a for a in given))
    if any(not 0 <= a < ndim for a in axes) or len(set(axes)) != len(axes):
        raise ShapeError(f"axis {axis} does not fit an array of {ndim} dimensions")
    return axes


def same_shape(x: Shape, **attrs: object) -> Shape:
    """The shape rule of element-wise operations of one input."""
    return x
