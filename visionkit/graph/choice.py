"""Direct or Winograd, layer by layer: by a committed rule, or by timing inside the network.

What was timed is kept beside the compiled kernels, by the layer's shape: a machine times a shape once, and
every later plan, on any number of threads, makes the same bits.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import VisionKitError
from ..kernels import pointwise, staged, winograd
from ..kernels.jit import cache_folder
from ..kernels.memory import Map
from ..weights.files import atomic_write, read_bytes
from .geometry import Pair

if TYPE_CHECKING:
    from .lower import Lowering
    from .plan import Plan

#: How an inference plan chooses: "rule" by shapes alone, "timed" by the clock, "direct" never Winograd.
How = Literal["rule", "timed", "direct"]


def _never(y: Map, ins: int, kernel: Pair) -> int:
    return 0


def _direct(y: Map, ins: int) -> bool:
    return False


@dataclass(frozen=True)
class Choose:
    """Which convolutions to `y` from so many channels take Winograd's form.

    Attributes:
        winograd: whether a 3x3 convolution runs in rounds; by the clock where that is asked for.
        staged: the points of the form in which one of any filter runs in stages, 0 for none; asked first.
    """

    winograd: Callable[[Map, int], bool]
    staged: Callable[[Map, int, Pair], int] = _never


_FILE = "choices.json"
_RUNS = 5
_CLEAR = pointwise.clear_halo.__name__
_GAIN = 0.97  # the clock overrules the rule where it saves more than 3 %
_known: dict[str, bool] = {}


def choose(
    how: How, training: bool, lower: "Callable[[Choose], Lowering]", build: "Callable[[Lowering], Plan]"
) -> "Lowering":
    """The steps of a plan, with their forms chosen.

    Args:
        how: see `How`; "timed" is the rule in training, whose bits must not depend on a clock.
        training: see `compile`.
        lower: makes the steps for a choice, without their memory.
        build: makes a plan of them; called for two opposite choices where "timed" meets a shape for the
            first time.
    """
    if how == "direct":
        return lower(Choose(_direct))
    if training:
        return lower(Choose(lambda y, ins: winograd.pays(y, ins, True)))
    if how == "rule":
        return lower(Choose(lambda y, ins: winograd.pays(y, ins, False), staged.pays))
    _load()
    layers: list[tuple[str, bool]] = []

    def take_known(y: Map, ins: int) -> bool:
        if not winograd.possible(y, ins):
            return False
        layers.append((_key(y, ins), winograd.pays(y, ins, False)))
        return _known.get(layers[-1][0], False)

    known = lower(Choose(take_known, staged.pays))
    if all(key in _known for key, _ in layers):
        return known
    _time(layers, *(build(lower(Choose(form, staged.pays))) for form in (winograd.possible, _direct)))
    _store()
    return lower(Choose(take_known, staged.pays))


def _key(y: Map, ins: int) -> str:
    return "x".join(map(str, (*y.shape, ins)))


def _time(layers: list[tuple[str, bool]], fast: "Plan", direct: "Plan") -> None:
    """Decide the shapes that are not known yet; the two plans differ in the kernels of `layers` alone."""
    totals: dict[str, list[float]] = {}
    left = iter(layers)
    # Winograd's form needs no halo, so only the direct form's plan has to clear it.
    profiles = ([step for step in plan.profile(_RUNS) if step[1] != _CLEAR] for plan in (fast, direct))
    for (_, kernel, ours), (_, _, theirs) in zip(*profiles, strict=True):
        if kernel == winograd.winograd.__name__:
            total = totals.setdefault(next(left)[0], [0.0, 0.0])
            total[0] += ours
            total[1] += theirs
    for key, rule in layers:
        by_rule, otherwise = totals[key] if rule else reversed(totals[key])
        _known.setdefault(key, rule if otherwise > _GAIN * by_rule else not rule)


def _load() -> None:
    folder = cache_folder()
    if _known or folder is None:
        return
    try:
        stored = json.loads(read_bytes(folder / _FILE, 1 << 20))
        _known.update({str(key): bool(taken) for key, taken in stored.items()})
    except (VisionKitError, ValueError, AttributeError):
        return  # absent or damaged: it is timed anew


def _store() -> None:
    folder = cache_folder()
    if folder is not None:
        atomic_write(folder / _FILE, json.dumps(_known, indent=0, sort_keys=True))
