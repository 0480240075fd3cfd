"""Where did the first number that is not finite come from? (torture T08)"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DivergedError, VisionKitError
from ..nn import Module
from ..tensor import Tensor, no_grad


def diverged(
    network: Module,
    images: NDArray[np.generic],
    mean: float,
    scale: float,
    *,
    step: int,
    losses: dict[str, float],
    files: Sequence[str],
) -> DivergedError:
    """The error that names the step, the batch's files, the losses and the first layer to blame.

    The network is run once more, operation by operation, so its running statistics change.
    """
    values = ", ".join(f"{name} {value:.6g}" for name, value in losses.items())
    layer = first_nonfinite_layer(network, (images.astype(np.float32) - np.float32(mean)) * np.float32(scale))
    where = f"; the first layer with a number that is not finite is {layer}" if layer else ""
    shown = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
    return DivergedError(
        f"training diverged: {values}{where}; batch of {shown or 'unnamed images'}",
        place=f"step {step}",
        remedy="lower the learning rate (--lr) or look at these images; the checkpoints before it are kept",
    )


def first_nonfinite_layer(network: Module, images: NDArray[np.floating[Any]]) -> str | None:
    """The first weight, activation or gradient of a layer that is not finite: its name, or None."""
    for name, array in network.state_dict().items():
        if not np.isfinite(array).all():
            return name
    found: list[str] = []
    leaves = [
        (path, m) for path, m in network.named_modules() if not any(p for p in m.parts() if _is_module(p[1]))
    ]
    try:
        for path, module in leaves:
            module.forward = _watched(module, path, found)  # type: ignore[method-assign]
        with no_grad(), np.errstate(all="ignore"):
            network(Tensor(images.astype(np.float32)))
    except VisionKitError:
        return found[0] if found else None
    finally:
        for _, module in leaves:
            vars(module).pop("forward", None)
    if found:
        return found[0]
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return f"{name} (its gradient)"
    return None


def _is_module(part: object) -> bool:
    return isinstance(part, Module)


def _watched(module: Module, path: str, found: list[str]) -> Any:
    forward = module.forward

    def watch(*inputs: Any) -> Any:
        result = forward(*inputs)
        if isinstance(result, Tensor) and not np.isfinite(result.data).all():
            found.append(path or type(module).__name__)
        return result

    return watch
