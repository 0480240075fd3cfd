"""Scoring a pose network on a data set: letterbox, decode, map back, OKS by pycocotools."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..errors import DataError, UsageError
from ..vision.fields import FieldCodec
from ..vision.letterbox import Letterbox
from ..vision.protocols import Maps
from .keypoints import evaluate_keypoints
from .pose_info import PoseInfo
from .scores import Scores
from .validation import DataValidation


class PoseValidation(DataValidation):
    """Scores a network of many people; as a trainer's `validation` it gives COCO's ten numbers by name.

    A pose network does not tell categories apart, so those that have the points are scored as one.

    Args:
        dataset: has the network's points.
        info: the network's description.
        batch, skip_bad, cache: see `DataValidation`.
        threshold: least height of a peak. OKS rewards long lists, hence a low one.
        max_people: at most so many a picture; COCO's rules count 20.
        min_keypoints: poses with fewer points are dropped.

    Raises:
        DataError: there is no picture, or there are no points.
        UsageError: a network for one person.
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
        cache: bool = True,
    ) -> None:
        super().__init__(dataset, info, batch=batch, skip_bad=skip_bad, cache=cache)
        codec = info.codec()
        if not isinstance(codec, FieldCodec):
            raise UsageError("a network for one person is scored on crops", value=info.architecture)
        self.info, self.codec = info, codec
        self.threshold, self.max_people, self.min_keypoints = threshold, max_people, min_keypoints
        self.ground_truth = as_one_category(dataset.to_coco())

    def on(self, dataset: DetectionDataset, *, skip_bad: bool) -> "PoseValidation":
        """The same network on other data."""
        return PoseValidation(dataset, self.info, batch=self.batch, skip_bad=skip_bad)

    def read(self, index: int) -> tuple[NDArray[np.uint8], Letterbox]:
        """The letterboxed picture."""
        image = self.dataset[index].image
        letterbox = Letterbox(image.shape[:2], self.info.input_size)
        return letterbox.apply(image), letterbox

    def found(self, maps: Maps, placed: Sequence[tuple[int, Letterbox]]) -> list[dict[str, Any]]:
        """Poses in pixels of their pictures."""
        found = self.codec.decode(
            maps, 0.0, self.max_people, threshold=self.threshold, min_keypoints=self.min_keypoints
        )
        category = self.ground_truth["categories"][0]["id"]
        entries = []
        for (index, letterbox), poses in zip(placed, found, strict=False):
            (vertical, horizontal), (top, left) = letterbox.scale, letterbox.pad
            scale, shift = (1 / horizontal, 1 / vertical), (-left / horizontal, -top / vertical)
            there = poses.moved(scale, shift, letterbox.image_size)
            entries += there.to_coco(self.dataset.image_ids[index], category)
        return entries

    def evaluate(self, entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Scores:
        """COCO's scores of keypoints, with the tolerances of the network's skeleton."""
        sigmas = self.info.skeleton.sigmas
        return evaluate_keypoints(self.ground_truth, entries, sigmas=sigmas, image_ids=image_ids)


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
