"""Landmarks of faces: the loss and the scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import DetectionDataset
from ..data.pose_transforms import PersonAugment
from ..graph import compile as compile_network
from ..nn import Module
from ..tensor import Tensor
from ..vision.skeleton import Skeleton
from .point_errors import auc, length_of, nme, object_errors, pck, point_errors
from .validation import inference_mode

Floats = NDArray[np.float64]
Size = tuple[int, int]


class LandmarkCriterion:
    """Squared distances of points from where they should be, the mean over points and faces (FLM-05).

    Args:
        skeleton: the points.
        reference: a length of the face whose square the distances are divided by, see `point_errors.LENGTHS`;
            None leaves them in parts of the crop. Faces where it is unknown do not count.
        least: a shorter reference, in parts of the crop, counts as this: a profile is no better than others.
    """

    def __init__(
        self, skeleton: Skeleton, reference: str | None = "inter-ocular", least: float = 0.2
    ) -> None:
        self.skeleton, self.reference, self.least = skeleton, reference, least

    def targets(self, batch: Any) -> tuple[Floats, Floats]:
        """(B, 2 K) points in parts of the crop and their weights, for the first face of every picture."""
        points = len(self.skeleton)
        faces = np.zeros((len(batch.images), points, 3))
        for face, given in zip(faces, batch.keypoints, strict=True):
            face[...] = given[0] if len(given) else 0
        xy = faces[..., :2] / np.array(batch.images.shape[2:0:-1])
        known = faces[..., 2] > 0
        weights = known / max(known.sum(), 1)
        if self.reference:
            length = length_of(self.reference, self.skeleton, xy, known)
            weights *= np.nan_to_num(np.maximum(length, self.least) ** -2)[:, None]
        return xy.reshape(len(xy), -1), np.repeat(weights, 2, axis=1)

    def __call__(self, maps: Sequence[Tensor], batch: Any) -> Mapping[str, Tensor]:
        """The loss `points` of points (B, 2 K), for the tape."""
        wanted, weights = (array.astype(maps[0].dtype) for array in self.targets(batch))
        return {"points": ((maps[0] - wanted) ** 2 * weights).sum()}


class LandmarkValidation:
    """Scores a network of landmarks; as a trainer's `validation` it gives NME, AUC and FR by name.

    Args:
        crops: a set of one face an item, such as `PersonCrops`.
        size: (height, width) of the network's input.
        padding, mean, scale: of the crops and of the input, as in training.
        reference, threshold: see `score_points`.
    """

    def __init__(
        self, crops: DetectionDataset, size: Size, *, padding: float, mean: float, scale: float,
        reference: str = "inter-ocular", threshold: float = 0.1,
    ) -> None:  # fmt: skip
        assert crops.skeleton is not None
        still = PersonAugment.still(crops.skeleton, padding)
        samples = [still([crops[i]], size, np.random.default_rng(0)) for i in range(len(crops))]
        self.images = np.stack([sample.image for sample in samples])
        self.truth = np.stack([sample.keypoints[0] for sample in samples if sample.keypoints is not None])
        self.skeleton, self.mean, self.scale = crops.skeleton, mean, scale
        self.reference, self.threshold = reference, threshold

    def __call__(self, network: Module) -> dict[str, float | None]:
        """The numbers of the network's present weights."""
        with inference_mode(network):
            (points,) = run(network, self.images, self.mean, self.scale)
        return self.score(points)

    def score(self, points: NDArray[np.floating[Any]]) -> dict[str, float | None]:
        """The numbers of points (N, 2 K), in parts of the crops."""
        found = points.reshape(len(points), -1, 2) * np.array(self.images.shape[2:0:-1])
        labelled = self.truth[..., 2] > 0
        length = length_of(self.reference, self.skeleton, self.truth[..., :2], labelled)
        errors = point_errors(found, self.truth[..., :2], labelled, length)
        means = object_errors(errors)
        known = means[~np.isnan(means)]
        return {
            "NME": nme(errors), "AUC": auc(means, self.threshold), "FR": 1 - pck(known, self.threshold)
        }  # fmt: skip


def run(
    network: Any, images: NDArray[np.uint8], mean: float, scale: float
) -> tuple[NDArray[np.float32], ...]:
    """Whatever `network` makes of pictures (N, H, W, 3), in runs of at most 100."""
    batch = min(100, len(images))
    plan = compile_network(network, (batch, *images.shape[1:]), mean=mean, scale=scale)
    parts = []
    for i in range(0, len(images), batch):
        part = images[i : i + batch]
        given = np.concatenate([part, np.zeros((batch - len(part), *images.shape[1:]), np.uint8)])
        parts.append([m[: len(part)].copy() for m in plan.forward(given)])
    return tuple(np.concatenate(maps) for maps in zip(*parts, strict=True))
