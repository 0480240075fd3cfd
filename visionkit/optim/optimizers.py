"""The optimisers, with PyTorch's formulas: epsilon outside the root, counts of updates from 1."""

import math
from collections.abc import Iterable
from typing import ClassVar

from ..errors import UsageError
from ..kernels import update as kernels
from ..nn import Parameter
from .flat import Array
from .optimizer import Group, Optimizer

Params = Iterable[Parameter] | Iterable[Group]


def _between(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise UsageError(f"{name} must lie in [0, 1)", value=value)


class SGD(Optimizer):
    """Stochastic gradient descent, by default plain; `momentum` 0.9 is usual (OPT-04 to OPT-06).

    v = momentum * v + g + weight_decay * p; p -= lr * v. With `nesterov` the step looks ahead:
    p -= lr * (g + weight_decay * p + momentum * v).
    """

    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        _between("momentum", momentum)
        super().__init__(params, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov

    def update(
        self, p: Array, g: Array, state: dict[str, Array], *, lr: float, decay: float, count: int
    ) -> None:
        """One step of flat `p`."""
        f = p.dtype.type
        kernel = kernels.sgd if kernels.small(p.size) else kernels.sgd_chunks
        kernel(p, g, state["velocity"], f(lr), f(self.momentum), f(decay), self.nesterov)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015; OPT-09); weight decay is L2, part of the gradient."""

    slots: ClassVar[tuple[str, ...]] = ("mean", "square")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        for beta in betas:
            _between("beta", beta)
        super().__init__(params, lr, weight_decay)
        self.betas, self.eps = betas, eps

    def update(
        self, p: Array, g: Array, state: dict[str, Array], *, lr: float, decay: float, count: int
    ) -> None:
        """One step of flat `p`."""
        f = p.dtype.type
        beta1, beta2 = self.betas
        rate, root = lr / kernels.correction(beta1, count), math.sqrt(kernels.correction(beta2, count))
        shrink, coupled = (1 - lr * decay, 0.0) if self.decoupled else (1.0, decay)
        kernel = kernels.adam if kernels.small(p.size) else kernels.adam_chunks
        mean, square = state["mean"], state["square"]
        settings = (rate, beta1, beta2, self.eps, coupled, shrink, root)
        kernel(p, g, mean, square, *(f(value) for value in settings))


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): p *= 1 - lr * weight_decay first."""

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


class AdaGrad(Optimizer):
    """AdaGrad (Duchi et al. 2011; OPT-07)."""

    slots: ClassVar[tuple[str, ...]] = ("square",)

    def __init__(
        self, params: Params, lr: float = 1e-2, eps: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, lr, weight_decay)
        self.eps = eps

    def update(
        self, p: Array, g: Array, state: dict[str, Array], *, lr: float, decay: float, count: int
    ) -> None:
        """One step of flat `p`."""
        f = p.dtype.type
        kernel = kernels.scaled if kernels.small(p.size) else kernels.scaled_chunks
        kernel(p, g, state["square"], f(lr), f(1), f(1), f(self.eps), f(decay))


class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012; OPT-08); `rho` is the weight of the old mean square."""

    slots: ClassVar[tuple[str, ...]] = ("square",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        rho: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _between("rho", rho)
        super().__init__(params, lr, weight_decay)
        self.rho, self.eps = rho, eps

    def update(
        self, p: Array, g: Array, state: dict[str, Array], *, lr: float, decay: float, count: int
    ) -> None:
        """One step of flat `p`."""
        f = p.dtype.type
        kernel = kernels.scaled if kernels.small(p.size) else kernels.scaled_chunks
        kernel(p, g, state["square"], f(lr), f(self.rho), f(1 - self.rho), f(self.eps), f(decay))
