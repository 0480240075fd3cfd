"""Losses on tensors. `reduction` is mean (0 for nothing), sum or none."""

import numpy as np

from ..errors import UsageError
from ..functional import Reduction, bce_with_logits, cross_entropy, minimum, reduced, sigmoid
from ..tensor import Operand, Tensor

__all__ = ["bce_with_logits", "cross_entropy", "focal_loss", "mse", "smooth_l1"]


def focal_loss(
    logits: Tensor,
    targets: Operand,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary focal loss (Lin et al. 2017, eq. 5; LOS-09).

    Args:
        logits: any shape, any real numbers.
        targets: broadcast to `logits`, in [0, 1].
        gamma: how much easy examples are damped; 0 is plain cross-entropy.
        alpha: weight of the positives, 1 - alpha of the negatives; None weighs both by 1.
        reduction: over all elements.
    """
    truth = targets if isinstance(targets, Tensor) else Tensor(np.asarray(targets, logits.dtype))
    p = sigmoid(logits)
    loss = bce_with_logits(logits, truth, "none")
    if gamma != 0:
        miss = p + truth - 2 * p * truth  # 1 - p for a positive, p for a negative
        loss = loss * miss**gamma
    if alpha is not None:
        loss = loss * (truth * alpha + (1 - truth) * (1 - alpha))
    return reduced(loss, reduction)


def smooth_l1(x: Tensor, targets: Operand, beta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """0.5 d²/beta where d = abs(x - targets) is below `beta`, d - beta/2 beyond (Girshick 2015; LOS-10)."""
    if beta <= 0:
        raise UsageError("smooth_l1: beta must be positive", value=beta)
    distance = (x - targets).abs()
    near = minimum(distance, beta)
    return reduced(near * near * (0.5 / beta) + (distance - near), reduction)


def mse(x: Tensor, targets: Operand, reduction: Reduction = "mean") -> Tensor:
    """(x - targets)² (LOS-13)."""
    return reduced((x - targets) ** 2, reduction)
