"""What all optimisers share: groups, state, ratios."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, WeightsError
from ..nn import Module, Parameter
from .flat import Array, flat, flat_as

Group = Mapping[str, Any]


def parameter_groups(module: Module, weight_decay: float, bias_lr_scale: float = 1.0) -> list[Group]:
    """Groups for `Optimizer`: weights with decay; normalisation and biases without (LOS-19, OPT-12).

    Args:
        module: its parameters, frozen ones too: they are skipped as long as they are frozen.
        weight_decay: for parameters of two axes or more.
        bias_lr_scale: learning rate of biases, relative to the others.
    """
    named = dict(module.named_parameters())
    weights = {n: p for n, p in named.items() if p.ndim > 1}
    biases = {n: p for n, p in named.items() if p.ndim <= 1 and n.split(".")[-1] == "bias"}
    others = {n: p for n, p in named.items() if n not in weights and n not in biases}
    rows = ((weights, 1.0, weight_decay), (others, 1.0, 0.0), (biases, bias_lr_scale, 0.0))
    return [
        {"params": list(part.values()), "names": list(part), "lr_scale": scale, "weight_decay": decay}
        for part, scale, decay in rows
        if part
    ]


class Optimizer:
    """Base of the optimisers.

    Args:
        params: parameters, or groups: dicts with "params" and, where they differ from the defaults,
            "lr_scale" (1), "weight_decay" and "names" (for `update_ratios`).
        lr: learning rate; set the attribute before each step to follow a schedule.
        weight_decay: of groups that give none.

    Attributes:
        lr: the learning rate of the next step.
    """

    #: Names of the arrays kept for each parameter.
    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, params: Iterable[Parameter] | Iterable[Group], lr: float, weight_decay: float = 0.0
    ) -> None:
        if not lr >= 0 or not weight_decay >= 0:
            raise UsageError(f"learning rate and weight decay start at 0, got {lr} and {weight_decay}")
        self.lr = lr
        self._params: list[Parameter] = []
        self._names: list[str] = []
        self._scales: list[float] = []
        self._decays: list[float] = []
        for item in params:
            group: Group = {"params": [item]} if isinstance(item, Parameter) else item
            members = list(group["params"])
            start = len(self._params)
            self._params += members
            self._names += group.get("names") or [str(start + i) for i in range(len(members))]
            self._scales += [float(group.get("lr_scale", 1.0))] * len(members)
            self._decays += [float(group.get("weight_decay", weight_decay))] * len(members)
        if not self._params:
            raise UsageError("an optimiser needs parameters")
        if len({id(p) for p in self._params}) != len(self._params):
            raise UsageError("a parameter stands in two groups of the optimiser")
        self._counts = np.zeros(len(self._params), np.int64)
        self._state = [{slot: np.zeros_like(p.data) for slot in self.slots} for p in self._params]
        self._ratios: dict[str, float] = {}

    def update(
        self, p: Array, g: Array, state: dict[str, Array], *, lr: float, decay: float, count: int
    ) -> None:
        """Change flat `p` by flat gradient `g`; `count` is the number of this update, from 1 (ERR-18)."""
        raise NotImplementedError(type(self).__name__)

    def step(self, ratios: bool = False) -> None:
        """One update of every parameter that has a gradient and is not frozen.

        Args:
            ratios: also compute `update_ratios`, which costs a copy of the parameters.
        """
        if ratios:
            self._ratios = {}
        for i, param in enumerate(self._params):
            if param.grad is None or not param.requires_grad:
                continue
            p, g = flat(param.data), flat_as(param.grad, param.data)
            before = p.copy() if ratios else None
            self._counts[i] += 1
            state = {slot: flat(array) for slot, array in self._state[i].items()}
            lr, count = self.lr * self._scales[i], int(self._counts[i])
            self.update(p, g, state, lr=lr, decay=self._decays[i], count=count)
            if before is not None:
                moved, whole = float(np.abs(p - before).sum()), float(np.abs(before).sum())
                self._ratios[self._names[i]] = moved / whole if whole else float("nan")

    def update_ratios(self) -> dict[str, float]:
        """Sum of absolute updates over sum of absolute values, by parameter (OPT-22, TRN-16).

        Of the last `step(ratios=True)`; NaN for a parameter that was all zero. About 1e-3 is healthy.
        """
        return dict(self._ratios)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for param in self._params:
            param.grad = None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All that resuming needs, as arrays: learning rate, counts, and slots by parameter name."""
        state: dict[str, NDArray[Any]] = {"lr": np.float64(self.lr).reshape(1), "counts": self._counts.copy()}
        for name, slots in zip(self._names, self._state, strict=True):
            state |= {f"{name}.{slot}": np.ascontiguousarray(array) for slot, array in slots.items()}
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` gave; nothing changes unless all of it fits.

        Raises:
            WeightsError: lists what is missing, unexpected or of another shape.
        """
        own = self.state_dict()
        complaints = [f"missing {name}" for name in sorted(own.keys() - state.keys())]
        complaints += [f"unexpected {name}" for name in sorted(state.keys() - own.keys())]
        complaints += [
            f"{name}: expected {array.dtype} {array.shape}, got {state[name].dtype} {state[name].shape}"
            for name, array in sorted(own.items())
            if name in state and (array.shape, array.dtype) != (state[name].shape, state[name].dtype)
        ]
        if complaints:
            raise WeightsError(f"the optimiser's state does not fit: {'; '.join(complaints)}")
        self.lr = float(state["lr"][0])
        self._counts[...] = state["counts"]
        for name, slots in zip(self._names, self._state, strict=True):
            for slot, array in slots.items():
                array[...] = state[f"{name}.{slot}"]
