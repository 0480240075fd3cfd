"""Scoring a pose network on a data set: letterbox, plan, decode, map back, OKS by pycocotools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..errors import DataError, UsageError, VisionKitError
from ..graph import compile as compile_network
from ..nn import Module
from ..vision.fields import FieldCodec
from ..vision.letterbox import Letterbox
from ..vision.poses import Poses
from .keypoints import evaluate_keypoints
from .pose_info import PoseInfo
from .scores import Scores
from .validation import inference_mode


class PoseValidation:
    """Scores a network of many people; as a trainer's `validation` it gives COCO's ten numbers by name.

    A pose network does not tell categories apart, so those that share the points are scored as one.

    Args:
        dataset: pictures and ground truth with keypoints; its points must be the network's.
        info: the network's description.
        batch: pictures at a time.
        threshold: least height of a peak.
        max_people: at most so many a picture; COCO's rules count 20.
        min_keypoints: poses with fewer points are dropped. Low as the threshold is: OKS rewards long lists.
        skip_bad: leave out pictures that cannot be read, of the ground truth too, instead of stopping; they
            are counted in the notes and listed in `failed`.

    Attributes:
        failed: by file, why a picture was left out.

    Raises:
        DataError: there is no picture, or the data has other points than the network.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        info: PoseInfo,
        *,
        batch: int = 8,
        threshold: float = 0.1,
        max_people: int = 20,
        min_keypoints: int = 2,
        skip_bad: bool = False,
    ) -> None:
        codec = info.codec()
        if not isinstance(codec, FieldCodec):
            raise UsageError("a network for one person is scored on crops", value=info.architecture)
        self.dataset, self.info, self.codec = dataset, info, codec
        self.threshold, self.max_people, self.min_keypoints = threshold, max_people, min_keypoints
        self.count = len(dataset)
        self.batch, self.skip_bad = min(batch, self.count), skip_bad
        self.failed: dict[str, VisionKitError] = {}
        if not self.count:
            raise DataError("no picture is left to score", file=dataset.problems.file)
        self.ground_truth = as_one_category(dataset.to_coco())

    def __call__(self, network: Module) -> dict[str, float | None]:
        """The ten numbers by name."""
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
        ids = [record.image_id for record in self.dataset.records if record.file not in self.failed]
        scores = evaluate_keypoints(
            self.ground_truth, entries, sigmas=self.info.skeleton.sigmas, image_ids=ids
        )
        if self.failed:
            note = f"pictures left out because they cannot be read: {len(self.failed)}"
            scores = replace(scores, notes=(*scores.notes, note))
        return scores

    def detect(
        self, network: Module, progress: Callable[[int, int], object] | None = None
    ) -> list[dict[str, Any]]:
        """The poses in COCO's results format, with the data's original ids; see `scores`."""
        info, size = self.info, self.info.input_size
        with inference_mode(network):
            plan = compile_network(network, (self.batch, *size, 3), mean=info.mean, scale=info.scale)
        pictures = np.zeros((self.batch, *size, 3), np.uint8)
        entries: list[dict[str, Any]] = []
        for start in range(0, self.count, self.batch):
            indices = range(start, min(start + self.batch, self.count))
            placed: list[tuple[int, Letterbox]] = []
            for index in indices:
                image = self._picture(index)
                if image is not None:
                    letterbox = Letterbox(image.shape[:2], size)
                    letterbox.apply(image, pictures[len(placed)])
                    placed.append((index, letterbox))
            found = self.codec.decode(
                plan.forward(pictures), 0.0, self.max_people,
                threshold=self.threshold, min_keypoints=self.min_keypoints,
            )  # fmt: skip
            for (index, letterbox), poses in zip(placed, found, strict=False):
                entries += self._entries(index, letterbox, poses)
            if progress:
                progress(start + len(indices), self.count)
        return entries

    def _picture(self, index: int) -> NDArray[np.uint8] | None:
        """The picture; None where it cannot be read."""
        file = self.dataset.records[index].file
        if file in self.failed:
            return None
        try:
            return self.dataset[index].image
        except VisionKitError as error:
            if not self.skip_bad:
                raise
            self.failed[file] = error
            return None

    def _entries(self, index: int, letterbox: Letterbox, found: Poses) -> list[dict[str, Any]]:
        (vertical, horizontal), (top, left) = letterbox.scale, letterbox.pad
        there = found.moved(
            (1 / horizontal, 1 / vertical), (-left / horizontal, -top / vertical), letterbox.image_size
        )
        category = self.ground_truth["categories"][0]["id"]
        return there.to_coco(self.dataset.image_ids[index], category)


def as_one_category(document: Mapping[str, Any]) -> dict[str, Any]:
    """A COCO document whose categories with keypoints are one; those without are left out.

    Raises:
        DataError: no category has keypoints.
    """
    posed = [category for category in document["categories"] if category.get("keypoints")]
    if not posed:
        raise DataError(
            "no category has keypoints",
            place="categories",
            remedy="is it a file of boxes? The keypoints of COCO are in person_keypoints_*.json",
        )
    first, known = posed[0], {category["id"] for category in posed}
    annotations = [
        {**row, "category_id": first["id"]} for row in document["annotations"] if row["category_id"] in known
    ]
    name = " or ".join(str(category["name"]) for category in posed)
    return {**document, "categories": [{**first, "name": name}], "annotations": annotations}
