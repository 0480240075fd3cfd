"""Learning rates as functions of the step, which counts from 0."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from ..errors import UsageError

Schedule = Callable[[int], float]


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"{name} must be positive", value=value)


def constant(base: float) -> Schedule:
    """Always `base`."""
    return lambda step: base


def step(base: float, every: int, factor: float = 0.5) -> Schedule:
    """`base`, multiplied by `factor` after each `every` steps (OPT-14, OPT-19)."""
    _positive("every", every)
    return lambda step: base * factor ** (step // every)


def piecewise(base: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """`base`, multiplied by `factor` at each of the `milestones` (OPT-14)."""
    return lambda step: base * factor ** sum(step >= milestone for milestone in milestones)


def exponential(base: float, rate: float) -> Schedule:
    """base * exp(-rate * step) (OPT-16)."""
    return lambda step: base * math.exp(-rate * step)


def half_life(base: float, steps: float) -> Schedule:
    """`base`, halved over each `steps` steps, a little at every one (OPT-17)."""
    _positive("steps", steps)
    return lambda step: base * 0.5 ** (step / steps)


def inverse_time(base: float, rate: float) -> Schedule:
    """base / (1 + rate * step) (OPT-18)."""
    return lambda step: base / (1 + rate * step)


def cosine(base: float, steps: int, final: float = 0.0) -> Schedule:
    """From `base` to `final` over `steps` steps along half a cosine (Loshchilov and Hutter 2017, eq. 5)."""
    _positive("steps", steps)
    return lambda step: final + (base - final) * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """`schedule` times (step + 1) / steps during the first `steps` steps (OPT-20)."""
    return lambda step: schedule(step) * min(1.0, (step + 1) / max(1, steps))


class Plateau:
    """Multiply the rate by `factor` when a measure stops getting better (OPT-15).

    Args:
        base: the rate to start with.
        factor: what it is multiplied by.
        patience: how many measures in a row may be no better than the best before that.
        better: whether "lower" (a loss) or "higher" (AP) is better.
        least: the rate never falls below this.
    """

    def __init__(
        self,
        base: float,
        factor: float = 0.1,
        patience: int = 10,
        better: Literal["lower", "higher"] = "lower",
        least: float = 0.0,
    ) -> None:
        self.lr, self.factor, self.patience, self.least = base, factor, patience, least
        self._sign = 1.0 if better == "lower" else -1.0
        self._best, self._waited = math.inf, 0

    def update(self, value: float) -> float:
        """Note one measure; returns the rate from now on."""
        if self._sign * value < self._best:
            self._best, self._waited = self._sign * value, 0
        else:
            self._waited += 1
        if self._waited > self.patience:
            self.lr, self._waited = max(self.least, self.lr * self.factor), 0
        return self.lr

    def state_dict(self) -> dict[str, float]:
        """All that resuming needs."""
        return {"lr": self.lr, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over what `state_dict` gave."""
        self.lr, self._best, self._waited = state["lr"], state["best"], int(state["waited"])
