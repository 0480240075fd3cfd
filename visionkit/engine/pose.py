"""Training a pose network: description, data and settings make a `Trainer`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.dataset import DetectionDataset
from ..data.loader import Loader
from ..nn import Module
from .detector import DataSettings
from .pose_info import PoseInfo
from .pose_validation import PoseValidation
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
    data: DataSettings,
    *,
    progress: Progress | None = None,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Trainer:
    """A trainer for a pose network; call `fit`.

    Args:
        network: its weights are the starting point.
        info: its description; its points are those of the data.
        train, validation: the data, with keypoints.
        folder: the run folder.
        settings: the course of the training.
        data: how training pictures come about.
        progress: who is told how it goes.
        config: further sections of config.toml.
    """
    progress = progress or Silent()
    loader = Loader(
        train,
        data.batch,
        info.input_size,
        augment=data.augment,
        epochs=settings.epochs,
        seed=data.seed,
        sizes=data.sizes,
        workers=data.workers,
        skip_bad=data.skip_bad,
    )
    identity = {
        "pose": {k: v for k, v in info.to_metadata({}).items() if k not in ("licence", "training")},
        "data": {"train": train.hash(), "validation": validation.hash(), "images": len(train)},
        "batches": {
            "batch": data.batch,
            "seed": data.seed,
            "sizes": [list(size) for size in data.sizes],
            "augment": repr(data.augment),
            "skip_bad": data.skip_bad,
        },
    }
    scoring = PoseValidation(validation, info, skip_bad=data.skip_bad)

    def metadata(summary: dict[str, Any]) -> dict[str, str]:
        return info.to_metadata({k: v for k, v in summary.items() if k != "pose"})

    return Trainer(
        network,
        info.criterion(),
        loader,
        folder,
        settings,
        validation=scoring,
        mean=info.mean,
        scale=info.scale,
        metadata=metadata,
        identity=identity,
        config=config,
        progress=progress,
    )
