"""Scoring a pose network on a data set: pictures or crops in, poses back in pixels, OKS by pycocotools."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..data.person_crops import PersonCrops
from ..errors import DataError, UsageError
from ..graph import Plan
from ..vision.affine import Matrix, crop_matrix, invert, move_points, warp_affine
from ..vision.fields import FieldCodec, average_flipped_maps
from ..vision.heatmaps import HeatmapCodec
from ..vision.letterbox import Letterbox
from ..vision.poses import Poses
from ..vision.protocols import Maps
from .keypoints import evaluate_keypoints
from .point_errors import LENGTHS
from .point_scores import score_points
from .pose_info import PoseInfo
from .scores import Scores
from .validation import DataValidation


class KeypointValidation(DataValidation):
    """What `PoseValidation` and `CropValidation` have in common; arguments as of `DataValidation`.

    A pose network does not tell categories apart, so those that have the points are scored as one. With
    `flip` its maps are averaged with those of the mirrored input.

    Raises:
        DataError: there is no picture, or the data has not the network's points.
    """

    def __init__(
        self, dataset: DetectionDataset, info: PoseInfo, *, batch: int, skip_bad: bool, cache: bool,
        flip: bool, items: DetectionDataset | None = None,
    ) -> None:  # fmt: skip
        super().__init__(dataset, info, batch=batch, skip_bad=skip_bad, cache=cache, items=items)
        self.info, self.flip = info, flip
        self.ground_truth = as_one_category(dataset.to_coco())
        self.category_id = self.ground_truth["categories"][0]["id"]
        names = self.ground_truth["categories"][0]["keypoints"]
        if tuple(names) != info.skeleton.keypoints:
            known = ", ".join(info.skeleton.keypoints)
            raise DataError(
                "the data has other points than the network", file=dataset.problems.file, value=names,
                remedy=f"the network has {known}; train one for these points, or start from its --weights",
            )  # fmt: skip

    @abstractmethod
    def matrix(self, index: int) -> Matrix:
        """The map from the picture to input `index`."""

    @abstractmethod
    def decode(self, maps: Maps) -> list[Poses]:
        """The poses of every input, in pixels of the input."""

    def maps(self, plan: Plan, inputs: NDArray[np.uint8]) -> Maps:
        """The last stage's maps of a batch of inputs."""
        last = slice(-len(self.info.channels), None)
        if not self.flip:
            return plan.forward(inputs)[last]
        seen = [m.copy() for m in plan.forward(inputs)[last]]  # the plan's memory serves the mirror image too
        mirrored = plan.forward(np.ascontiguousarray(inputs[:, :, ::-1]))[last]
        return average_flipped_maps(seen, mirrored, self.info.skeleton)

    def found(self, maps: Maps, placed: Sequence[tuple[int, Matrix]]) -> list[dict[str, Any]]:
        """Poses in pixels of their pictures."""
        entries = []
        for (index, matrix), poses in zip(placed, self.decode(maps), strict=False):
            record = self.items.records[index]
            xy = move_points(invert(matrix), poses.xy)
            there = replace(poses, xy=xy.astype(np.float32), image_size=record.size)
            entries += there.to_coco(record.image_id, self.category_id)
        return entries

    def evaluate(self, entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Scores:
        """COCO's scores of keypoints, with the tolerances of the network's skeleton."""
        sigmas = self.info.skeleton.sigmas
        return evaluate_keypoints(self.ground_truth, entries, sigmas=sigmas, image_ids=image_ids)


class PoseValidation(KeypointValidation):
    """Scores a network of many people; as a trainer's `validation` it gives COCO's ten numbers by name.

    Args:
        dataset: has the network's points.
        info: the network's description.
        batch, skip_bad, cache: see `DataValidation`.
        flip: see above.
        threshold: least height of a peak. OKS rewards long lists, hence a low one.
        max_people: at most so many a picture; COCO's rules count 20.
        min_keypoints: poses with fewer points are dropped.

    Raises:
        DataError: there is no picture, or the data has not the network's points.
        UsageError: a network for one person.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        info: PoseInfo,
        *,
        batch: int = 8,
        threshold: float = 0.05,
        max_people: int = 20,
        min_keypoints: int = 2,
        flip: bool = False,
        skip_bad: bool = False,
        cache: bool = True,
    ) -> None:
        super().__init__(dataset, info, batch=batch, skip_bad=skip_bad, cache=cache, flip=flip)
        codec = info.codec()
        if not isinstance(codec, FieldCodec):
            raise UsageError("a network for one person is scored on crops", value=info.architecture)
        self.codec = codec
        self.threshold, self.max_people, self.min_keypoints = threshold, max_people, min_keypoints

    def on(self, dataset: DetectionDataset, *, skip_bad: bool) -> "PoseValidation":
        """The same network on other data."""
        return PoseValidation(dataset, self.info, batch=self.batch, flip=self.flip, skip_bad=skip_bad)

    def matrix(self, index: int) -> Matrix:
        """That of the letterbox."""
        return Letterbox(self.dataset.records[index].size, self.info.input_size).matrix

    def read(self, index: int) -> tuple[NDArray[np.uint8], Matrix]:
        """The letterboxed picture."""
        image = self.dataset[index].image
        letterbox = Letterbox(image.shape[:2], self.info.input_size)
        return letterbox.apply(image), letterbox.matrix

    def decode(self, maps: Maps) -> list[Poses]:
        """The people of every picture, at most `max_people`, with all their points: OKS asks for them."""
        return self.codec.decode(
            maps, 0.0, self.max_people, threshold=self.threshold, min_keypoints=self.min_keypoints,
            complete=True,
        )  # fmt: skip


class CropValidation(KeypointValidation):
    """Scores a network of one person on the boxes of the ground truth, so free of a detector's faults.

    As a trainer's `validation` it gives COCO's ten numbers by name and, where the points have a torso, PCK:
    the share of labelled points that are found within a fifth of it.

    Args:
        dataset: has the network's points.
        info: the network's description.
        batch, skip_bad, cache: see `DataValidation`; crops at a time.
        flip: see above.
        threshold: least height of a peak. Low, for OKS and PCK ask for every point.

    Raises:
        DataError: there is no labelled person, or the data has not the network's points.
        UsageError: a network for many people.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        info: PoseInfo,
        *,
        batch: int = 16,
        threshold: float = 0.01,
        flip: bool = False,
        skip_bad: bool = False,
        cache: bool = True,
    ) -> None:
        self.crops = PersonCrops(dataset, info.input_size, padding=info.padding)
        super().__init__(
            dataset, info, batch=batch, skip_bad=skip_bad, cache=cache, flip=flip, items=self.crops
        )
        codec = info.codec()
        if not isinstance(codec, HeatmapCodec):
            raise UsageError("a network for many people is scored on pictures", value=info.architecture)
        self.codec, self.threshold = codec, threshold
        self._torso = all(name in info.skeleton.keypoints for ends in LENGTHS["torso"] for name in ends)

    def on(self, dataset: DetectionDataset, *, skip_bad: bool) -> "CropValidation":
        """The same network on other data."""
        return CropValidation(dataset, self.info, batch=self.batch, flip=self.flip, skip_bad=skip_bad)

    def evaluate(self, entries: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Scores:
        """COCO's scores of keypoints, and PCK."""
        scores = super().evaluate(entries, image_ids)
        if not self._torso:
            return scores
        pck = score_points(self.ground_truth, entries, "pck", image_ids=image_ids)["PCK"]
        return replace(scores, values=scores.values | {"PCK": pck})

    def matrix(self, index: int) -> Matrix:
        """That of the crop about the box, as far as it lies in the picture."""
        return crop_matrix(self._box(index), self.info.input_size, self.info.padding)

    def read(self, index: int) -> tuple[NDArray[np.uint8], Matrix]:
        """The person's crop."""
        sample, matrix = self.crops[index], self.matrix(index)
        corner = self._box(index)[:2] - sample.boxes[0, :2]  # of the cutout that the sample shows
        inside = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ corner])
        return warp_affine(sample.image, inside, self.info.input_size), matrix

    def decode(self, maps: Maps) -> list[Poses]:
        """The person of every crop."""
        return self.codec.decode(maps, self.threshold)

    def _box(self, index: int) -> NDArray[np.float32]:
        record = self.crops.records[index]
        return np.clip(record.boxes[0], 0, np.array([*record.size[::-1]] * 2, np.float32))


def pose_validation(
    dataset: DetectionDataset, info: PoseInfo, *, flip: bool = False, skip_bad: bool = False
) -> PoseValidation | CropValidation:
    """How a network is scored: one of many people on pictures, one of one person on crops."""
    kind = PoseValidation if info.people == "many" else CropValidation
    return kind(dataset, info, flip=flip, skip_bad=skip_bad)


def as_one_category(document: Mapping[str, Any]) -> dict[str, Any]:
    """A COCO document whose categories with keypoints are one, without limbs; the others are left out.

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
    merged = {key: value for key, value in first.items() if key != "skeleton"}  # scores need no limbs
    return {**document, "categories": [{**merged, "name": name}], "annotations": annotations}
