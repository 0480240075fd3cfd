"""What trainings on pictures have in common: a loader, two scores, and what a resumed run must keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.dataset import DetectionDataset
from ..data.loader import Loader, Recipe
from ..nn import Module
from .description import Description
from .progress import Progress
from .settings import Settings
from .trainer import Trainer
from .validation import DataValidation, ValidationAndTraining


@dataclass(frozen=True, slots=True)
class DataSettings:
    """How training pictures come about.

    Attributes:
        batch: pictures a step.
        seed: of order and augmentation.
        augment: the recipe; None: the one that suits the task.
        sizes: input sizes to change between, for multi-scale training; empty trains at the detector's.
        workers: threads that prepare batches; any number gives the same bits.
        skip_bad: leave out pictures that cannot be read, of the validation too, instead of stopping; they
            are noted among the problems of their data set.
    """

    batch: int = 16
    seed: int = 0
    augment: Recipe | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    workers: int = 1
    skip_bad: bool = False


#: Sixteen pictures a step, augmented as the task has it.
USUAL = DataSettings()


def data_trainer(
    what: str,
    network: Module,
    info: Description,
    train: DetectionDataset,
    scoring: DataValidation,
    folder: Path | str,
    settings: Settings,
    data: DataSettings,
    *,
    progress: Progress | None,
    config: Mapping[str, Mapping[str, Any]] | None,
    train_ap: bool,
    items: DetectionDataset | None = None,
) -> Trainer:
    """A trainer of what `what` says, for a described network on a data set; see `detector_trainer`.

    `items` are what the network sees one by one, where that is not the pictures of `train`.
    """
    loader = Loader(
        items or train,
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
        what: {k: v for k, v in info.to_metadata({}).items() if k not in ("licence", "training")},
        "data": {"train": train.hash(), "validation": scoring.dataset.hash(), "images": len(train)},
        "batches": {
            "batch": data.batch,
            "seed": data.seed,
            "sizes": [list(size) for size in data.sizes],
            "augment": repr(data.augment),
            "skip_bad": data.skip_bad,
        },
        "train_ap": train_ap,
    }
    both = ValidationAndTraining(scoring, train, skip_bad=data.skip_bad) if train_ap else None

    def scores(network: Module) -> dict[str, float | None]:
        found = (both or scoring)(network)
        train.note_unreadable(loader.failed | (both.training.failed if both else {}))
        scoring.dataset.note_unreadable(scoring.failed)
        for part, dataset in (("train", train), ("val", scoring.dataset)):
            if len(dataset.problems):
                dataset.problems.report(Path(folder) / f"problems-{part}.json")
        return found

    def metadata(summary: dict[str, Any]) -> dict[str, str]:
        return info.to_metadata({k: v for k, v in summary.items() if k != what})

    return Trainer(
        network,
        info.criterion(),
        loader,
        folder,
        settings,
        validation=scores,
        mean=info.mean,
        scale=info.scale,
        metadata=metadata,
        identity=identity,
        config=config,
        progress=progress,
    )
