"""What Caffe's layers compute and no other network here does."""

from collections.abc import Callable
from functools import reduce

from visionkit import functional as F
from visionkit import nn
from visionkit.errors import ShapeError
from visionkit.ops.norm import updated_statistics
from visionkit.tensor import Tensor, is_tracing


class Norm(nn.BatchNorm2d):
    """Caffe's BatchNorm, its Scale, or both in one: a layer before it can swallow it whole.

    Args:
        channels: how many.
        eps: added to the variance.
        momentum: weight of a batch's statistics in training.
        frozen: use the stored statistics in training, too (`use_global_stats`).
    """

    def __init__(self, channels: int, eps: float, momentum: float, frozen: bool) -> None:
        super().__init__(channels, eps, momentum)
        self.frozen = frozen
        self.weight.requires_grad = self.bias.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) or (B, C), same shape."""
        mean, var, batch = self.running_mean, self.running_var, self.training and not self.frozen
        out = F.batch_norm(x, self.weight, self.bias, mean, var, batch, momentum=self.momentum, eps=self.eps)
        if batch and not is_tracing():
            mean.data[...], var.data[...] = updated_statistics(x.data, mean.data, var.data, self.momentum)
        return out

    def scaled(self, bias: bool) -> "Norm":
        """Itself, with factors, and with summands if `bias`, that training changes."""
        self.weight.requires_grad, self.bias.requires_grad = True, bias
        return self


class InnerProduct(nn.Linear):
    """Fully connected layer over whole maps; the features are taken in our order, height, width, channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) or (B, N) to (B, out)."""
        return super().forward(x.reshape(x.shape[0], -1) if x.ndim > 2 else x)


class GlobalMaxPool2d(nn.Module):
    """The largest value of each map."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, 1, 1, C)."""
        return F.max_pool2d(x, (x.shape[1], x.shape[2]))


class Join(nn.Module):
    """Several maps in, one out: their channels side by side, or their sum, product or maximum."""

    def __init__(self, how: str) -> None:
        self.how = how

    def forward(self, *xs: Tensor) -> Tensor:
        """Maps of one shape, but for the channels that are put side by side."""
        if self.how == "concat":
            return F.concat(xs)
        if any(x.shape != xs[0].shape for x in xs):
            raise ShapeError(f"{self.how} of maps of different shapes: {[x.shape for x in xs]}")
        joins: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "sum": lambda a, b: a + b, "product": lambda a, b: a * b, "maximum": F.maximum,
        }  # fmt: skip
        return reduce(joins[self.how], xs)

    def extra_repr(self) -> str:
        """What is done."""
        return self.how
