"""The loss of pose networks: every stage's maps against the targets, crowds left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UsageError
from ..kernels import pose_loss as kernels
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
        many = isinstance(codec, FieldCodec)
        background = (codec.heatmaps if isinstance(codec, FieldCodec) else codec).background
        self._names = ("heat", "fields") if many else ("heat",)
        self._gradients: dict[Any, Floats] = {}
        self._kinds = (kernels.BACKGROUND if background else kernels.HEAT, kernels.FIELDS)

    def targets(self, batch: Any) -> PoseTargets:
        """The targets of a batch with `images`, `boxes`, `ignore` and `keypoints`; see `Batch`."""
        left_out = [
            boxes[ignore | ~(keypoints[..., 2] > 0).any(axis=1)]
            for boxes, ignore, keypoints in zip(batch.boxes, batch.ignore, batch.keypoints, strict=True)
        ]
        targets = self.codec.encode(batch.keypoints, left_out, batch.images.shape[1:3])
        hidden = targets.mask[..., 0] == 0
        for wanted, kind in zip(targets.maps, self._kinds, strict=False):
            said = wanted[hidden] != 0
            targets.mask[hidden, 0] += (said[:, :-1] if kind == kernels.BACKGROUND else said).any(axis=1)
        np.minimum(targets.mask, 1, out=targets.mask)
        return targets

    def __call__(self, maps: Sequence[Tensor], batch: Any) -> Mapping[str, Tensor]:
        """Losses by name (heat_1, fields_1, heat_2, ...) as Tensors, for the tape."""
        wanted, scale = self._wanted(maps, batch)
        losses = {}
        for number, (one, target) in enumerate(zip(maps, wanted, strict=True)):
            target = target.astype(one.dtype)
            weight = scale[..., None] * (1 + one.dtype.type(self.focus) * self._shape(target, number))
            losses[self._name(number)] = ((one - target) ** 2 * weight).sum()
        return losses

    def value_and_gradients(self, maps: Maps, batch: Any) -> tuple[Losses, Gradients]:
        """The same losses as numbers, and the gradient of their sum along each map.

        The gradients are overwritten by the next call with maps of these shapes.
        """
        wanted, scale = self._wanted(maps, batch)
        losses, gradients = {}, []
        for number, (one, target) in enumerate(zip(maps, wanted, strict=True)):
            gradient = self._memory(number, one)
            kind, focus = self._kinds[number % len(self._names)], one.dtype.type(self.focus)
            losses[self._name(number)] = kernels.squared(one, target, scale, kind, focus, gradient)
            gradients.append(gradient)
        return losses, tuple(gradients)

    def _memory(self, number: int, like: Floats) -> Floats:
        """Memory for a gradient: new pages for 60 MB at every step would cost a third of the time."""
        key = (number, like.shape, like.dtype)
        if key not in self._gradients:
            self._gradients[key] = np.empty(like.shape, like.dtype)
        return self._gradients[key]

    def _name(self, number: int) -> str:
        stage, kind = divmod(number, len(self._names))
        return f"{self._names[kind]}_{stage + 1}"

    def _wanted(self, maps: Sequence[Any], batch: Any) -> tuple[list[NDArray[np.float32]], Floats]:
        """The target of each map, and (B, h, w) weights of the cells."""
        stages, rest = divmod(len(maps), len(self._names))
        if rest or not stages:
            raise ShapeError(f"expected {' and '.join(self._names)} of every stage, got {len(maps)} maps")
        targets = self.targets(batch)
        wanted = [*targets.maps] * stages
        for number, (one, target) in enumerate(zip(maps, wanted, strict=True)):
            if one.shape != target.shape:
                raise ShapeError(f"map {number}: expected {target.shape}, got {one.shape}")
        counted = max(float(targets.mask.sum(dtype=np.float64)), 1.0)
        scale = targets.mask[..., 0].astype(maps[0].dtype)
        scale /= maps[0].dtype.type(counted)
        return wanted, scale

    def _shape(self, target: Floats, number: int) -> Floats:
        """How much a cell belongs to a joint or limb, 0..1."""
        kind = self._kinds[number % len(self._names)]
        if kind == kernels.FIELDS:
            pairs = target.reshape(*target.shape[:3], -1, 2)
            return np.repeat((pairs**2).sum(axis=-1), 2, axis=-1)
        if kind == kernels.HEAT:
            return target
        return np.concatenate([target[..., :-1], 1 - target[..., -1:]], axis=-1)
