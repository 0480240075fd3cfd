"""Initial values. Everything random takes its generator; everything is float32.

Weights come in logical shape (O, I/groups, KH, KW) or (O, I) with the output channel innermost in memory.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..shapes import Shape

F32 = NDArray[np.float32]
FanMode = Literal["fan_in", "fan_out"]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of linear weights (out, in) or convolution weights (O, I/groups, KH, KW)."""
    if len(shape) < 2:
        raise UsageError("an initialiser by fan needs weights of two axes or more", value=shape)
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def _laid_out(values: NDArray[np.float64]) -> F32:
    if values.ndim < 2:
        return values.astype(np.float32)
    o, i, *taps = values.shape
    weights = np.moveaxis(np.empty((*taps, i, o), np.float32), (-1, -2), (0, 1))
    weights[...] = values
    return weights


def normal(shape: Shape, std: float, *, rng: np.random.Generator) -> F32:
    """N(0, std²) (INI-02, INI-03)."""
    return _laid_out(rng.normal(0.0, std, shape))


def uniform(shape: Shape, bound: float, *, rng: np.random.Generator) -> F32:
    """U(-bound, bound) (INI-10)."""
    return _laid_out(rng.uniform(-bound, bound, shape))


def kaiming_normal(
    shape: Shape, mode: FanMode = "fan_in", a: float = 0.0, *, rng: np.random.Generator
) -> F32:
    """N(0, 2 / ((1 + a²) fan)) before a ReLU of slope `a` below zero (He et al. 2015, eq. 10; INI-06)."""
    fan = fans(shape)[0 if mode == "fan_in" else 1]
    return normal(shape, math.sqrt(2 / ((1 + a * a) * fan)), rng=rng)


def xavier_normal(shape: Shape, *, rng: np.random.Generator) -> F32:
    """N(0, 2 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    return normal(shape, math.sqrt(2 / sum(fans(shape))), rng=rng)


def xavier_uniform(shape: Shape, *, rng: np.random.Generator) -> F32:
    """U(±sqrt(6 / (fan in + fan out))) (Glorot and Bengio 2010, eq. 16; INI-04)."""
    return uniform(shape, math.sqrt(6 / sum(fans(shape))), rng=rng)


def constant(shape: Shape, value: float) -> F32:
    """All elements `value` (INI-08)."""
    return _laid_out(np.full(shape, value))


def zeros(shape: Shape) -> F32:
    """All elements 0."""
    return constant(shape, 0.0)


def ones(shape: Shape) -> F32:
    """All elements 1."""
    return constant(shape, 1.0)
