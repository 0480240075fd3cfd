"""Operations that move numbers and compute nothing: reshape, transpose, concat, getitem, upsampling."""

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..shapes import Shape
from .op import Array, Grads, Op, normal_axes

Index = Any  # what NumPy takes between brackets


def _reshape_shape(x: Shape, *, shape: Shape) -> Shape:
    size, known = math.prod(x), math.prod(n for n in shape if n != -1)
    if shape.count(-1) == 1 and known and size % known == 0:
        shape = tuple(size // known if n == -1 else n for n in shape)
    if -1 in shape or math.prod(shape) != size:
        raise ShapeError(f"reshape: {x} has {size} elements, which do not fit {shape}")
    return shape


def _reshape(out: Array, x: Array, *, shape: Shape) -> None:
    out[...] = x.reshape(out.shape)


def _reshape_back(grad: Array, saved: None, x: Array, *, shape: Shape) -> Grads:
    return (grad.reshape(x.shape),)


def _transpose_shape(x: Shape, *, axes: tuple[int, ...]) -> Shape:
    if normal_axes(axes, len(x)) != tuple(range(len(x))):
        raise ShapeError(f"transpose: axes {axes} are no permutation of the {len(x)} axes of {x}")
    return tuple(x[a] for a in axes)


def _transpose(out: Array, x: Array, *, axes: tuple[int, ...]) -> None:
    out[...] = x.transpose(axes)


def _transpose_back(grad: Array, saved: None, x: Array, *, axes: tuple[int, ...]) -> Grads:
    return (grad.transpose(np.argsort([a % x.ndim for a in axes])),)


def _concat_shape(*xs: Shape, axis: int) -> Shape:
    if not xs:
        raise ShapeError("concat: nothing to join")
    (axis,) = normal_axes(axis, len(xs[0]))
    if any(len(x) != len(xs[0]) or x[:axis] + x[axis + 1 :] != xs[0][:axis] + xs[0][axis + 1 :] for x in xs):
        raise ShapeError(f"concat: shapes {', '.join(map(str, xs))} differ outside axis {axis}")
    return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])


def _concat(out: Array, *xs: Array, axis: int) -> None:
    np.concatenate(xs, axis=axis, out=out)


def _concat_back(grad: Array, saved: None, *xs: Array, axis: int) -> Grads:
    ends = np.cumsum([x.shape[axis] for x in xs])[:-1]
    return tuple(np.split(grad, ends, axis=axis))


def _getitem_shape(x: Shape, *, index: Index) -> Shape:
    stand_in = np.broadcast_to(np.int8(0), x)  # one byte, whatever the shape
    try:
        return stand_in[index].shape
    except (IndexError, ValueError) as error:
        raise ShapeError(f"getitem: index does not fit shape {x}: {error}") from None


def _getitem(out: Array, x: Array, *, index: Index) -> None:
    out[...] = x[index]


def _getitem_back(grad: Array, saved: None, x: Array, *, index: Index) -> Grads:
    whole = np.zeros(x.shape, grad.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if all(part is None or part is Ellipsis or isinstance(part, int | slice | np.integer) for part in parts):
        whole[index] = grad  # a basic index names each element once
    else:
        np.add.at(whole, index, grad)
    return (whole,)


def _upsample_shape(x: Shape, *, scale: int) -> Shape:
    if len(x) != 4 or scale < 1:
        raise ShapeError(
            f"upsample_nearest: expected (B, H, W, C) and a scale of 1 or more, got {x}, {scale}"
        )
    return (x[0], x[1] * scale, x[2] * scale, x[3])


def _upsample(out: Array, x: Array, *, scale: int) -> None:
    b, h, w, c = x.shape
    out.reshape(b, h, scale, w, scale, c)[...] = x[:, :, None, :, None]


def _upsample_back(grad: Array, saved: None, x: Array, *, scale: int) -> Grads:
    b, h, w, c = x.shape
    return (grad.reshape(b, h, scale, w, scale, c).sum((2, 4), dtype=np.float64).astype(grad.dtype),)


OPS = (
    Op("reshape", _reshape_shape, _reshape, _reshape_back, "Reshape"),
    Op("transpose", _transpose_shape, _transpose, _transpose_back, "Transpose"),
    Op("concat", _concat_shape, _concat, _concat_back, "Concat"),
    Op("getitem", _getitem_shape, _getitem, _getitem_back, "Slice"),
    Op("upsample_nearest", _upsample_shape, _upsample, _upsample_back, "Resize"),
)
