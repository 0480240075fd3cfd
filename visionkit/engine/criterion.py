"""From maps and a batch to losses and their gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tensor import Tensor
from ..vision.protocols import Codec, Criterion, Maps

Losses = dict[str, float]
Gradients = tuple[NDArray[np.floating[Any]], ...]


class DetectionCriterion:
    """A detector's loss for a batch of boxes: encodes the targets, then asks the loss.

    Args:
        codec: makes targets of boxes.
        loss: compares maps with these targets.
    """

    def __init__(self, codec: Codec, loss: Criterion) -> None:
        self.codec, self.loss = codec, loss

    def targets(self, batch: Any) -> Any:
        """The targets of a batch with `images`, `boxes`, `classes` and `ignore`."""
        return self.codec.encode(batch.boxes, batch.classes, batch.ignore, batch.images.shape[1:3])

    def __call__(self, maps: Sequence[Tensor], batch: Any) -> Mapping[str, Tensor]:
        """Losses by name as Tensors, for the tape."""
        return self.loss(maps, self.targets(batch))

    def value_and_gradients(self, maps: Maps, batch: Any) -> tuple[Losses, Gradients]:
        """Losses by name as numbers, and the gradient of their sum along each map."""
        return self.loss.value_and_gradients(maps, self.targets(batch))


def value_and_gradients(criterion: Any, maps: Maps, batch: Any) -> tuple[Losses, Gradients]:
    """Losses and map gradients: by the criterion's own `value_and_gradients`, else by the tape."""
    if hasattr(criterion, "value_and_gradients"):
        losses, gradients = criterion.value_and_gradients(maps, batch)
        return losses, gradients
    tensors = [Tensor(m, requires_grad=True) for m in maps]
    parts = list(criterion(tensors, batch).items())
    total = parts[0][1]
    for _, part in parts[1:]:
        total = total + part
    total.backward()
    gradients = tuple(np.zeros_like(t.data) if t.grad is None else t.grad for t in tensors)
    return {name: part.item() for name, part in parts}, gradients
