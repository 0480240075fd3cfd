"""Reductions and the two softmaxes. Sums run in float64 whatever the dtype of the arrays."""

import math
from collections.abc import Sequence

import numpy as np

from ..shapes import Shape
from .op import Array, Grads, Op, normal_axes

Axis = int | Sequence[int] | None


def _reduced(x: Shape, *, axis: Axis = None, keepdims: bool = False) -> Shape:
    axes = normal_axes(axis, len(x))
    return tuple(1 if i in axes else n for i, n in enumerate(x) if keepdims or i not in axes)


def _sum(out: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> None:
    out[...] = x.sum(normal_axes(axis, x.ndim), dtype=np.float64, keepdims=keepdims)


def _sum_back(grad: Array, saved: None, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Grads:
    if not keepdims:
        grad = np.expand_dims(grad, normal_axes(axis, x.ndim))
    return (np.broadcast_to(grad, x.shape),)


def _mean(out: Array, x: Array, *, axis: Axis = None, keepdims: bool = False) -> None:
    axes = normal_axes(axis, x.ndim)
    # Not np.mean: it warns for nothing to average, where the answer is NaN and no news.
    out[...] = x.sum(axes, dtype=np.float64, keepdims=keepdims) / math.prod(x.shape[a] for a in axes or ())


def _mean_back(grad: Array, saved: None, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Grads:
    count = math.prod(x.shape[a] for a in normal_axes(axis, x.ndim))
    return _sum_back(grad / x.dtype.type(count), None, x, axis=axis, keepdims=keepdims)


def _softmax_shape(x: Shape, *, axis: int = -1) -> Shape:
    normal_axes(axis, len(x))
    return x


def _softmax(out: Array, x: Array, *, axis: int = -1) -> Array:
    np.subtract(x, x.max(axis, keepdims=True, initial=-np.inf), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis, keepdims=True)
    return out


def _softmax_back(grad: Array, y: Array, x: Array, *, axis: int = -1) -> Grads:
    return (y * (grad - (grad * y).sum(axis, keepdims=True)),)


def _log_softmax(out: Array, x: Array, *, axis: int = -1) -> Array:
    np.subtract(x, x.max(axis, keepdims=True, initial=-np.inf), out=out)
    out -= np.log(np.exp(out).sum(axis, keepdims=True))
    return out


def _log_softmax_back(grad: Array, y: Array, x: Array, *, axis: int = -1) -> Grads:
    return (grad - np.exp(y) * grad.sum(axis, keepdims=True),)


OPS = (
    Op("sum", _reduced, _sum, _sum_back, "ReduceSum"),
    Op("mean", _reduced, _mean, _mean_back, "ReduceMean"),
    Op("softmax", _softmax_shape, _softmax, _softmax_back, "Softmax"),
    Op("log_softmax", _softmax_shape, _log_softmax, _log_softmax_back, "LogSoftmax"),
)
