"""Activations as modules."""

from .. import functional as F
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class Identity(Module):
    """Nothing at all."""

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x


class ReLU(Module):
    """max(x, 0); gradient 0 at 0 (ACT-02)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6) (ACT-06)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.relu6(x)


class LeakyReLU(Module):
    """x where positive, `negative_slope` * x elsewhere (ACT-03); the slope is PyTorch's 0.01 by default."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x where positive, a learnt slope * x elsewhere, one slope a channel (He et al. 2015).

    Attributes:
        weight: the slopes (C,), 0.25 at first.
    """

    def __init__(self, channels: int, slope: float = 0.25) -> None:
        self.weight = Parameter(init.constant((channels,), slope))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, channels last."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"{self.weight.size}"


class SiLU(Module):
    """x * sigmoid(x) (Elfwing et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)) (ACT-07)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent (ACT-08)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.tanh(x)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `axis` (OPS-45)."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, positive, sums of 1."""
        return F.softmax(x, self.axis)

    def extra_repr(self) -> str:
        """The axis."""
        return f"axis={self.axis}"
