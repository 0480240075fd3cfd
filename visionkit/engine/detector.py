"""Training a detector: description, data and settings make a `Trainer`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import DetectionDataset
from ..data.transforms import Augment
from ..errors import DataError
from ..nn import Module
from ..vision.anchors import balanced, kmeans_anchors
from ..vision.letterbox import Letterbox
from .data_trainer import USUAL, DataSettings, data_trainer
from .info import Anchors, DetectorInfo
from .oracle import gate
from .progress import Progress, Silent
from .settings import Settings
from .trainer import Trainer
from .validation import DetectionValidation


def detector_trainer(
    network: Module,
    info: DetectorInfo,
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
    """A trainer for a detector; call `fit`.

    After each evaluation the problems of the data so far are in `problems-train.json` and `problems-val.json`
    of the run folder, where there are any.

    Args:
        network: its weights are the starting point.
        info: its description; the classes must be those of `train`, in order.
        train, validation: the data.
        folder: the run folder.
        settings: the course of the training.
        data: how training pictures come about.
        progress: who is told how it goes.
        config: further sections of config.toml.
        check: first measure the ceiling of the scores, and refuse what cannot succeed.
        train_ap: score a part of the training data too, as `train/AP` and `train/AP50`.

    Raises:
        DataError: the classes differ, there are no boxes, or the ceiling is too low; the message says why.
    """
    if tuple(train.names) != info.names:
        remedy = f"the data has {', '.join(train.names)}"
        raise DataError("the detector's classes are not the data's", value=info.names, remedy=remedy)
    progress = progress or Silent()
    for warning in gate(train, info) if check else ():
        progress.message(f"warning: {warning}")
    scoring = DetectionValidation(validation, info, skip_bad=data.skip_bad)
    return data_trainer(
        "detector", network, info, train, scoring, folder, settings,
        replace(data, augment=data.augment or Augment()), progress=progress, config=config, train_ap=train_ap,
    )  # fmt: skip


def fitted_anchors(
    dataset: DetectionDataset, input_size: tuple[int, int], levels: int, each: int, *, seed: int = 0
) -> Anchors:
    """Anchors for a data set: k-means on its boxes at the input size, every class weighing the same.

    Args:
        dataset: with boxes.
        input_size: (height, width).
        levels: of the detector.
        each: anchors a level.

    Raises:
        DataError: fewer different box sizes than anchors.
    """
    sizes, classes = [], []
    for record in dataset.records:
        scale = Letterbox(record.size, input_size).scale
        taught = ~record.crowd
        sizes.append((record.boxes[taught, 2:] - record.boxes[taught, :2]) * np.array(scale[::-1]))
        classes.append(record.class_id[taught])
    wh, class_id = np.concatenate(sizes), np.concatenate(classes)
    usable = wh.min(axis=1, initial=np.inf) >= 1
    rng = np.random.default_rng(seed)
    even = balanced(wh[usable], class_id[usable], 1000, rng)
    rows = kmeans_anchors(even, levels * each, rng).astype(float).round(1).tolist()
    return tuple(tuple((w, h) for w, h in rows[level * each : (level + 1) * each]) for level in range(levels))


def for_data(info: DetectorInfo, dataset: DetectionDataset, *, anchors: bool = True) -> DetectorInfo:
    """The description for the classes of a data set, with anchors made from its boxes unless not wanted."""
    info = info.with_classes(tuple(dataset.names), tuple(dataset.category_ids))
    if anchors:
        info = replace(
            info, anchors=fitted_anchors(dataset, info.input_size, len(info.strides), len(info.anchors[0]))
        )
    return info
