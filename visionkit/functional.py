"""The operations as typed functions: maps are (B, H, W, C), sizes (height, width), names PyTorch's."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ShapeError, UsageError
from .tensor import Axis, Operand, Tensor, apply, is_tracing

Pair = tuple[int, int]
Reduction = Literal["mean", "sum", "none"]


def pair(size: int | Pair) -> Pair:
    """(size, size), or `size` as it is where it has two numbers already."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of maps (B, H, W, I) with weights (O, I/groups, KH, KW), zeros around."""
    inputs = (x, weight) if bias is None else (x, weight, bias)
    attrs = {"stride": pair(stride), "padding": pair(padding), "dilation": pair(dilation)}
    return apply("conv2d", *inputs, **attrs, groups=groups)


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """Rows (..., in) times weights (out, in), plus bias (out,)."""
    return apply("linear", *((x, weight) if bias is None else (x, weight, bias)))


def matmul(a: Operand, b: Operand) -> Tensor:
    """Matrix product over the last two axes, the others broadcast."""
    return apply("matmul", a, b)


def max_pool2d(
    x: Operand,
    kernel: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window; `stride` is `kernel` by default, padding is minus infinity."""
    steps = pair(kernel if stride is None else stride)
    attrs = {"kernel": pair(kernel), "stride": steps, "padding": pair(padding)}
    return apply("max_pool2d", x, **attrs, ceil_mode=ceil_mode)


def avg_pool2d(
    x: Operand,
    kernel: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window; zeros of the padding count unless `count_include_pad` is False."""
    steps = pair(kernel if stride is None else stride)
    attrs = {"kernel": pair(kernel), "stride": steps, "padding": pair(padding)}
    return apply("avg_pool2d", x, **attrs, ceil_mode=ceil_mode, count_include_pad=count_include_pad)


def global_avg_pool2d(x: Operand) -> Tensor:
    """The mean of each map: (B, H, W, C) to (B, 1, 1, C)."""
    return apply("global_avg_pool2d", x)


def upsample_nearest(x: Operand, scale: int = 2) -> Tensor:
    """Each pixel repeated `scale` times in both directions."""
    return apply("upsample_nearest", x, scale=scale)


def batch_norm(
    x: Operand,
    gamma: Operand,
    beta: Operand,
    running_mean: Operand,
    running_var: Operand,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise the last axis by the batch (`training`) or by the running statistics, left untouched."""
    attrs = {"training": training, "momentum": momentum, "eps": eps}
    return apply("batch_norm", x, gamma, beta, running_mean, running_var, **attrs)


def relu(x: Operand) -> Tensor:
    """max(x, 0)."""
    return apply("relu", x)


def relu6(x: Operand) -> Tensor:
    """min(max(x, 0), 6)."""
    return apply("relu6", x)


def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Tensor:
    """x where positive, `negative_slope` * x elsewhere."""
    return apply("leaky_relu", x, slope=negative_slope)


def prelu(x: Operand, slope: Operand) -> Tensor:
    """x where positive, `slope` * x elsewhere; slopes (C,), one a channel."""
    return apply("prelu", x, slope)


def silu(x: Operand) -> Tensor:
    """x * sigmoid(x)."""
    return apply("silu", x)


def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", x)


def tanh(x: Operand) -> Tensor:
    """Hyperbolic tangent."""
    return apply("tanh", x)


def exp(x: Operand) -> Tensor:
    """e to the power of x."""
    return apply("exp", x)


def log(x: Operand) -> Tensor:
    """Natural logarithm."""
    return apply("log", x)


def sqrt(x: Operand) -> Tensor:
    """Square root."""
    return apply("sqrt", x)


def atan(x: Operand) -> Tensor:
    """Arc tangent, in radians."""
    return apply("atan", x)


def softplus(x: Operand) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    return apply("softplus", x)


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`, without overflow."""
    return apply("softmax", x, axis=axis)


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """log(softmax(x)) along `axis`, without overflow."""
    return apply("log_softmax", x, axis=axis)


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of each two elements."""
    return apply("maximum", a, b)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of each two elements."""
    return apply("minimum", a, b)


def clip(x: Operand, lo: float, hi: float) -> Tensor:
    """Each element limited to [lo, hi]."""
    return apply("clip", x, lo=lo, hi=hi)


def where(mask: ArrayLike, a: Operand, b: Operand) -> Tensor:
    """`a` where the constant boolean `mask` holds, `b` elsewhere."""
    return apply("where", a, b, mask=np.asarray(mask, np.bool_))


def concat(tensors: Sequence[Operand], axis: int = -1) -> Tensor:
    """Tensors joined along an axis, the channels by default."""
    return apply("concat", *tensors, axis=axis)


def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return apply("reshape", x, shape=tuple(shape))


def transpose(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    return apply("transpose", x, axes=tuple(axes))


def sum(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """The sum over `axis`, all axes by default."""
    return x.sum(axis, keepdims)


def mean(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`, all axes by default."""
    return x.mean(axis, keepdims)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, *, rng: np.random.Generator) -> Tensor:
    """`x` with each element zeroed with probability `p`, the rest divided by 1 - p (inverted dropout).

    A traced dropout carries no mask: whoever runs the graph draws it.
    """
    if not 0 <= p < 1:
        raise UsageError("dropout: p must lie in [0, 1)", value=p)
    if not training or p == 0:
        return x
    if is_tracing():
        return apply("dropout", x, p=p, mask=None)
    mask = (rng.random(x.shape, np.float32) >= p) / x.dtype.type(1 - p)
    return apply("dropout", x, p=p, mask=mask.astype(x.dtype, copy=False))


def reduced(loss: Tensor, reduction: Reduction) -> Tensor:
    """`loss` per element as its mean, its sum or as it is; the mean of nothing is 0."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / max(1, loss.size)
    raise UsageError("reduction is mean, sum or none", value=reduction)


def bce_with_logits(logits: Tensor, targets: Operand, reduction: Reduction = "mean") -> Tensor:
    """Binary cross-entropy of sigmoid(logits) with targets in [0, 1], stable for any logit (LOS-06)."""
    return reduced(softplus(logits) - logits * targets, reduction)


def cross_entropy(logits: Tensor, targets: ArrayLike, reduction: Reduction = "mean") -> Tensor:
    """Softmax cross-entropy (LOS-01).

    Args:
        logits: scores (N, K), any real numbers.
        targets: class indices (N,), 0 to K - 1.
        reduction: over the N samples.
    """
    classes: NDArray[np.int64] = np.asarray(targets)
    if logits.ndim != 2 or classes.shape != logits.shape[:1] or classes.dtype.kind not in "iu":
        raise ShapeError(
            f"cross_entropy: expected logits (N, K) and class indices (N,), got {logits.shape} and "
            f"{classes.dtype} {classes.shape}"
        )
    if classes.size and not 0 <= classes.min() <= classes.max() < logits.shape[1]:
        raise UsageError(f"cross_entropy: a class outside 0 to {logits.shape[1] - 1}")
    rows = np.arange(len(classes))
    return reduced(-log_softmax(logits)[rows, classes], reduction)
