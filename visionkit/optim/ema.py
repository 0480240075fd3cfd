"""An exponential moving average of a network's parameters and buffers."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..kernels import update as kernels
from ..nn import Module
from .flat import flat


class EMA:
    """Shadows of all parameters and buffers of a module, averaged over the steps.

    At step t the shadows keep decay * (1 - exp(-t / ramp)) of themselves: at first they follow closely.

    Args:
        module: the network that is trained.
        decay: how much is kept in the long run; 0 keeps nothing, the shadows are the plain values.
        ramp: over how many steps that is approached.

    Attributes:
        step: how many updates there were.
    """

    def __init__(self, module: Module, decay: float = 0.998, ramp: float = 200.0) -> None:
        self.decay, self.ramp, self.step = decay, ramp, 0
        self._module = module
        self._shadows = {name: _copy(array) for name, array in module.state_dict().items()}

    def update(self) -> None:
        """Average the module's present values in."""
        self.step += 1
        keep = self.decay * -math.expm1(-self.step / self.ramp)
        for name, array in self._module.state_dict().items():
            shadow, value = flat(self._shadows[name]), flat(array)
            if keep == 0:  # s + (v - s) would round
                shadow[...] = value
                continue
            kernel = kernels.average if kernels.small(value.size) else kernels.average_chunks
            kernel(shadow, value, shadow.dtype.type(1 - keep))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The shadows under the module's names: what a weight file holds. The live arrays."""
        return dict(self._shadows)

    def load_state_dict(self, state: Mapping[str, NDArray[Any]], step: int) -> None:
        """Take over shadows and the number of updates behind them.

        Raises:
            WeightsError: names or shapes differ from the module's.
        """
        wrong = sorted(
            name
            for name in state.keys() | self._shadows.keys()
            if name not in state
            or name not in self._shadows
            or state[name].shape != self._shadows[name].shape
        )
        if wrong:
            raise WeightsError(f"averaged weights do not fit the network: {', '.join(wrong)}")
        for name, shadow in self._shadows.items():
            shadow[...] = state[name]
        self.step = step

    def apply_to(self, module: Module) -> None:
        """Copy the shadows into `module`."""
        module.load_state_dict(self._shadows)

    @contextmanager
    def swapped(self, module: Module | None = None) -> Iterator[None]:
        """Inside, `module` (the trained one by default) holds the averages; afterwards its own values."""
        module = self._module if module is None else module
        own = {name: _copy(array) for name, array in module.state_dict().items()}
        self.apply_to(module)
        try:
            yield
        finally:
            module.load_state_dict(own)


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy in the same memory order."""
    return np.array(array, order="K", copy=True)
