"""Where windows, taps, channels and groups lie: the arithmetic between shapes and offsets."""

import numpy as np

from ..errors import TraceError
from ..kernels.memory import Call, Map, call
from ..tensor import Tensor
from .trace import Node, Value

Pair = tuple[int, int]
#: A position in a kernel, and how far its gradient lies from the pixel.
Tap = tuple[int, int]


def four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, H, W, C) of a map's or a vector's shape."""
    if len(shape) == 2:
        return (shape[0], 1, 1, shape[1])
    if len(shape) != 4:
        raise TraceError(f"a plan's maps are (N, H, W, C) or (N, C), not {shape}")
    return (shape[0], shape[1], shape[2], shape[3])


def constant(value: Value) -> Tensor:
    """The tensor of a constant value."""
    if value.tensor is None:
        raise TraceError("weights of a planned layer are parameters, not results of other layers")
    return value.tensor


def weight_strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides in numbers of (KH, KW, in, out) of weights whose shape is (out, in, KH, KW)."""
    s_o, s_i, s_kh, s_kw = (stride // tensor.dtype.itemsize for stride in tensor.strides)
    return s_kh, s_kw, s_i, s_o


def memory_order(array: np.ndarray) -> list[int]:
    """The axes of an array from the one with the longest steps to the one with the shortest."""
    return sorted(range(array.ndim), key=lambda axis: (-array.strides[axis], -array.shape[axis]))


def as_filter(weight: Tensor) -> Tensor:
    """The (out, in) weights of a linear layer as those of a 1x1 convolution, in the same memory."""
    return Tensor(weight.data[:, :, None, None])


def window_taps(x: Map, kernel: Pair, padding: Pair, dilation: Pair, merged: bool) -> np.ndarray:
    """Offset of each tap from an input pixel; one tap per kernel row if `merged`."""
    rows = [(i * dilation[0] - padding[0]) * x.buffer.row for i in range(kernel[0])]
    columns = [(j * dilation[1] - padding[1]) * x.buffer.step for j in range(1 if merged else kernel[1])]
    return np.array([r + c for r in rows for c in columns], np.int32)


def window_pixels(x: Map, y: Map, stride: Pair) -> np.ndarray:
    """Offset in x of the window of every pixel of y."""
    buffer = x.buffer
    n = np.arange(buffer.n, dtype=np.int64)[:, None, None] * buffer.image
    rows = np.arange(y.buffer.h, dtype=np.int64)[:, None] * stride[0] * buffer.row
    columns = np.arange(y.buffer.w, dtype=np.int64) * stride[1] * buffer.step
    return (n + rows + columns).astype(np.int32).ravel()


def merges(x: Map, dilation: Pair) -> bool:
    """Whether a kernel row is contiguous in x and can be summed as one tap."""
    return x.dense and dilation[1] == 1


def group_slices(x: Map, y: Map, groups: int) -> list[tuple[Map, Map, int]]:
    """The channels of each group: input map, output map, first output channel."""
    ins, outs = x.c // groups, y.c // groups
    return [
        (Map(x.buffer, ins, x.c0 + g * ins), Map(y.buffer, outs, y.c0 + g * outs), g * outs)
        for g in range(groups)
    ]


def sliced_from(node: Node) -> int:
    """The first channel of a slice of channels, such as x[..., 4:8]."""
    index = node.attrs["index"]
    index = index if isinstance(index, tuple) else (index,)
    shape = node.inputs[0].shape
    whole = slice(None)
    leading = index[:-1] if len(index) == len(shape) else ()
    last = index[-1]
    fits = index == (Ellipsis, last) or all(part == whole for part in leading)
    if not fits or not isinstance(last, slice) or last.step not in (None, 1):
        raise TraceError(f"{node.scope}: a plan only takes slices of channels, x[..., a:b]", value=index)
    return last.indices(shape[-1])[0]


def flatten_call(x: Map, y: Map, back: bool = False, add: bool = False) -> Call:
    """Copy (N, H, W, C) to (N, H W C), or back."""
    n, h, w, c = x.shape
    flat = (y.origin, c, w * c, y.buffer.image)
    places = (*flat, *x.place) if back else (*x.place, *flat)
    return call((*places, n, h, w, c), (float(add),))


def phases(size: int, shape: dict[str, Pair], axis: int) -> list[tuple[slice, list[Tap]]]:
    """For each remainder of the stride: its input positions, and (tap, offset in the gradient) pairs."""
    stride, padding = shape["stride"][axis], shape["padding"][axis]
    dilation, kernel = shape["dilation"][axis], shape["kernel"][axis]
    phases = []
    for r in range(min(stride, size)):
        taps = [(k, (r + padding - k * dilation) // stride) for k in range(kernel)]
        taps = [(k, at) for k, at in taps if (r + padding - k * dilation) % stride == 0]
        phases.append((slice(r, size, stride), taps))
    return phases


def reach(size: int, phase: slice, taps: list[Tap]) -> int:
    """How far the taps of a phase reach beyond a gradient of `size` positions."""
    last = len(range(phase.stop)[phase]) - 1
    return max(0, *(-at for _, at in taps), *(last + at - (size - 1) for _, at in taps))
