"""Batch normalisation (Ioffe and Szegedy 2015) over the last axis.

The biased variance normalises; the running variance stores the unbiased one. The op is pure: whoever runs it
in training updates the running statistics afterwards, by `updated_statistics`.
"""

import numpy as np

from ..errors import ShapeError
from ..shapes import Shape
from .op import Array, Grads, Op


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel (last axis), in float64."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes, dtype=np.float64)
    # Of the centred values: mean(x²) - mean² would cancel.
    return mean, np.square(x - mean).mean(axes)


def updated_statistics(
    x: Array, running_mean: Array, running_var: Array, momentum: float
) -> tuple[Array, Array]:
    """The running mean and variance after batch `x`; `momentum` is the weight of the new values."""
    mean, variance = batch_statistics(x)
    count = x.size // x.shape[-1]
    unbiased = variance * (count / (count - 1))
    keep = 1 - momentum
    return keep * running_mean + momentum * mean, keep * running_var + momentum * unbiased


def _shape(
    x: Shape,
    gamma: Shape,
    beta: Shape,
    running_mean: Shape,
    running_var: Shape,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> Shape:
    if len(x) < 2 or any(s != x[-1:] for s in (gamma, beta, running_mean, running_var)):
        raise ShapeError(
            f"batch_norm: maps {x} do not fit gamma {gamma}, beta {beta}, running mean {running_mean} and "
            f"running variance {running_var}"
        )
    if training and np.prod(x[:-1]) < 2:
        raise ShapeError(f"batch_norm: training needs two values per channel or more, got maps {x}")
    return x


def _forward(
    out: Array,
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, Array]:
    mean, variance = batch_statistics(x) if training else (running_mean, running_var)
    inverse = 1 / np.sqrt(variance.astype(np.float64) + eps)
    np.subtract(x, mean.astype(out.dtype), out=out)
    out *= inverse.astype(out.dtype)
    normal = out.copy()
    out *= gamma
    out += beta
    return normal, inverse


def _backward(
    grad: Array,
    saved: tuple[Array, Array],
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_var: Array,
    *,
    training: bool,
    momentum: float,
    eps: float,
) -> Grads:
    normal, inverse = saved
    axes = tuple(range(x.ndim - 1))
    dbeta = grad.sum(axes, dtype=np.float64)
    dgamma = (grad * normal).sum(axes, dtype=np.float64)
    scale = (gamma * inverse).astype(grad.dtype)
    if training:
        count = x.size // x.shape[-1]
        inner = grad - (dbeta / count).astype(grad.dtype) - normal * (dgamma / count).astype(grad.dtype)
    else:
        inner = grad
    return inner * scale, dgamma.astype(grad.dtype), dbeta.astype(grad.dtype), None, None


OPS = (Op("batch_norm", _shape, _forward, _backward, "BatchNormalization"),)
