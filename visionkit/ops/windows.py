"""Operations on sliding windows over maps (B, H, W, C): convolution and pooling.

Pairs are (height, width). Convolution is cross-correlation, weights are (O, I/groups, KH, KW) with the
output channel innermost in memory where speed counts. Max pooling pads with minus infinity, and the first
of equal maxima wins; in `ceil_mode` a window that would start in the padding is dropped (as in PyTorch).
"""

import numpy as np

from ..errors import ShapeError
from ..kernels import reference
from ..shapes import Shape
from .op import Array, Grads, Op

Pair = tuple[int, int]


def _maps(name: str, x: Shape) -> Shape:
    if len(x) != 4:
        raise ShapeError(f"{name}: expected maps (B, H, W, C), got {x}")
    return x


def _conv_shape(
    x: Shape, w: Shape, b: Shape | None = None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Shape:
    batch, height, width, channels = _maps("conv2d", x)
    if len(w) != 4:
        raise ShapeError(f"conv2d: expected weights (O, I/groups, KH, KW), got {w}")
    if min(*stride, *dilation, groups, *w) < 1 or min(padding) < 0:
        raise ShapeError(
            f"conv2d: kernel, stride, dilation and groups start at 1, padding at 0; got weights {w}, "
            f"stride {stride}, padding {padding}, dilation {dilation}, groups {groups}"
        )
    if channels != w[1] * groups or w[0] % groups:
        raise ShapeError(f"conv2d: {channels} channels and {groups} groups do not fit weights {w}")
    if b is not None and b != w[:1]:
        raise ShapeError(f"conv2d: bias {b} does not fit weights {w}: expected ({w[0]},)")
    sizes = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip((height, width), w[2:], stride, padding, dilation, strict=True)
    )
    if min(sizes) < 1:
        raise ShapeError(f"conv2d: kernel {w[2:]} with dilation {dilation} exceeds {x} padded by {padding}")
    return (batch, *sizes, w[0])


def _conv(
    out: Array,
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    bias = np.zeros(w.shape[0], out.dtype) if b is None else b.astype(out.dtype, copy=False)
    taps = np.ascontiguousarray(w.transpose(2, 3, 1, 0), out.dtype)  # (KH, KW, I/g, O)
    maps = np.ascontiguousarray(x, out.dtype)
    reference.conv_forward(out, maps, taps, np.ascontiguousarray(bias), stride, padding, dilation, groups)


def _conv_back(
    grad: Array,
    saved: None,
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Grads:
    grad, maps = np.ascontiguousarray(grad), np.ascontiguousarray(x, grad.dtype)
    dx = np.empty(x.shape, grad.dtype)
    dw = np.empty((*w.shape[2:], w.shape[1], w.shape[0]), grad.dtype)  # (KH, KW, I/g, O)
    mirrored = np.ascontiguousarray(w.transpose(2, 3, 0, 1), grad.dtype)  # (KH, KW, O, I/g)
    reference.conv_backward_data(dx, grad, mirrored, stride, padding, dilation, groups)
    reference.conv_backward_weights(dw, maps, grad, stride, padding, dilation, groups)
    grads = (dx, dw.transpose(3, 2, 0, 1))
    return grads if b is None else (*grads, grad.sum((0, 1, 2), dtype=np.float64).astype(grad.dtype))


def pooled_size(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """How many windows fit along an axis of `size`."""
    room = size + 2 * padding - kernel
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def _pool_shape(
    x: Shape,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Shape:
    batch, height, width, channels = _maps("pool2d", x)
    if min(*kernel, *stride) < 1 or any(not 0 <= 2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(
            f"pool2d: kernel and stride start at 1 and padding is at most half the kernel; got kernel "
            f"{kernel}, stride {stride}, padding {padding}"
        )
    rows = pooled_size(height, kernel[0], stride[0], padding[0], ceil_mode)
    columns = pooled_size(width, kernel[1], stride[1], padding[1], ceil_mode)
    if min(rows, columns, height, width) < 1:
        raise ShapeError(f"pool2d: kernel {kernel} exceeds {x} padded by {padding}")
    return (batch, rows, columns, channels)


def _max_pool(
    out: Array, x: Array, *, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool = False
) -> Array:
    winners = np.empty(out.shape, np.int32)
    reference.max_pool_forward(out, winners, np.ascontiguousarray(x), kernel, stride, padding)
    return winners


def _max_pool_back(
    grad: Array,
    winners: Array,
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool = False,
) -> Grads:
    dx = np.zeros(x.shape, grad.dtype)
    reference.max_pool_backward(dx, np.ascontiguousarray(grad), winners)
    return (dx,)


def _avg_pool(
    out: Array,
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> None:
    maps = np.ascontiguousarray(x)
    reference.avg_pool_forward(out, maps, kernel, stride, padding, count_include_pad)


def _avg_pool_back(
    grad: Array,
    saved: None,
    x: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Grads:
    dx = np.zeros(x.shape, grad.dtype)
    spread = np.ascontiguousarray(grad)
    reference.avg_pool_backward(dx, spread, kernel, stride, padding, count_include_pad)
    return (dx,)


def _global_shape(x: Shape) -> Shape:
    batch, height, width, channels = _maps("global_avg_pool2d", x)
    if height * width == 0:
        raise ShapeError(f"global_avg_pool2d: nothing to average in {x}")
    return (batch, 1, 1, channels)


def _global(out: Array, x: Array) -> None:
    out[...] = x.mean((1, 2), dtype=np.float64, keepdims=True)


def _global_back(grad: Array, saved: None, x: Array) -> Grads:
    return (np.broadcast_to(grad / grad.dtype.type(x.shape[1] * x.shape[2]), x.shape),)


OPS = (
    Op("conv2d", _conv_shape, _conv, _conv_back, "Conv"),
    Op("max_pool2d", _pool_shape, _max_pool, _max_pool_back, "MaxPool"),
    Op("avg_pool2d", _pool_shape, _avg_pool, _avg_pool_back, "AveragePool"),
    Op("global_avg_pool2d", _global_shape, _global, _global_back, "GlobalAveragePool"),
)
