"""Layers over maps (B, H, W, C), with PyTorch's names. Whatever starts at random takes its generator."""

import numpy as np

from .. import functional as F
from ..errors import UsageError
from ..functional import Pair, pair
from ..ops.norm import updated_statistics
from ..tensor import Tensor, is_tracing
from . import init
from .module import Buffer, Module, Parameter


class Conv2d(Module):
    """Convolution with zero padding; starts with He's normal weights and zero bias.

    Attributes:
        weight: (O, I/groups, KH, KW), the output channel innermost in memory.
        bias: (O,) or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator,
    ) -> None:
        if in_channels % groups or out_channels % groups:
            raise UsageError(
                f"Conv2d: {groups} groups do not divide {in_channels} and {out_channels} channels"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel, self.stride = pair(kernel), pair(stride)
        self.padding, self.dilation = pair(padding), pair(dilation)
        shape = (out_channels, in_channels // groups, *self.kernel)
        self.weight = Parameter(init.kaiming_normal(shape, rng=rng))
        self.bias = Parameter(init.zeros((out_channels,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, I) to (B, OH, OW, O)."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Channels, kernel and whatever differs from the defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, stride={self.stride}"
        text += f", padding={self.padding}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class Linear(Module):
    """Fully connected layer; starts with He's normal weights and zero bias.

    Attributes:
        weight: (out, in).
        bias: (out,) or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator
    ) -> None:
        self.weight = Parameter(init.kaiming_normal((out_features, in_features), rng=rng))
        self.bias = Parameter(init.zeros((out_features,))) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Features in and out."""
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}" + (", bias=False" if self.bias is None else "")


class BatchNorm2d(Module):
    """Batch normalisation of each channel (Ioffe and Szegedy 2015); `momentum` weighs the new statistics.

    Eager training updates `running_mean` and `running_var` after each pass; a traced pass leaves that to
    whoever runs the graph.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = Parameter(init.ones((channels,))), Parameter(init.zeros((channels,)))
        self.running_mean, self.running_var = Buffer(init.zeros((channels,))), Buffer(init.ones((channels,)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised maps, same shape."""
        mean, var = self.running_mean, self.running_var
        out = F.batch_norm(
            x, self.weight, self.bias, mean, var, self.training, momentum=self.momentum, eps=self.eps
        )
        if self.training and not is_tracing():
            mean.data[...], var.data[...] = updated_statistics(x.data, mean.data, var.data, self.momentum)
        return out

    def extra_repr(self) -> str:
        """Channels, eps and momentum."""
        return f"{self.weight.size}, eps={self.eps}, momentum={self.momentum}"


class MaxPool2d(Module):
    """The largest value of each window."""

    def __init__(
        self,
        kernel: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel, self.padding, self.ceil_mode = pair(kernel), pair(padding), ceil_mode
        self.stride = self.kernel if stride is None else pair(stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, OH, OW, C)."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.ceil_mode)

    def extra_repr(self) -> str:
        """Kernel, stride and padding."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window."""

    def __init__(
        self,
        kernel: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel, self.padding, self.ceil_mode = pair(kernel), pair(padding), ceil_mode
        self.stride = self.kernel if stride is None else pair(stride)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, OH, OW, C)."""
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """Kernel, stride and padding."""
        return f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


class GlobalAvgPool2d(Module):
    """The mean of each map."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, 1, 1, C)."""
        return F.global_avg_pool2d(x)


class Upsample(Module):
    """Nearest-neighbour upsampling by a whole factor."""

    def __init__(self, scale: int = 2) -> None:
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, scale H, scale W, C)."""
        return F.upsample_nearest(x, self.scale)

    def extra_repr(self) -> str:
        """The factor."""
        return f"scale={self.scale}"


class Dropout(Module):
    """Zero each element with probability `p` in training, divide the rest by 1 - p."""

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator) -> None:
        self.p, self.rng = p, rng

    def forward(self, x: Tensor) -> Tensor:
        """Same shape; `x` itself in inference mode."""
        return F.dropout(x, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Flatten(Module):
    """All axes but the first in one, in the order height, width, channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to (B, N)."""
        return x.reshape(x.shape[0], -1)
