"""Modules: trees of parameters with a forward pass. No hooks, no `__setattr__` magic.

A module's parts are what stands in its attributes: parameters, buffers, modules, and lists of modules. Their
dotted paths, such as ``stages.3.conv.weight``, are PyTorch's.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import WeightsError
from ..tensor import Tensor, is_tracing, scope

_paths: ContextVar[dict[int, str] | None] = ContextVar("paths", default=None)


class Parameter(Tensor):
    """A tensor that training changes. Frozen where `requires_grad` is False."""

    __slots__ = ()

    def __init__(self, data: ArrayLike, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


class Buffer(Tensor):
    """A tensor that belongs to the state but gets no gradient, such as a running mean."""

    __slots__ = ()

    def __init__(self, data: ArrayLike) -> None:
        super().__init__(data)


class Module:
    """Base of all layers and networks: write `forward`, call the module.

    Attributes:
        training: whether the module is in training mode, as `train` and `eval` set it.
    """

    training: bool = True

    def forward(self, *inputs: Any) -> Any:
        """The computation, given by each module."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def __call__(self, *inputs: Any) -> Any:
        """Run `forward`; while tracing, under this module's name."""
        if not is_tracing():
            return self.forward(*inputs)
        paths = _paths.get()
        if paths is None:
            paths = {}
            for path, module in self.named_modules():
                paths.setdefault(id(module), path)
            reset_paths = _paths.set(paths)
            try:
                return self.forward(*inputs)
            finally:
                _paths.reset(reset_paths)
        here = paths.get(id(self))
        if not here:
            return self.forward(*inputs)
        token = scope.set(tuple(here.split(".")))
        try:
            return self.forward(*inputs)
        finally:
            scope.reset(token)

    def parts(self) -> Iterator[tuple[str, "Tensor | Module"]]:
        """Names and values of the direct parts, in the order they were set."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter | Buffer | Module):
                yield name, value
            elif isinstance(value, list | tuple):
                for i, item in enumerate(value):
                    if isinstance(item, Parameter | Buffer | Module):
                        yield f"{name}.{i}", item

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, under `prefix`, and all modules below it, with their dotted paths."""
        yield prefix, self
        for name, part in self.parts():
            if isinstance(part, Module):
                yield from part.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator["Module"]:
        """This module and all modules below it."""
        return (module for _, module in self.named_modules())

    def _named(self, kind: type[Tensor]) -> Iterator[tuple[str, Any]]:
        for path, module in self.named_modules():
            for name, part in module.parts():
                if isinstance(part, kind):
                    yield f"{path}.{name}" if path else name, part

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Dotted paths and parameters; a shared parameter comes once, under its first path."""
        seen: set[int] = set()
        for name, parameter in self._named(Parameter):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Dotted paths and buffers."""
        return self._named(Buffer)

    def train(self, mode: bool = True) -> Self:
        """Put the whole tree in training mode; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Put the whole tree in inference mode; returns the module."""
        return self.train(False)

    def to(self, dtype: DTypeLike) -> Self:
        """Convert all parameters and buffers to float32 or float64, gradients dropped; returns the module."""
        for _, tensor in self._named(Tensor):
            tensor.data = tensor.data.astype(dtype, order="K")
            tensor.grad = None
        return self

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All parameters and buffers by dotted path: the live arrays, in PyTorch's logical layout."""
        return {name: tensor.data for name, tensor in self._named(Tensor)}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> None:
        """Copy `state` into the parameters and buffers; nothing changes unless all of it fits.

        PyTorch's `num_batches_tracked` has no counterpart here and is passed over.

        Args:
            state: arrays by dotted path.
            strict: also refuse missing and unexpected names; wrong shapes are always refused.

        Raises:
            WeightsError: lists all names that are missing, unexpected or of another shape.
        """
        own = self.state_dict()
        given = {k: np.asarray(v) for k, v in state.items() if not k.endswith("num_batches_tracked")}
        complaints = []
        if strict:
            complaints += [f"missing {name}" for name in sorted(own.keys() - given.keys())]
            complaints += [f"unexpected {name}" for name in sorted(given.keys() - own.keys())]
        for name in sorted(own.keys() & given.keys()):
            there = given[name]
            if there.shape != own[name].shape:
                complaints.append(f"{name}: expected shape {own[name].shape}, got {there.shape}")
            elif there.dtype.kind != "f":
                complaints.append(f"{name}: expected floating-point numbers, got {there.dtype}")
        if complaints:
            raise WeightsError(
                f"{len(complaints)} names of the weights do not fit the network: {'; '.join(complaints)}",
                remedy="use the network that the weights were made for",
            )
        for name in own.keys() & given.keys():
            own[name][...] = given[name]

    def extra_repr(self) -> str:
        """What stands between the brackets of `repr` for a module without parts."""
        return ""

    def __repr__(self) -> str:
        parts = [(name, part) for name, part in self.parts() if isinstance(part, Module)]
        if not parts:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"  ({name}): {part!r}".replace("\n", "\n  ") for name, part in parts]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class ModuleList(Module):
    """Modules under the names 0, 1, 2, ...; has no forward pass of its own."""

    def __init__(self, *modules: Module) -> None:
        self.items: tuple[Module, ...] = modules

    def parts(self) -> Iterator[tuple[str, Tensor | Module]]:
        """The modules under their numbers."""
        return ((str(i), module) for i, module in enumerate(self.items))

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        self.items += (module,)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Module:
        return self.items[index]


class Sequential(ModuleList):
    """Modules run one after the other."""

    def forward(self, x: Any) -> Any:
        """`x` through all modules in turn."""
        for module in self.items:
            x = module(x)
        return x
