"""Fine-tuning: another detector's weights into a network with other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..nn import Module

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of a network's tensors.

    Attributes:
        copied: taken over as they are.
        matched: heads whose rows were taken over class by class.
        fresh: new, with their initial values.
        unused: of the file, without a place in the network.
        classes: names of classes or points that kept their rows.
        kept: what that is called.
    """

    copied: tuple[str, ...]
    matched: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    classes: tuple[str, ...]
    kept: str = "box rows kept, class rows kept for"

    def explain(self) -> str:
        """A sentence or three for the log."""
        text = f"{len(self.copied)} tensors taken over"
        if self.matched:
            text += f"; heads {', '.join(self.matched)}: {self.kept} {', '.join(self.classes) or 'none'}"
        if self.fresh:
            text += f"; new: {', '.join(self.fresh)}"
        if self.unused:
            text += f"; not used: {', '.join(self.unused)}"
        return text


def transfer(
    network: Module,
    tensors: Arrays,
    old: Sequence[str],
    new: Sequence[str],
    anchors: int,
    heads: Sequence[str],
) -> Transfer:
    """Copy weights into `network`: heads row by row, everything else whole.

    A head's first axis holds, anchor by anchor, its channels apart from classes and then one per class
    (none if there is a single class). The former are kept, the latter where a class has the same name.

    Args:
        network: made for the classes `new`, freshly initialised; changed in place.
        tensors: the other detector's, made for the classes `old`.
        anchors: of a cell.
        heads: the names of the tensors whose first axis depends on the number of classes.

    Raises:
        WeightsError: no tensor fits; nothing was changed then.
    """
    own = network.state_dict()
    copied, matched, fresh = [], [], []
    values: dict[str, NDArray[Any]] = {}
    shared = [name for name in new if name in old] if len(new) > 1 and len(old) > 1 else []
    for name, array in own.items():
        given = tensors.get(name)
        if given is not None and name in heads and given.shape[1:] == array.shape[1:]:
            rows = _rows(array, given, old, new, anchors)
            if rows is not None:
                values[name] = rows
                matched.append(name)
                continue
        if given is not None and given.shape == array.shape and name not in heads:
            values[name] = given
            copied.append(name)
        else:
            fresh.append(name)
    if not copied:
        raise WeightsError(
            "no tensor of the file fits the network",
            value=sorted(tensors)[:5],
            remedy="choose its own --model",
        )
    for name, array in values.items():
        own[name][...] = array
    unused = tuple(name for name in tensors if name not in own)
    return Transfer(tuple(copied), tuple(matched), tuple(fresh), unused, tuple(shared))


def transfer_backbone(network: Module, tensors: Arrays) -> Transfer:
    """Copy the backbone of another network into `network`, whatever either finds.

    Args:
        network: freshly initialised; changed in place.
        tensors: the other network's; those named `backbone.*` are looked at.

    Raises:
        WeightsError: the backbones differ, or there is none; nothing was changed then.
    """
    own = {name: array for name, array in network.state_dict().items() if name.startswith("backbone.")}
    given = {name: array for name, array in tensors.items() if name.startswith("backbone.")}
    shapes, others = ({name: a.shape for name, a in part.items()} for part in (own, given))
    if not own or shapes != others:
        odd = sorted(name for name in own | given if shapes.get(name) != others.get(name))
        raise WeightsError("another backbone than the network's", value=odd[:3], remedy="leave it out")
    for name, array in own.items():
        array[...] = given[name]
    fresh = tuple(name for name in network.state_dict() if name not in own)
    return Transfer(tuple(own), (), fresh, tuple(name for name in tensors if name not in own), ())


def head_names(small: Arrays, large: Arrays) -> tuple[str, ...]:
    """The tensors whose shape depends on the number of classes, from networks built for two of them."""
    return tuple(name for name, array in small.items() if large[name].shape != array.shape)


def _rows(
    own: NDArray[Any], given: NDArray[Any], old: Sequence[str], new: Sequence[str], anchors: int
) -> NDArray[Any] | None:
    """The head with the other's rows where they mean the same; None if its layout is another."""
    had, has = (len(names) if len(names) > 1 else 0 for names in (old, new))
    base = own.shape[0] // anchors - has
    if own.shape[0] != anchors * (base + has) or given.shape[0] != anchors * (base + had):
        return None
    result = own.copy().reshape(anchors, base + has, *own.shape[1:])
    source = given.reshape(anchors, base + had, *own.shape[1:])
    result[:, :base] = source[:, :base]
    if has and had:
        for position, name in enumerate(new):
            if name in old:
                result[:, base + position] = source[:, base + list(old).index(name)]
    return np.asarray(result.reshape(own.shape))
