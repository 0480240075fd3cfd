"""Initial values. Everything random takes its generator; everything is float32.

Weights come in logical shape (O, I/groups, KH, KW) or (O, I) with the output channel innermost in memory.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..shapes import Shape

F32 = NDArray[np.float32]
FanMode = Literal["fan_in", "fan_out"]

_AT_A_TIME = 1 << 16


def fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of linear weights (out, in) or convolution weights (O, I/groups, KH, KW)."""
    if len(shape) < 2:
        raise UsageError("an initialiser by fan needs weights of two axes or more", value=shape)
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def _empty(shape: Shape) -> F32:
    """Memory for weights, the output channel innermost."""
    if len(shape) < 2:
        return np.empty(shape, np.float32)
    o, i, *taps = shape
    return np.moveaxis(np.empty((*taps, i, o), np.float32), (-1, -2), (0, 1))


def _drawn(shape: Shape, draw: Callable[[Shape], NDArray[np.float64]], out: F32 | None = None) -> F32:
    """Numbers in logical order, some output channels at a time: all in float64 would be twice the weights."""
    weights = _empty(shape) if out is None else out
    outs, *rest = shape
    step = max(1, _AT_A_TIME // math.prod(rest))
    for o in range(0, outs, step):
        weights[o : o + step] = draw((min(step, outs - o), *rest))
    return weights


def normal(shape: Shape, std: float, *, rng: np.random.Generator, out: F32 | None = None) -> F32:
    """N(0, std²) (INI-02, INI-03), into `out` where weights of this shape are there already."""
    return _drawn(shape, lambda part: rng.normal(0.0, std, part), out)


def uniform(shape: Shape, bound: float, *, rng: np.random.Generator) -> F32:
    """U(-bound, bound) (INI-10)."""
    return _drawn(shape, lambda part: rng.uniform(-bound, bound, part))


def kaiming_normal(
    shape: Shape, mode: FanMode = "fan_in", a: float = 0.0, *, rng: np.random.Generator,
    out: F32 | None = None,
) -> F32:  # fmt: skip
    """N(0, 2 / ((1 + a²) fan)) before a ReLU of slope `a` below zero (He et al. 2015, eq. 10; INI-06)."""
    fan = fans(shape)[0 if mode == "fan_in" else 1]
    return normal(shape, math.sqrt(2 / ((1 + a * a) * fan)), rng=rng, out=out)


def xavier_normal(shape: Shape, *, rng: np.random.Generator) -> F32:
    """N(0, 2 / (fan in + fan out)) (Glorot and Bengio 2010)."""
    return normal(shape, math.sqrt(2 / sum(fans(shape))), rng=rng)


def xavier_uniform(shape: Shape, *, rng: np.random.Generator) -> F32:
    """U(±sqrt(6 / (fan in + fan out))) (Glorot and Bengio 2010, eq. 16; INI-04)."""
    return uniform(shape, math.sqrt(6 / sum(fans(shape))), rng=rng)


def constant(shape: Shape, value: float) -> F32:
    """All elements `value` (INI-08)."""
    weights = _empty(shape)
    weights[...] = value
    return weights


def zeros(shape: Shape) -> F32:
    """All elements 0."""
    return constant(shape, 0.0)


def ones(shape: Shape) -> F32:
    """All elements 1."""
    return constant(shape, 1.0)


class Unset(np.random.Generator):
    """Draws nothing but zeros: for networks whose weights are loaded next."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Zeros."""
        return np.zeros(size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Zeros."""
        return np.zeros(size)
