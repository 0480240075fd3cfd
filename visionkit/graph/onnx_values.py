"""Names, orders of axes and constants of an ONNX graph while it is written."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import TraceError, WeightsError
from ..shapes import Shape
from ..tensor import Tensor
from .trace import Value


class Values:
    """The nodes and constants written so far, and what they call our values.

    A value of four axes may be there in our order (N, H, W, C), in ONNX's (N, C, H, W) ("maps"), or in both.

    Args:
        onnx: the package.
        names: of parameters and buffers, by the identity of their tensor.
        any_batch: the size that stands for a batch of any size; None where it is fixed.
        outputs: names that nothing inside may have.
    """

    def __init__(
        self, onnx: Any, names: Mapping[int, str], any_batch: int | None, outputs: Sequence[str]
    ) -> None:
        self.onnx, self._names, self._any_batch = onnx, names, any_batch
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.scope = ""
        self._taken = {"", *outputs, *names.values()}
        self._known: dict[tuple[int, bool], str] = {}

    # ---- the ends of the graph ------------------------------------------------------------------

    def open(self, value: Value, name: str) -> Any:
        """Declare the graph's input; pictures come as maps."""
        self.put(value, len(value.shape) == 4, self._unique(name))
        return self._declared(value, name)

    def close(self, value: Value, name: str) -> Any:
        """Declare an output called `name`; pictures leave as maps."""
        inner = self.name(value, len(value.shape) == 4)
        self.nodes.append(self.onnx.helper.make_node("Identity", [inner], [name], name=name))
        return self._declared(value, name)

    def _declared(self, value: Value, name: str) -> Any:
        shape = value.shape
        if len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        sizes = ["batch" if n == self._any_batch else None if self.is_open(n) else n for n in shape]
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, sizes)

    # ---- values ---------------------------------------------------------------------------------

    def put(self, value: Value, maps: bool, name: str) -> None:
        """Note what a value is called, and in which order it is there."""
        self._known[id(value), maps] = name

    def has_maps(self, value: Value) -> bool:
        """Whether a result of four axes is there in ONNX's order."""
        return value.tensor is None and len(value.shape) == 4 and (id(value), True) in self._known

    def name(self, value: Value, maps: bool = False) -> str:
        """What a value is called in the given order; it is brought into it where need be.

        A value of fewer axes becomes maps as if it had axes of size 1 in front; a number stays a number.
        """
        maps = maps and value.shape != ()
        if (id(value), maps) not in self._known:
            known = value.tensor is None or maps
            self.put(value, maps, self._turned(value, maps) if known else self._weights(value.tensor))
        return self._known[id(value), maps]

    def _turned(self, value: Value, maps: bool) -> str:
        source, shape = self.name(value, not maps), (1,) * (4 - len(value.shape)) + value.shape
        n, h, w, c = shape
        if c == 1 or h * w == 1:  # the numbers lie in the same order either way
            return self.reshaped(source, (n, c, h, w) if maps else value.shape)
        if shape != value.shape:
            source = self.reshaped(source, shape)
        return self.emit("Transpose", source, perm=(0, 3, 1, 2) if maps else (0, 2, 3, 1))

    def _weights(self, tensor: Tensor | None) -> str:
        assert tensor is not None
        name = self._names.get(id(tensor), "")
        if not np.isfinite(tensor.data).all():
            raise WeightsError(
                "a weight that is NaN or infinite is not exported", place=name or self.scope or "the network"
            )
        return self.constant(tensor.data.astype(np.float32), name)

    # ---- nodes and constants --------------------------------------------------------------------

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append one node; returns the name of its result."""
        name = self._unique(f"{self.scope}/{op}" if self.scope else op)
        self.nodes.append(self.onnx.helper.make_node(op, inputs, [name], name=name, **attrs))
        return name

    def constant(self, array: NDArray[Any] | np.generic, name: str = "") -> str:
        """Append a constant of the array's dtype; returns its name.

        Raises:
            TraceError: its shape depends on a batch of any size.
        """
        if any(self.is_open(n) for n in array.shape):
            self.refuse("the size of the batch is part of a constant")
        name = name or self._unique(f"{self.scope}/constant" if self.scope else "constant")
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def reshaped(self, name: str, shape: Shape) -> str:
        """The same numbers in another shape."""
        sizes = [-1 if self.is_open(n) else n for n in shape]
        if sizes.count(-1) > 1:
            self.refuse(f"a reshape to {sizes} says nothing")
        return self.emit("Reshape", name, self.constant(np.array(sizes, np.int64)))

    def is_open(self, size: int) -> bool:
        """Whether a size is that of a batch of any size, or a multiple of it."""
        return bool(self._any_batch and size and size % self._any_batch == 0)

    def refuse(self, reason: str) -> NoReturn:
        """Complain that the graph needs a batch of fixed size.

        Raises:
            TraceError: always.
        """
        remedy = "export it for a batch of fixed size"
        raise TraceError(f"{self.scope or 'the network'}: not for any batch: {reason}", remedy=remedy)

    def _unique(self, name: str) -> str:
        number, free = 1, name
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free
