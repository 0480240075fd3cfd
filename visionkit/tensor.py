"""Tensors and the one door that every operation goes through.

`apply` checks shapes first. Then it runs the op, runs and records it for `Tensor.backward`, or, inside
`tracing(tracer)`, only tells the tracer: a traced tensor has a shape and no data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import ShapeError, TraceError, UsageError
from .ops import OPS, Op
from .ops.op import normal_axes
from .shapes import Shape

Array = NDArray[Any]
Axis = int | tuple[int, ...] | None


class Tracer(Protocol):
    """Whoever notes operations instead of running them."""

    def emit(self, op: Op, inputs: "tuple[Tensor, ...]", attrs: dict[str, Any], shape: Shape) -> "Tensor":
        """Note one operation; returns a symbolic tensor of `shape`."""
        ...


_recording: ContextVar[bool] = ContextVar("recording", default=True)
_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)

#: Names of the modules that are running now, outermost first; kept only while tracing.
scope: ContextVar[tuple[str, ...]] = ContextVar("scope", default=())


def current_scope() -> str:
    """The dotted path of the module that is running now, such as ``"head.p3.conv"``; only while tracing."""
    return ".".join(scope.get())


def is_tracing() -> bool:
    """Whether operations are noted instead of run."""
    return _tracer.get() is not None


@contextmanager
def no_grad() -> Iterator[None]:
    """Run operations without recording them; holds for this thread or task alone."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Hand every operation inside to `tracer`."""
    token = _tracer.set(tracer)
    try:
        yield
    finally:
        _tracer.reset(token)


def _floats(data: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """`data` as float64 or float32; everything else becomes float32."""
    array = np.asarray(data)
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"a tensor holds real numbers, got dtype {array.dtype}")
    if dtype is None:
        keep = isinstance(data, np.ndarray | np.generic) and array.dtype in (np.float32, np.float64)
        dtype = array.dtype if keep else np.float32
    return array.astype(dtype, copy=False)


class Tensor:
    """An array of float32 or float64 that remembers how it was made.

    Args:
        data: an array, shared and not copied where it is float32 or float64; other numbers become float32.
        requires_grad: collect a gradient in `grad` when `backward` runs.

    Attributes:
        grad: the gradient, of the shape and memory order of `data`; None before any.
        requires_grad: whether operations on it are recorded.
    """

    __slots__ = ("__weakref__", "_data", "_dtype", "_node", "_shape", "grad", "requires_grad")
    __array_ufunc__ = None  # array + tensor asks the tensor

    def __init__(self, data: ArrayLike, requires_grad: bool = False) -> None:
        self._data: Array | None = _floats(data)
        self._shape, self._dtype = self._data.shape, self._data.dtype
        self._node: _Node | None = None
        self.grad: Array | None = None
        self.requires_grad = requires_grad

    @classmethod
    def symbolic(cls, shape: Shape, dtype: DTypeLike = np.float32) -> "Tensor":
        """A traced tensor: a shape without data."""
        tensor = cls.__new__(cls)
        tensor._data, tensor._shape, tensor._dtype = None, tuple(shape), np.dtype(dtype)
        tensor._node, tensor.grad, tensor.requires_grad = None, None, False
        return tensor

    @property
    def data(self) -> Array:
        """The array itself.

        Raises:
            TraceError: the tensor is traced and has no values.
        """
        if self._data is None:
            raise TraceError(
                f"the values of a traced tensor of shape {self._shape} were read"
                + (f" in {current_scope()}" if current_scope() else ""),
                remedy="a network's graph may depend on shapes, not on values",
            )
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        if array.shape != self._shape:
            raise ShapeError(f"a tensor keeps its shape: expected {self._shape}, got {array.shape}")
        self._data = _floats(array)
        self._dtype = self._data.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        return self.data.strides

    @property
    def is_symbolic(self) -> bool:
        """Whether this is a traced tensor, without data."""
        return self._data is None

    @property
    def shape(self) -> Shape:
        """Sizes of the axes."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(np.prod(self._shape, dtype=np.int64))

    def numpy(self) -> Array:
        """The array itself, not a copy."""
        return self.data

    def item(self) -> float:
        """The only element, as a Python float."""
        return float(self.data.item())

    def detach(self) -> "Tensor":
        """The same data, cut off from how it was made."""
        if self._data is None:
            raise TraceError("a traced tensor cannot be detached")
        return Tensor(self._data)

    def backward(self, grad: ArrayLike | None = None) -> None:
        """Add the gradient of this tensor to `grad` of every tensor that it was made from.

        Args:
            grad: the gradient of what follows with respect to this tensor; 1 for a single element.
        """
        if not self.requires_grad:
            raise UsageError("backward: nothing this tensor was made from requires a gradient")
        if grad is None:
            if self.size != 1:
                raise UsageError(f"backward: a tensor of shape {self.shape} needs its gradient given")
            grad = 1.0
        seed = _floats(grad, self.dtype)
        if seed.shape != self.shape and seed.size != 1:
            raise ShapeError(f"backward: expected a gradient of shape {self.shape}, got {seed.shape}")
        _run_backward(self, np.broadcast_to(seed, self.shape) if seed.size == 1 else seed)

    def __repr__(self) -> str:
        if self._data is None:
            return f"Tensor(traced, shape={self._shape})"
        text = np.array2string(self._data, prefix="Tensor(", threshold=20, precision=4)
        return f"Tensor({text}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("a tensor without axes has no length")
        return self._shape[0]

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return self.item()

    def __add__(self, other: "Operand") -> "Tensor":
        return apply("add", self, other)

    def __radd__(self, other: "Operand") -> "Tensor":
        return apply("add", other, self)

    def __sub__(self, other: "Operand") -> "Tensor":
        return apply("sub", self, other)

    def __rsub__(self, other: "Operand") -> "Tensor":
        return apply("sub", other, self)

    def __mul__(self, other: "Operand") -> "Tensor":
        return apply("mul", self, other)

    def __rmul__(self, other: "Operand") -> "Tensor":
        return apply("mul", other, self)

    def __truediv__(self, other: "Operand") -> "Tensor":
        return apply("div", self, other)

    def __rtruediv__(self, other: "Operand") -> "Tensor":
        return apply("div", other, self)

    def __matmul__(self, other: "Operand") -> "Tensor":
        return apply("matmul", self, other)

    def __rmatmul__(self, other: "Operand") -> "Tensor":
        return apply("matmul", other, self)

    def __pow__(self, exponent: float) -> "Tensor":
        return apply("pow", self, exponent=float(exponent))

    def __neg__(self) -> "Tensor":
        return apply("neg", self)

    def __abs__(self) -> "Tensor":
        return apply("abs", self)

    def __getitem__(self, index: Any) -> "Tensor":
        return apply("getitem", self, index=index)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        """The sum over `axis`, all axes by default."""
        return apply("sum", self, axis=normal_axes(axis, self.ndim), keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        """The mean over `axis`, all axes by default."""
        return apply("mean", self, axis=normal_axes(axis, self.ndim), keepdims=keepdims)

    def reshape(self, *shape: int) -> "Tensor":
        """The same elements in another shape; one size may be -1."""
        return apply("reshape", self, shape=shape)

    def transpose(self, *axes: int) -> "Tensor":
        """The axes in another order."""
        return apply("transpose", self, axes=axes)

    def exp(self) -> "Tensor":
        """e to the power of each element."""
        return apply("exp", self)

    def log(self) -> "Tensor":
        """Natural logarithm."""
        return apply("log", self)

    def sqrt(self) -> "Tensor":
        """Square root."""
        return apply("sqrt", self)

    def abs(self) -> "Tensor":
        """Absolute value."""
        return apply("abs", self)

    def sigmoid(self) -> "Tensor":
        """1 / (1 + exp(-x))."""
        return apply("sigmoid", self)

    def clip(self, lo: float, hi: float) -> "Tensor":
        """Each element limited to [lo, hi]."""
        return apply("clip", self, lo=lo, hi=hi)


Operand = Tensor | ArrayLike


class _Node:
    """How a tensor was made."""

    __slots__ = ("attrs", "inputs", "op", "saved")

    def __init__(self, op: Op, inputs: tuple[Tensor, ...], attrs: dict[str, Any], saved: Any) -> None:
        self.op, self.inputs, self.attrs, self.saved = op, inputs, attrs, saved


def apply(name: str, *inputs: Operand, **attrs: Any) -> Tensor:
    """The one door: note operation `name`, run it, or run and record it.

    Args:
        name: a key of `visionkit.ops.OPS`.
        inputs: tensors; numbers and arrays become constants of the tensors' dtype.
        attrs: everything else the operation needs, fixed at trace time.

    Raises:
        ShapeError: the inputs do not fit the operation; nothing has run.
    """
    op = OPS[name]
    known = [x.dtype for x in inputs if isinstance(x, Tensor)]
    dtype = (known[0] if len(set(known)) == 1 else np.result_type(*known)) if known else None
    tensors = tuple(x if isinstance(x, Tensor) else Tensor(_floats(x, dtype)) for x in inputs)
    shape = op.shape(*(t.shape for t in tensors), **attrs)
    tracer = _tracer.get()
    if tracer is not None:
        return tracer.emit(op, tensors, attrs, shape)
    out = Tensor(np.empty(shape, dtype or tensors[0].dtype))
    # Invalid values become NaN or infinity, which the trainer looks for; no warnings on the way.
    with np.errstate(all="ignore"):
        saved = op.forward(out.data, *(t.data for t in tensors), **attrs)
    if _recording.get() and any(t.requires_grad for t in tensors):
        out.requires_grad = True
        out._node = _Node(op, tensors, attrs, saved)
    return out


def _order(root: Tensor) -> list[Tensor]:
    """All recorded tensors under `root`, each after everything that it was made from."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(root, False)]
    while stack:
        tensor, done = stack.pop()
        if done:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            if tensor._node is not None:
                stack.extend((t, False) for t in tensor._node.inputs if t.requires_grad)
    return order


def _run_backward(root: Tensor, seed: Array) -> None:
    grads: dict[int, Array] = {id(root): seed}
    with np.errstate(all="ignore"):
        for tensor in reversed(_order(root)):
            grad = grads.pop(id(tensor), None)
            if grad is None:
                continue
            node = tensor._node
            if node is None:
                _collect(tensor, grad)
                continue
            parts = node.op.backward(grad, node.saved, *(t.data for t in node.inputs), **node.attrs)
            for source, part in zip(node.inputs, parts, strict=True):
                if part is None or not source.requires_grad:
                    continue
                # Never in place: a gradient may be shared between inputs.
                there = grads.get(id(source))
                grads[id(source)] = part if there is None else there + part


def _collect(leaf: Tensor, grad: Array) -> None:
    if leaf.grad is None:
        leaf.grad = np.empty_like(leaf.data)  # the memory order of the data: fused updates rely on it
        leaf.grad[...] = grad
    else:
        leaf.grad += grad
