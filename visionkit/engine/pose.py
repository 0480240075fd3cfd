"""Training a pose network: description, data and settings make a `Trainer`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.dataset import DetectionDataset
from ..data.pose_transforms import PoseAugment
from ..nn import Module
from .data_trainer import USUAL, DataSettings, data_trainer
from .pose_info import PoseInfo
from .pose_validation import PoseValidation
from .progress import Progress
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
    train_ap: bool = True,
) -> Trainer:
    """A trainer for a pose network; call `fit`.

    Args:
        network: its weights are the starting point.
        info: its description; its points must be those of the data.
        train, validation: the data, with keypoints.
        folder: the run folder.
        settings: the course of the training.
        data: how training pictures come about.
        progress: who is told how it goes.
        config: further sections of config.toml.
        train_ap: score a part of the training data too, as `train/AP` and `train/AP50`.
    """
    scoring = PoseValidation(validation, info, skip_bad=data.skip_bad)
    augment = data.augment or PoseAugment(info.skeleton)
    return data_trainer(
        "pose", network, info, train, scoring, folder, settings, replace(data, augment=augment),
        progress=progress, config=config, train_ap=train_ap,
    )  # fmt: skip
