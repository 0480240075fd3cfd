"""`visionkit train`: train a detector on the user's data, or go on with a run that was stopped."""

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import DataError, FileError, UsageError
from visionkit.io.files import read_bytes

from .dataset import mention_problems, open_dataset
from .detector import describe, use_threads
from .terminal import say

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.info import DetectorInfo
    from visionkit.nn import Module

_PATHS = ("train_json", "train_images", "val_json", "val_images", "train", "val")
_KEPT = (*_PATHS, "model", "weights", "freeze", "size", "epochs", "batch", "lr", "assignment", "augment",
         "seed", "skip_bad", "no_train_ap")  # fmt: skip
_EPOCHS, _BATCH = 100, 16


def run(args: argparse.Namespace) -> int:
    """Train to the end of the last epoch; the run folder's absolute path is the last line printed."""
    use_threads(args)
    if args.resume:
        _restore(args)
    elif not args.out:
        raise UsageError("where to? give --out, the folder of the run")
    folder = Path(args.resume or args.out).absolute()
    sets = [
        open_dataset(
            getattr(args, f"{part}_json"), getattr(args, f"{part}_images"), getattr(args, part),
            (f"--{part}-json", f"--{part}-images", f"--{part}"), split=part, skip_bad=args.skip_bad,
        ) for part in ("train", "val")
    ]  # fmt: skip
    for dataset in sets:
        mention_problems(dataset)
    sets[0].require_boxes()
    summary = _fit(args, sets[0], sets[1], folder)
    best = "" if summary.best is None else f"best AP {summary.best:.4f} in epoch {summary.best_epoch}"
    print(best or "no score: the validation data has no boxes")
    print(folder)
    return 0


def _fit(
    args: argparse.Namespace, train: "DetectionDataset", validation: "DetectionDataset", folder: Path
) -> Any:
    from visionkit.data.transforms import CELLS, Augment
    from visionkit.engine.data_trainer import DataSettings
    from visionkit.engine.detector import detector_trainer
    from visionkit.engine.progress import Console
    from visionkit.engine.settings import Settings

    progress = Console()
    seed = args.seed or 0
    network, info = _network(args, train, seed, progress)
    options = {"lr": args.lr, "freeze": (args.freeze,) if args.freeze else None}
    given = {name: value for name, value in options.items() if value is not None}
    trainer = detector_trainer(
        network,
        info,
        train,
        validation,
        folder,
        Settings(epochs=args.epochs or _EPOCHS, **given),
        DataSettings(
            batch=args.batch or min(_BATCH, len(train)),
            seed=seed,
            augment=CELLS if args.augment == "cells" else Augment(),
            skip_bad=args.skip_bad,
        ),
        progress=progress,
        config={"arguments": _arguments(args)},
        train_ap=not args.no_train_ap,
    )
    progress.message(f"{info.architecture} at {info.input_size[0]}x{info.input_size[1]}, {len(train)} images")
    given_images = [len(dataset) + _left_out(dataset) for dataset in (train, validation)]
    done = trainer.fit(resume=bool(args.resume), override=args.override, strict=args.strict_resume)
    for verb, dataset, count in zip(("trained", "scored"), (train, validation), given_images, strict=True):
        if left_out := _left_out(dataset):
            print(f"{verb} on {count - left_out:,} of {count:,} images")
    return done


def _left_out(dataset: "DetectionDataset") -> int:
    """How many pictures `--skip-bad` cost: dropped by the reader, or found damaged when they were decoded."""
    return sum(p.kind.startswith("picture") and p.severity == "dropped" for p in dataset.problems)


def _network(
    args: argparse.Namespace, train: "DetectionDataset", seed: int, progress: Any
) -> "tuple[Module, DetectorInfo]":
    """The network to begin with and its description, for the classes of the data."""
    from visionkit.models.zoo import card, fine_tuned

    info = describe(train, args.model, args.weights, size=args.size, assignment=args.assignment)
    if not args.weights:
        return card(info.architecture).network(len(info.names), seed), info
    network, _, transfer = fine_tuned(args.weights, train.names, train.category_ids, seed)
    progress.message(transfer.explain())
    return network, info


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    """What `--resume` needs to know, with absolute paths."""
    kept = {name: getattr(args, name) for name in _KEPT}
    for name in _PATHS:
        if kept[name]:
            kept[name] = str(Path(kept[name]).absolute())
    if kept["weights"] and Path(kept["weights"]).suffix:
        kept["weights"] = str(Path(kept["weights"]).absolute())
    return kept


def _restore(args: argparse.Namespace) -> None:
    """Fill in from the run's config.toml what the user did not give anew.

    Raises:
        FileError: no run was started there.
        DataError: its configuration cannot be read.
    """
    if args.out:
        raise UsageError("--resume goes on in its own folder; leave out --out")
    path = Path(args.resume) / "config.toml"
    if not path.is_file():
        raise FileError("no run to resume: there is no config.toml", file=args.resume)
    try:
        stored = tomllib.loads(read_bytes(path, 1_000_000).decode())["arguments"]
        items = {name: stored[name] for name in _KEPT if name in stored}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DataError(f"damaged: {error}", file=path) from None
    for name, value in items.items():
        if getattr(args, name) in (None, False):
            setattr(args, name, tuple(value) if name == "size" else value)
    say(f"going on with {Path(args.resume).absolute()}")
