"""Training a pose network: description, data and settings make a `Trainer`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import DetectionDataset, Record
from ..data.loader import Recipe
from ..data.person_crops import PersonCrops
from ..data.pose_transforms import PersonAugment, PoseAugment
from ..nn import Module
from .data_trainer import USUAL, DataSettings, data_trainer
from .pose_info import PoseInfo
from .pose_oracle import pose_gate
from .pose_validation import pose_validation
from .progress import Progress, Silent
from .settings import Settings
from .trainer import Trainer


def pose_trainer(
    network: Module,
    info: PoseInfo,
    train: DetectionDataset,
    validation: DetectionDataset,
    folder: Path | str,
    settings: Settings,
    data: DataSettings = USUAL,
    *,
    progress: Progress | None = None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    check: bool = True,
    train_ap: bool = True,
) -> Trainer:
    """A trainer for a pose network; call `fit`.

    A network of one person is trained on crops of the labelled people and scored on the boxes of the ground
    truth. Otherwise everything is as with `detector_trainer`.

    Args:
        network: its weights are the starting point.
        info: its description; its points must be those of the data.
        train, validation: the data, with keypoints.
        folder: the run folder.
        settings: the course of the training.
        data: how training pictures come about.
        progress: who is told how it goes.
        config: further sections of config.toml.
        check: first measure the ceiling of the scores, and refuse what cannot succeed.
        train_ap: score a part of the training data too, as `train/AP` and `train/AP50`.

    Raises:
        DataError: nobody is labelled, the points are others, or the ceiling is too low; the message says why.
    """
    progress = progress or Silent()
    train.require_points()
    scoring = pose_validation(validation, info, skip_bad=data.skip_bad)
    for warning in pose_gate(train, info) if check else ():
        progress.message(f"warning: {warning}")
    items: DetectionDataset = posed(train)
    recipe: Recipe = PoseAugment(info.skeleton)
    if info.people == "one":
        items = PersonCrops(items, info.input_size, padding=info.padding)
        recipe = PersonAugment(info.skeleton, info.padding)
    return data_trainer(
        "pose", network, info, train, scoring, folder, settings,
        replace(data, augment=data.augment or recipe),
        progress=progress, config=config, train_ap=train_ap, items=items,
    )  # fmt: skip


def posed(dataset: DetectionDataset) -> DetectionDataset:
    """A data set without the objects of categories that have no points: to a pose network they are ground."""
    known = {c["id"] for c in dataset.to_coco()["categories"] if c.get("keypoints")}
    has_points = np.array([number in known for number in dataset.category_ids])
    if has_points.all():
        return dataset
    found = dataset.part(range(len(dataset)))
    found.records = tuple(_chosen(record, has_points[record.class_id]) for record in dataset.records)
    return found


def _chosen(record: Record, kept: Any) -> Record:
    points = None if record.keypoints is None else record.keypoints[kept]
    return replace(
        record,
        boxes=record.boxes[kept],
        class_id=record.class_id[kept],
        crowd=record.crowd[kept],
        keypoints=points,
    )
