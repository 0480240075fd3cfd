"""Fine-tuning: another pose network's weights into one for other points, by the points' names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..nn import Module
from .pose_info import PoseInfo
from .transfer import Arrays, Transfer

Label = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the maps of a network come out of a tensor or go into it: as the last channels of one axis.

    Attributes:
        axis: of the tensor.
        heat, fields: which of them are there; heat maps stand before fields.
    """

    axis: int
    heat: bool
    fields: bool

    def labels(self, info: PoseInfo, length: int) -> list[Label]:
        """What each of `length` channels is about: a feature, a point, the background, x or y of a limb."""
        names, tail = info.skeleton.keypoints, list[Label]()
        if self.heat:
            tail += [("point", name) for name in names] + [("background",)] * info.background
        if self.fields:
            tail += [("limb", names[a], names[b], axis) for a, b in info.skeleton.limbs for axis in "xy"]
        return [*(("feature", i) for i in range(length - len(tail))), *tail]


def ports(base: Arrays, more_heat: Arrays, more_fields: Arrays) -> dict[str, Ports]:
    """The tensors that depend on the maps, from a network and those with more heat maps and more fields.

    Where there are no fields, `more_fields` is the network itself.
    """
    found = {}
    for name, array in base.items():
        shapes = [other[name].shape for other in (more_heat, more_fields)]
        heat, fields = (shape != array.shape for shape in shapes)
        if heat or fields:
            axis = next(k for k, n in enumerate(array.shape) if any(shape[k] != n for shape in shapes))
            found[name] = Ports(axis, heat, fields)
    return found


def transfer_poses(
    network: Module, tensors: Arrays, old: PoseInfo, new: PoseInfo, where: Mapping[str, Ports]
) -> Transfer:
    """Copy weights into `network`: channels of maps by name, everything else whole.

    What a point's heat map needs goes to the point of the same name, what a limb's field needs to the limb
    between points of the same names; the rest keeps its initial values.

    Args:
        network: made for `new`, freshly initialised; changed in place.
        tensors: the other network's, made for `old`.
        old, new: their descriptions, of one architecture.
        where: see `ports`.

    Raises:
        WeightsError: no tensor fits; nothing was changed then.
    """
    own = network.state_dict()
    copied: list[str] = []
    matched: list[str] = []
    fresh: list[str] = []
    for name, array in own.items():
        given = tensors.get(name)
        if given is None or given.ndim != array.ndim:
            fresh.append(name)
        elif name not in where:
            (copied if given.shape == array.shape else fresh).append(name)
        else:
            axis = where[name].axis
            same = np.delete(given.shape, axis).tolist() == np.delete(array.shape, axis).tolist()
            (matched if same else fresh).append(name)
    if not copied:
        raise WeightsError(
            "no tensor of the file fits the network",
            value=sorted(tensors)[:5],
            remedy="choose its own --model",
        )
    for name in copied:
        own[name][...] = tensors[name]
    for name in matched:
        port, given = where[name], tensors[name]
        target, source = (np.moveaxis(array, port.axis, 0) for array in (own[name], given))
        had = {label: k for k, label in enumerate(port.labels(old, len(source)))}
        for k, label in enumerate(port.labels(new, len(target))):
            if label in had:
                target[k] = source[had[label]]
    unused = tuple(name for name in tensors if name not in own)
    kept = tuple(name for name in new.skeleton.keypoints if name in old.skeleton.keypoints)
    return Transfer(tuple(copied), tuple(matched), tuple(fresh), unused, kept, "maps kept for")
