"""Finding the ranges of a network's values on some pictures."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..kernels import jit
from ..kernels.narrow import MOST
from ..nn import Module
from ..shapes import Shape
from .choice import Choose
from .lower import Lowering
from .passes import prepare
from .plan import Plan
from .ranges import Ranges, named
from .trace import Graph, trace

# Magnitudes are counted in bins of equal ratio, whose edges are known before the first number is seen.
_PER_OCTAVE, _LOWEST, _OCTAVES = 16, -30, 60
_SIZES = 2.0 ** (_LOWEST + (np.arange(_PER_OCTAVE * _OCTAVES) + 0.5) / _PER_OCTAVE)

Counts = NDArray[np.int64]


def calibrate(
    network: Module | Callable[..., Any],
    shape: Shape,
    pictures: Iterable[NDArray[Any]],
    *,
    mean: float = 0.0,
    scale: float = 1.0,
) -> Ranges:
    """The ranges of a network's values with the least mean squared error of int8 on some pictures.

    Args:
        network, shape, mean, scale: as for `compile`.
        pictures: arrays (N, H, W, C) of that shape, uint8 or float32. Some dozens do.

    Raises:
        DataError: there is no picture.
    """
    graph = prepare(trace(network, shape), training=False)
    values = [value for _, value in named(graph)]
    every = Graph(graph.inputs, graph.nodes, values[1:])
    low = Lowering(every, False, jit.threads(), Choose(lambda y, ins: False))
    low.forward()
    plan, counts = Plan(low, None, mean, scale), [np.zeros(_SIZES.size, np.int64) for _ in values]
    for batch in pictures:
        seen = [(batch.astype(np.float32) - np.float32(mean)) * np.float32(scale), *plan.forward(batch)]
        for count, numbers in zip(counts, seen, strict=True):
            count += _counted(numbers)
    if not counts[0].any():
        raise DataError("no picture to calibrate with, or nothing in it")
    return Ranges(tuple(name for name, _ in named(graph)), tuple(map(_best, counts)))


def _counted(numbers: NDArray[np.float32]) -> Counts:
    """How many numbers lie in each bin; zeros, which int8 has exactly, in none."""
    sizes = np.abs(numbers[numbers != 0], dtype=np.float64)
    bins = ((np.log2(sizes) - _LOWEST) * _PER_OCTAVE).astype(np.int64).clip(0, _SIZES.size - 1)
    return np.bincount(bins, minlength=_SIZES.size)


def _best(counts: Counts) -> float:
    """The range that makes the mean squared error least: rounding errors within, cut off beyond."""
    used = np.flatnonzero(counts)
    if not used.size:
        return 1.0
    sizes, weights = _SIZES[used], counts[used]
    ranges = _SIZES[max(0, used[-1] - 8 * _PER_OCTAVE) : used[-1] + 2]
    errors = [(weights * np.where(sizes < r, (r / MOST) ** 2 / 12, (sizes - r) ** 2)).sum() for r in ranges]
    return float(ranges[int(np.argmin(errors))])
