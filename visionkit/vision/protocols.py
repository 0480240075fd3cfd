"""What the trainer and the predictor ask of a codec and a criterion; any object that fits will do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..tensor import Tensor
from .results import Detections

Maps = Sequence[NDArray[np.floating[Any]]]


class Codec(Protocol):
    """Named inverses between ground truth and the maps of a network."""

    def encode(
        self,
        boxes: Sequence[ArrayLike],
        class_id: Sequence[ArrayLike],
        ignore: Sequence[ArrayLike] | None,
        input_size: tuple[int, int],
    ) -> Any:
        """Targets of a batch, for the criterion that belongs to this codec."""

    def decode(
        self, maps: Maps, confidence: float = 0.25, iou: float = 0.5, max_detections: int = 100
    ) -> list[Detections]:
        """One `Detections` a picture, in input pixels."""


class Criterion(Protocol):
    """Losses by name, whose sum is what training lowers."""

    def __call__(self, maps: Sequence[Tensor], targets: Any) -> Mapping[str, Tensor]:
        """The losses as Tensors, for the tape."""

    def value_and_gradients(
        self, maps: Maps, targets: Any
    ) -> tuple[dict[str, float], tuple[NDArray[np.floating[Any]], ...]]:
        """The same losses as numbers, and the gradient of their sum along each map."""
