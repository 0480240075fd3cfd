"""A plan: a network compiled for one input shape, run without allocating."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UsageError
from ..kernels import jit, pointwise
from ..kernels.layer import warn_if_slow
from ..kernels.memory import Buffer, Call, Map
from ..kernels.narrow import FLOAT32
from ..kernels.program import Program
from ..nn import Module
from ..shapes import Shape
from ..tensor import Tensor
from .backward import Backward
from .backward_narrow import NarrowBackward
from .choice import Choose, How, choose
from .geometry import memory_order
from .lower import Lowering
from .memory import lay_out, lifetimes
from .passes import fuse_inverted, prepare
from .precision import Narrowing, kind_of
from .ranges import Ranges
from .trace import Value, trace
from .training_narrow import NarrowTraining

F32 = NDArray[np.float32]

# One plan runs at a time: kernels share the thread pool, which not every threading layer can nest.
_running = threading.RLock()


class Plan:
    """A compiled network; made by `compile`.

    The maps that `forward` returns are views into the plan's memory: the next run overwrites them.

    Attributes:
        step: the training step, which decides what dropout drops; every forward run of a training plan
            adds one. Whoever resumes a training sets it.
    """

    def __init__(self, lowering: Lowering, backward: Backward | None, mean: float, scale: float) -> None:
        self.training = backward is not None
        self.step = 0
        self._low, self._backward = lowering, backward
        self._fresh = False  # whether what backward needs is there
        self._scaling = np.array((mean, scale * lowering.gain), np.float32)
        self._seeds: list[F32 | None] = []
        self._split = len(lowering.steps)
        if backward is not None:
            backward.lower()
        self._bind()

    def _bind(self) -> None:
        """Lay out the memory and make the arguments of every step."""
        low, backward = self._low, self._backward
        last = len(low.steps)
        outputs = [low.map(value) for value in low.graph.outputs]
        pinned: dict[Buffer, tuple[int, int]] = {m.buffer: (0, last) for m in outputs}
        for seed in backward.seeds if backward else ():
            if seed is not None:
                pinned[seed.buffer] = (self._split - 1, last)
        pinned |= dict.fromkeys(low.unshared, (-1, last + 1))
        spans = lifetimes(low.steps, pinned)
        end, shared = lay_out(spans, low.constants.reserved, [step.scratch for step in low.steps])
        self.memory: F32 = jit.aligned(end + low.slack)
        names: list[str] = []
        calls: list[tuple[jit.Kernel, Call]] = []
        cleared: set[Buffer] = set()
        for i, step in enumerate(low.steps):
            if i == self._split:
                self._split_at = len(calls)
            for buffer in step.touches:
                first_time = spans[buffer][0] == i or (buffer in pinned and buffer not in cleared)
                if buffer.halo and buffer in shared and first_time and buffer not in cleared:
                    cleared.add(buffer)
                    names.append(f"{step.name} (halo)")
                    calls.append((pointwise.clear_halo, pointwise.halo_call(buffer)))
            names.append(step.name)
            calls.append((step.kernel, step.make()))
        if self._split == len(low.steps):
            self._split_at = len(calls)
        self.tables = low.constants.tables.array()
        self._names, self._program = names, Program(calls, self.memory, self.tables)
        self._dropouts = [p for kernel, (p, _) in self._program.calls if kernel is pointwise.dropout]
        values = low.graph.outputs
        self._outputs = tuple(self._array(m, value) for m, value in zip(outputs, values, strict=True))
        seeds = backward.seeds if backward else []
        self._seeds = [
            None if seed is None else self._array(seed, value)
            for seed, value in zip(seeds, values, strict=False)
        ]
        take, place = low.take_call()
        self._take = jit.bind(take, self.memory, self.tables, place, self._scaling)
        self.refresh()
        if backward is not None:
            self._connect_gradients(backward)

    def _array(self, place: Map, value: Value) -> F32:
        """A map as the array that the caller sees."""
        view = place.view(self.memory)
        return view[:, 0, 0, :] if len(value.shape) == 2 else view

    def _connect_gradients(self, backward: Backward) -> None:
        """The parameters' gradients become views into the plan's memory, ordered as their data."""
        self._gradients: list[tuple[Tensor, F32]] = []
        for entry in backward.gradients.values():
            tensor = entry.tensor
            flat = self.memory[entry.at : entry.at + tensor.size]
            outs, *ins = tensor.shape
            # From (KH, KW, in, out), or (in, out), to PyTorch's order.
            shaped = flat.reshape(*ins[1:], *ins[:1], outs)
            order = (shaped.ndim - 1, shaped.ndim - 2, *range(shaped.ndim - 2)) if ins else (0,)
            self._gradients.append((tensor, shaped.transpose(order)))

    def refresh(self) -> None:
        """Take over the network's present weights. Training plans do so at every forward run."""
        memory, tables = self.memory, self.tables
        for vector in self._low.constants.vectors.values():
            memory[vector.at : vector.at + vector.tensor.size] = vector.tensor.data
        for tensor, packs in self._low.constants.packs_by_tensor():
            weights = flat_memory(tensor.data)
            for pack in packs:
                pack.kernel(memory, tables, weights, *pack.call)

    def forward(self, pictures: NDArray[Any]) -> tuple[F32, ...]:
        """Run the network.

        Args:
            pictures: (N, H, W, C) uint8 or float32, of the plan's shape; the network sees
                (x - mean) * scale.

        Returns:
            Its maps, (N, h, w, c) float32 each: views that the next run overwrites.

        Raises:
            ShapeError: another shape or dtype.
        """
        expected = self._low.graph.inputs[0].shape
        if pictures.shape != expected or pictures.dtype not in (np.uint8, np.float32):
            raise ShapeError(
                f"pictures: expected uint8 or float32 of shape {expected}, "
                f"got {pictures.dtype} of shape {pictures.shape}"
            )
        pictures = np.ascontiguousarray(pictures).reshape(self._low.input.shape)
        with _running:
            if self.training:
                self.refresh()
                for integers in self._dropouts:
                    integers[-1] = self.step
                self.step += 1
            self._take(pictures)
            warn_if_slow()
            self._program.run(0, self._split_at)
            for vector in self._low.constants.vectors.values():
                if vector.changes:
                    vector.tensor.data[...] = self.memory[vector.at : vector.at + vector.tensor.size]
        self._fresh = True
        return self._outputs

    def backward(self, gradients: tuple[NDArray[Any], ...]) -> None:
        """Gradients of all parameters for the last forward run, into their `grad`.

        Args:
            gradients: of a loss with respect to each map of `forward`, of the maps' shapes. The
                parameters' gradients are overwritten, not added to.

        Raises:
            UsageError: the plan was made for inference, or `forward` has not run since the last call:
                what it kept has been used up.
            ShapeError: a gradient's shape is not its map's.
        """
        if self._backward is None:
            raise UsageError("this plan runs forward only", remedy="compile(..., training=True)")
        if not self._fresh:
            raise UsageError("backward needs a forward run of its own", remedy="call forward first")
        if len(gradients) != len(self._seeds):
            raise ShapeError(f"gradients: expected {len(self._seeds)}, one per map, got {len(gradients)}")
        self._fresh = False
        with _running:
            for seed, gradient in zip(self._seeds, gradients, strict=True):
                if seed is not None:
                    if gradient.shape != seed.shape:
                        raise ShapeError(f"gradients: expected shape {seed.shape}, got {gradient.shape}")
                    seed[...] = gradient
            self._program.run(self._split_at, len(self._names))
        for tensor, gradient in self._gradients:
            tensor.grad = gradient

    def profile(self, repeat: int = 5) -> list[tuple[str, str, float]]:
        """(layer, kernel, best milliseconds) of every step, in order."""
        calls = self._program.calls
        best = [float("inf")] * len(calls)
        with _running:
            for _ in range(repeat):
                for i, (kernel, arguments) in enumerate(calls):
                    start = time.perf_counter()
                    kernel(self.memory, self.tables, *arguments)
                    best[i] = min(best[i], time.perf_counter() - start)
        return [
            (name, kernel.__name__, ms * 1e3)
            for name, (kernel, _), ms in zip(self._names, calls, best, strict=True)
        ]


def flat_memory(array: F32) -> F32:
    """An array's numbers as they lie in memory, whatever the order of its axes: a view."""
    flat = array.transpose(memory_order(array))
    if not flat.flags.c_contiguous:
        raise ShapeError("a parameter's array must own a contiguous stretch of memory")
    return flat.reshape(-1)


def compile(  # noqa: A001  (PyTorch's word)
    network: Module | Callable[..., Any],
    shape: Shape,
    *,
    training: bool = False,
    mean: float = 0.0,
    scale: float = 1.0,
    winograd: How = "rule",
    precision: str = "float32",
    ranges: Ranges | None = None,
) -> Plan:
    """Compile `network` for one input shape.

    Args:
        network: maps one tensor (N, H, W, C) to a tensor or a tuple of tensors. Its modules' mode is
            used as it is: batch-norms in training mode need ``training=True``.
        shape: of the pictures, (N, H, W, C).
        training: keep what `Plan.backward` needs and follow the weights as they change.
        mean, scale: the network sees (pictures - mean) * scale.
        winograd: which 3x3 convolutions take this form: those of a committed "rule"; in inference those
            for which it was faster when "timed" inside the network, once on each machine; none: "direct".
        precision: "float32", "bfloat16" or, for inference, "int8": what convolutions multiply.
        ranges: of the network's values, from `calibrate`; "int8" needs them.

    Raises:
        TraceError: the network does what a plan cannot run.
        UnknownNameError: a precision that there is not.
        UsageError: one that this processor lacks, or that training cannot use; "int8" without ranges, or with
            those of another network.
    """
    kind, threads = kind_of(precision, training), jit.threads()
    graph = prepare(trace(network, shape), training)
    if kind == FLOAT32 and not training:
        graph = fuse_inverted(graph)

    def lower(chosen: Choose) -> Lowering:
        if kind == FLOAT32:
            low = Lowering(graph, training, threads, chosen)
        elif training:
            low = NarrowTraining(graph, threads, chosen)
        else:
            low = Narrowing(graph, kind, threads, chosen, ranges)
        low.forward()
        return low

    def build(low: Lowering) -> Plan:
        if isinstance(low, NarrowTraining):
            return Plan(low, NarrowBackward(low), mean, scale)
        return Plan(low, Backward(low) if training else None, mean, scale)

    return build(choose(winograd, training, lower, build))
