"""Arrays as flat views of their memory, for kernels that go over all elements once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..kernels import update
from ..tensor import Tensor

Array = NDArray[Any]


def flat(array: Array) -> Array:
    """`array` as one axis in memory order, sharing memory (transposed contiguous arrays too)."""
    view = array.ravel(order="K")
    if array.size and not np.may_share_memory(view, array):
        raise UsageError(f"an array of shape {array.shape}, strides {array.strides} is not contiguous memory")
    return view


def flat_as(array: Array, like: Array) -> Array:
    """`array` as one axis in the memory order of `like`, copied where its own order or dtype differs."""
    if array.strides != like.strides or array.dtype != like.dtype:
        ordered = np.empty_like(like)
        ordered[...] = array
        array = ordered
    return flat(array)


def squared_norm(array: Array) -> float:
    """The sum of squares in float64, summed in chunks that depend on the size alone."""
    view = flat(array)
    return float((update.squares if update.small(view.size) else update.squares_chunks)(view))


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their norm is at most `max_norm`; returns the norm before.

    A norm that is not finite changes nothing: the caller decides what divergence means. Same bits on any
    number of threads.
    """
    if max_norm <= 0:
        raise UsageError("clip_grad_norm: max_norm must be positive", value=max_norm)
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = float(np.sqrt(sum(squared_norm(g) for g in grads)))
    if np.isfinite(norm) and norm > max_norm:
        for grad in grads:
            grad *= grad.dtype.type(max_norm / norm)
    return norm
