"""Gradients checked by central differences in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .tensor import Tensor, no_grad

F64 = NDArray[np.float64]


def gradcheck(
    function: Callable[..., Tensor | Sequence[Tensor]],
    inputs: Sequence[Any],
    eps: float = 1e-5,
    *,
    rng: np.random.Generator,
) -> float:
    """The worst error of the gradients that `function` gives for its inputs (TRN-07, TRN-08).

    Outputs are weighted at random and summed, so that no error cancels. The error of one input is the largest
    difference between its two gradients over the largest element of either; 1e-6 is a sound bound, away
    from kinks. `function` must be deterministic and is called twice for each element.

    Args:
        function: of the inputs as float64 tensors; returns a tensor or several.
        inputs: arrays, not changed, whose gradients are checked.
        eps: half the distance of the two values; the error of a difference is of order eps².
        rng: draws the weights of the outputs.
    """
    tensors = [Tensor(np.array(x, np.float64, order="K"), requires_grad=True) for x in inputs]
    if not tensors:
        raise UsageError("gradcheck: no inputs to check")

    def outputs() -> list[Tensor]:
        found = function(*tensors)
        return [found] if isinstance(found, Tensor) else list(found)

    results = outputs()
    weights = [rng.uniform(0.5, 1.5, t.shape) * rng.choice((-1.0, 1.0), t.shape) for t in results]
    for result, weight in zip(results, weights, strict=True):
        if result.requires_grad:
            result.backward(weight)

    def value() -> float:
        with no_grad():
            return float(sum((t.data * w).sum() for t, w in zip(outputs(), weights, strict=True)))

    worst = 0.0
    for tensor in tensors:
        numeric = _central_differences(tensor.data, value, eps)
        analytic = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
        size = max(np.abs(numeric).max(initial=0.0), np.abs(analytic).max(initial=0.0))
        error = np.abs(numeric - analytic).max(initial=0.0)
        if not np.isfinite(size):
            return float("inf")
        if size > 0:
            worst = max(worst, float(error / size))
    return worst


def _central_differences(array: F64, value: Callable[[], float], eps: float) -> F64:
    """(f(x + eps) - f(x - eps)) / 2 eps for each element x of `array`, which is left as it was."""
    numeric = np.empty(array.shape)
    for at in np.ndindex(array.shape):
        keep = array[at]
        array[at] = keep + eps
        above = value()
        array[at] = keep - eps
        below = value()
        array[at] = keep
        numeric[at] = (above - below) / (2 * eps)
    return numeric
