"""Scoring a network on a data set: letterbox, plan, decode, map back, pycocotools."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..errors import DataError, VisionKitError
from ..graph import Plan, Ranges
from ..graph import compile as compile_network
from ..nn import Module
from ..vision.letterbox import Letterbox
from ..vision.protocols import Maps
from .description import Description
from .evaluator import evaluate, match_classes
from .info import DetectorInfo
from .scores import Scores

_CACHE_BYTES = 1_000_000_000
#: Training pictures that are scored at most.
_MOST_TRAINING = 200


@contextmanager
def inference_mode(network: Module) -> Iterator[None]:
    """Inside, the whole network is in inference mode; afterwards each module is as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class DataValidation(ABC):
    """Scores a network on a data set; as a trainer's `validation` it gives numbers by name.

    A kind says how an input comes about (`read`), what is found in maps (`found`) and how that is scored
    (`evaluate`).

    Args:
        dataset: pictures and ground truth.
        info: the network's description.
        batch: pictures at a time.
        skip_bad: leave out pictures that cannot be read, of the ground truth too, instead of stopping; they
            are counted in the notes and listed in `failed`.
        cache: keep the network's inputs in memory if they fit (1 GB).
        items: what the network sees one by one, where that is not the pictures.

    Attributes:
        failed: by file, why a picture was left out.

    Raises:
        DataError: there is no picture.
    """

    def __init__(
        self, dataset: DetectionDataset, info: Description, *, batch: int, skip_bad: bool, cache: bool,
        items: DetectionDataset | None = None,
    ) -> None:  # fmt: skip
        self.dataset, self.items = dataset, items or dataset
        self.count = len(self.items)
        self._info = info
        self.batch = min(batch, self.count)
        self.skip_bad = skip_bad
        self.failed: dict[str, VisionKitError] = {}
        if not self.count:
            raise DataError("no picture is left to score", file=dataset.problems.file)
        room = self.count * int(np.prod(info.input_size)) * 3
        self._cached: dict[int, tuple[NDArray[np.uint8], Any]] | None = (
            {} if cache and room <= _CACHE_BYTES else None
        )

    @abstractmethod
    def on(self, dataset: DetectionDataset, *, skip_bad: bool) -> "DataValidation":
        """The same for other data."""

    @abstractmethod
    def read(self, index: int) -> tuple[NDArray[np.uint8], Any]:
        """Input `index`, (H, W, 3) uint8, and where in its picture that lies."""

    def maps(self, plan: Plan, inputs: NDArray[np.uint8]) -> Maps:
        """What the network says of a batch of inputs."""
        return plan.forward(inputs)

    @abstractmethod
    def found(self, maps: Maps, placed: Sequence[tuple[int, Any]]) -> list[dict[str, Any]]:
        """COCO results in maps whose first inputs are `placed`: number and place of each."""

    @abstractmethod
    def evaluate(self, entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Scores:
        """The scores of results on these images."""

    def __call__(self, network: Module) -> dict[str, float | None]:
        """The numbers by name."""
        return self.scores(network).values

    def scores(self, network: Module, progress: Callable[[int, int], object] | None = None) -> Scores:
        """Run the network over the pictures and score what it finds.

        Args:
            network: in any mode; it is compiled for inference with its present weights.
            progress: told (pictures done, pictures in all) after each batch.
        """
        return self.score(self.detect(network, progress))

    def score(self, entries: Sequence[Mapping[str, Any]]) -> Scores:
        """Score what `detect` found, over the pictures that could be read."""
        scores = self.evaluate(entries, self.readable())
        if self.failed:
            scores = scores.noting([f"pictures left out because they cannot be read: {len(self.failed)}"])
        return scores

    def readable(self) -> list[int]:
        """The ids of the pictures that could be read."""
        return [record.image_id for record in self.dataset.records if record.file not in self.failed]

    def detect(
        self,
        network: Module,
        progress: Callable[[int, int], object] | None = None,
        *,
        precision: str = "float32",
        ranges: Ranges | None = None,
    ) -> list[dict[str, Any]]:
        """What the network finds, in COCO's results format, with the data's original ids.

        Args:
            network, progress: see `scores`.
            precision, ranges: see `visionkit.graph.compile`.
        """
        info, size = self._info, self._info.input_size
        with inference_mode(network):
            plan = compile_network(
                network, (self.batch, *size, 3), mean=info.mean, scale=info.scale, precision=precision,
                ranges=ranges,
            )  # fmt: skip
        inputs = np.zeros((self.batch, *size, 3), np.uint8)
        entries: list[dict[str, Any]] = []
        for start in range(0, self.count, self.batch):
            indices = range(start, min(start + self.batch, self.count))
            placed: list[tuple[int, Any]] = []
            for index in indices:
                if entry := self._input(index):
                    inputs[len(placed)], place = entry
                    placed.append((index, place))
            entries += self.found(self.maps(plan, inputs), placed)
            if progress:
                progress(start + len(indices), self.count)
        return entries

    def _input(self, index: int) -> tuple[NDArray[np.uint8], Any] | None:
        """What `read` gives; None where the picture cannot be read."""
        if self._cached is not None and index in self._cached:
            return self._cached[index]
        file = self.items.records[index].file
        if file in self.failed:
            return None
        try:
            entry = self.read(index)
        except VisionKitError as error:
            if not self.skip_bad:
                raise
            self.failed[file] = error
            return None
        if self._cached is not None:
            self._cached[index] = entry
        return entry


class DetectionValidation(DataValidation):
    """Scores a detector; as a trainer's `validation` it gives the twelve numbers by name.

    Args:
        dataset: its classes are matched with the detector's by name.
        info: the detector's description.
        batch, skip_bad, cache: see `DataValidation`.
        confidence, iou, max_detections: of the decoding. COCO's rules reward long lists, hence .005 and 100.

    Raises:
        DataError: no class of the data is among the detector's, or there is no picture.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        info: DetectorInfo,
        *,
        batch: int = 8,
        confidence: float = 0.005,
        iou: float = 0.6,
        max_detections: int = 100,
        skip_bad: bool = False,
        cache: bool = True,
    ) -> None:
        super().__init__(dataset, info, batch=batch, skip_bad=skip_bad, cache=cache)
        self.info, self.codec = info, info.codec()
        self.confidence, self.iou, self.max_detections = confidence, iou, max_detections
        self.ground_truth = dataset.to_coco()
        self.category_ids = match_classes(info.names, self.ground_truth["categories"])
        if all(number is None for number in self.category_ids):
            raise DataError(
                "no class of the data is one of the detector's",
                value=list(dataset.names),
                remedy=f"the detector knows {', '.join(info.names)}",
            )

    def on(self, dataset: DetectionDataset, *, skip_bad: bool) -> "DetectionValidation":
        """The same detector on other data."""
        return DetectionValidation(dataset, self.info, batch=self.batch, skip_bad=skip_bad)

    def read(self, index: int) -> tuple[NDArray[np.uint8], Letterbox]:
        """The letterboxed picture."""
        image = self.dataset[index].image
        letterbox = Letterbox(image.shape[:2], self.info.input_size)
        return letterbox.apply(image), letterbox

    def found(self, maps: Maps, placed: Sequence[tuple[int, Letterbox]]) -> list[dict[str, Any]]:
        """Boxes in pixels of their pictures, classes that the data lacks left out."""
        found = self.codec.decode(maps, self.confidence, self.iou, self.max_detections, all_classes=True)
        known = np.array([number is not None for number in self.category_ids])
        ids = [-1 if number is None else number for number in self.category_ids]
        entries = []
        for (index, letterbox), one in zip(placed, found, strict=False):
            kept = one[known[one.class_id]]
            there = replace(kept, xyxy=letterbox.undo(kept.xyxy))
            entries += there.to_coco(self.dataset.image_ids[index], ids)
        return entries

    def evaluate(self, entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Scores:
        """COCO's scores of boxes."""
        scores = evaluate(self.ground_truth, entries, image_ids=image_ids)
        unknown = [
            name for name, number in zip(self.info.names, self.category_ids, strict=True) if number is None
        ]
        if unknown:
            note = f"classes of the detector that the data lacks, left out: {', '.join(unknown)}"
            scores = scores.noting([note])
        return scores


class ValidationAndTraining:
    """A trainer's `validation` that scores a part of the training data too, as it is, not augmented.

    The two together tell under-fitting, where both are low, from over-fitting, where they part. The part
    is spread evenly over the training data: as many pictures as the validation has, 200 at most.

    Args:
        validation: of the data that the network does not learn from.
        train: the data that it learns from.
        skip_bad: leave out training pictures that cannot be read.
    """

    def __init__(
        self, validation: DataValidation, train: DetectionDataset, *, skip_bad: bool = False
    ) -> None:
        self.validation = validation
        count = min(len(train), len(validation.dataset), _MOST_TRAINING)
        part = train.part(index * len(train) // count for index in range(count))
        self.training = validation.on(part, skip_bad=skip_bad)

    def __call__(self, network: Module) -> dict[str, float | None]:
        """The numbers of the validation by name, and `train/AP` and `train/AP50`."""
        scores, seen = self.validation(network), self.training(network)
        return scores | {f"train/{name}": seen[name] for name in ("AP", "AP50")}
