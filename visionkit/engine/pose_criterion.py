"""The loss of pose networks: every stage's maps against the targets, crowds left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UsageError
from ..tensor import Tensor
from ..vision.fields import FieldCodec
from ..vision.heatmaps import HeatmapCodec, PoseTargets
from ..vision.protocols import Maps
from .criterion import Gradients, Losses

Floats = NDArray[np.floating[Any]]


class PoseCriterion:
    """The sum over stages of the squared error of heat maps and fields (POS-08, MPP-12).

    For each map: sum over channels, mean over the cells that count, of
    (1 + focus * shape) * (map - target)^2. The mean makes the loss independent of batch, size and mask; the
    sum keeps it from fading where a skeleton has many points. Nearly all cells of a heat map are 0, and so is
    the map of a network that has learned nothing but that: `focus` makes the cells of joints and limbs count
    more. The shape is the Gaussian itself on heat maps (of the background: 1 minus it) and the squared length
    of the vector on fields.

    Where it counts: everywhere but in crowds and people without a labelled point, and there too where
    something is to be said of a labelled person, who may stand in a crowd.

    Args:
        codec: makes the targets of a batch, once for all stages.
        focus: additional weight of a cell on a joint or limb; 0 is plain L2.

    Raises:
        UsageError: a focus below 0.
    """

    def __init__(self, codec: FieldCodec | HeatmapCodec, focus: float = 0.0) -> None:
        if not 0 <= focus < np.inf:
            raise UsageError("focus must be 0 or more", value=focus)
        self.codec, self.focus = codec, float(focus)
        self._kinds = ("heat", "fields") if isinstance(codec, FieldCodec) else ("heat",)
        self._background = (codec.heatmaps if isinstance(codec, FieldCodec) else codec).background

    def targets(self, batch: Any) -> PoseTargets:
        """The targets of a batch with `images`, `boxes`, `ignore` and `keypoints`; see `Batch`."""
        left_out = [
            boxes[ignore | ~(keypoints[..., 2] > 0).any(axis=1)]
            for boxes, ignore, keypoints in zip(batch.boxes, batch.ignore, batch.keypoints, strict=True)
        ]
        targets = self.codec.encode(batch.keypoints, left_out, batch.images.shape[1:3])
        for wanted, kind in zip(targets.maps, self._kinds, strict=True):
            joints = wanted[..., :-1] if kind == "heat" and self._background else wanted
            targets.mask[joints.any(axis=-1)] = 1
        return targets

    def __call__(self, maps: Sequence[Tensor], batch: Any) -> Mapping[str, Tensor]:
        """Losses by name (heat_1, fields_1, heat_2, ...) as Tensors, for the tape."""
        wanted, weights = self._wanted(maps, batch)
        return {
            name: ((one - target) ** 2 * weight).sum()
            for name, one, target, weight in zip(self._names(maps), maps, wanted, weights, strict=True)
        }

    def value_and_gradients(self, maps: Maps, batch: Any) -> tuple[Losses, Gradients]:
        """The same losses as numbers, and the gradient of their sum along each map."""
        wanted, weights = self._wanted(maps, batch)
        losses, gradients = {}, []
        for name, one, target, weight in zip(self._names(maps), maps, wanted, weights, strict=True):
            error = one - target
            gradient = error * weight
            error *= gradient
            gradient *= 2
            losses[name] = float(error.sum(dtype=np.float64))
            gradients.append(gradient)
        return losses, tuple(gradients)

    def _names(self, maps: Sequence[Any]) -> list[str]:
        return [f"{kind}_{stage}" for stage in range(1, 1 + self._stages(maps)) for kind in self._kinds]

    def _stages(self, maps: Sequence[Any]) -> int:
        stages, rest = divmod(len(maps), len(self._kinds))
        if rest or not stages:
            raise ShapeError(f"expected {' and '.join(self._kinds)} of every stage, got {len(maps)} maps")
        return stages

    def _wanted(self, maps: Sequence[Any], batch: Any) -> tuple[list[Floats], list[Floats]]:
        """Targets and weights for each map, those of all stages the same."""
        stages, targets = self._stages(maps), self.targets(batch)
        for number, (one, target) in enumerate(zip(maps, targets.maps * stages, strict=True)):
            if one.shape != target.shape:
                raise ShapeError(f"map {number}: expected {target.shape}, got {one.shape}")
        dtype = maps[0].dtype
        counted = max(float(targets.mask.sum(dtype=np.float64)), 1.0)
        scale = targets.mask.astype(dtype) / dtype.type(counted)
        weights: list[Floats] = []
        for target, kind in zip(targets.maps, self._kinds, strict=True):
            weight = np.broadcast_to(scale, target.shape)
            if self.focus:
                weight = scale * (1 + np.float32(self.focus) * self._shape(target, kind))
            weights.append(weight)
        return [target.astype(dtype, copy=False) for target in targets.maps] * stages, weights * stages

    def _shape(self, target: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
        """How much a cell belongs to a joint or limb, 0..1, as the target's shape."""
        if kind == "fields":
            pairs = target.reshape(*target.shape[:3], -1, 2)
            return np.repeat((pairs**2).sum(axis=-1), 2, axis=-1)
        if not self._background:
            return target
        return np.concatenate([target[..., :-1], 1 - target[..., -1:]], axis=-1)
