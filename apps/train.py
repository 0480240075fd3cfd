"""`visionkit train`: train a detector or a pose network on the user's data, or go on with a run."""

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import DataError, FileError, UsageError
from visionkit.weights.files import read_bytes

from .dataset import mention_problems, open_dataset
from .detector import describe, describe_poses, use_threads
from .terminal import say

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.info import DetectorInfo
    from visionkit.engine.pose_info import PoseInfo
    from visionkit.engine.settings import Settings
    from visionkit.engine.trainer import Trainer
    from visionkit.nn import Module

_PATHS = ("train_json", "train_images", "val_json", "val_images", "train", "val")
_KEPT = (*_PATHS, "model", "weights", "backbone", "freeze", "size", "epochs", "batch", "lr", "assignment",
         "augment", "precision", "seed", "skip_bad", "no_train_ap")  # fmt: skip
_EPOCHS, _BATCH = 100, 16


def run(args: argparse.Namespace) -> int:
    """Train to the end of the last epoch; the run folder's absolute path is the last line printed."""
    use_threads(args)
    if args.resume:
        _restore(args)
    elif not args.out:
        raise UsageError("where to? give --out, the folder of the run")
    folder = Path(args.resume or args.out).absolute()
    from visionkit.models.zoo import task

    poses = task(args.model, args.weights) == "pose"
    if args.backbone and args.weights:
        raise UsageError("--backbone and --weights exclude each other: weights bring their own")
    sets = [
        open_dataset(
            getattr(args, f"{part}_json"), getattr(args, f"{part}_images"), getattr(args, part),
            (f"--{part}-json", f"--{part}-images", f"--{part}"), split=part, skip_bad=args.skip_bad,
            keypoints=poses,
        ) for part in ("train", "val")
    ]  # fmt: skip
    for dataset in sets:
        mention_problems(dataset)
    summary = _fit(args, sets[0], sets[1], folder, poses)
    best = "" if summary.best is None else f"best AP {summary.best:.4f} in epoch {summary.best_epoch}"
    print(best or f"no score: the validation data has no {'labelled points' if poses else 'boxes'}")
    print(folder)
    return 0


def _fit(
    args: argparse.Namespace,
    train: "DetectionDataset",
    validation: "DetectionDataset",
    folder: Path,
    poses: bool,
) -> Any:
    from visionkit.engine.progress import Console

    progress = Console()
    trainer, info = (_poses if poses else _boxes)(args, train, validation, folder, progress)
    progress.message(f"{info.architecture} at {info.input_size[0]}x{info.input_size[1]}, {len(train)} images")
    given_images = [len(dataset) + _left_out(dataset) for dataset in (train, validation)]
    done = trainer.fit(resume=bool(args.resume), override=args.override, strict=args.strict_resume)
    for verb, dataset, count in zip(("trained", "scored"), (train, validation), given_images, strict=True):
        if left_out := _left_out(dataset):
            print(f"{verb} on {count - left_out:,} of {count:,} images")
    return done


def _boxes(
    args: argparse.Namespace,
    train: "DetectionDataset",
    validation: "DetectionDataset",
    folder: Path,
    progress: Any,
) -> "tuple[Trainer, DetectorInfo]":
    """The trainer of a detector."""
    from visionkit.data.transforms import CELLS
    from visionkit.engine.detector import detector_trainer

    train.require_boxes()
    network, info = _detector(args, train, progress)
    trainer = detector_trainer(
        network, info, train, validation, folder, _settings(args),
        _data(args, train, augment=CELLS if args.augment == "cells" else None),
        progress=progress, config={"arguments": _arguments(args)}, train_ap=not args.no_train_ap,
    )  # fmt: skip
    return trainer, info


def _poses(
    args: argparse.Namespace,
    train: "DetectionDataset",
    validation: "DetectionDataset",
    folder: Path,
    progress: Any,
) -> "tuple[Trainer, PoseInfo]":
    """The trainer of a pose network."""
    from visionkit.engine.pose import pose_trainer
    from visionkit.models.zoo import fine_tuned_pose, pose_card

    for name in ("assignment", "augment"):
        if getattr(args, name) not in (None, "default"):
            raise UsageError(f"--{name} is about detectors; a pose network has none", value=args.model)
    train.require_points()
    info = describe_poses(train, args.model, args.weights, size=args.size)
    card, seed = pose_card(info.architecture), args.seed or 0
    if args.weights:
        new = (train.skeleton, train.names, train.category_ids)
        network, _, transfer = fine_tuned_pose(args.weights, *new, seed)
        progress.message(transfer.explain())
    else:
        network = _new(args, card.network(info.channels, seed), progress)
    trainer = pose_trainer(
        network, info, train, validation, folder, _settings(args, card.lr), _data(args, train),
        progress=progress, config={"arguments": _arguments(args)}, train_ap=not args.no_train_ap,
    )  # fmt: skip
    return trainer, info


def _settings(args: argparse.Namespace, lr: float | None = None) -> "Settings":
    """The course of the training; `lr` where the user gave none."""
    from visionkit.engine.settings import Settings

    options = {
        "lr": args.lr or lr, "freeze": (args.freeze,) if args.freeze else None, "precision": args.precision,
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    return Settings(epochs=args.epochs or _EPOCHS, **given)


def _data(args: argparse.Namespace, train: "DetectionDataset", augment: Any = None) -> Any:
    """How training pictures come about."""
    from visionkit.engine.data_trainer import DataSettings

    batch = args.batch or min(_BATCH, len(train))
    return DataSettings(batch, args.seed or 0, augment, skip_bad=args.skip_bad)


def _left_out(dataset: "DetectionDataset") -> int:
    """How many pictures `--skip-bad` cost: dropped by the reader, or found damaged when they were decoded."""
    return sum(p.kind.startswith("picture") and p.severity == "dropped" for p in dataset.problems)


def _detector(
    args: argparse.Namespace, train: "DetectionDataset", progress: Any
) -> "tuple[Module, DetectorInfo]":
    """The network to begin with and its description, for the classes of the data."""
    from visionkit.models.zoo import card, fine_tuned

    seed = args.seed or 0
    info = describe(train, args.model, args.weights, size=args.size, assignment=args.assignment)
    if not args.weights:
        return _new(args, card(info.architecture).network(len(info.names), seed), progress), info
    network, _, transfer = fine_tuned(args.weights, train.names, train.category_ids, seed)
    progress.message(transfer.explain())
    return network, info


def _new(args: argparse.Namespace, network: "Module", progress: Any) -> "Module":
    """A new network, with the backbone that the user named."""
    from visionkit.models.zoo import take_backbone

    if args.backbone:
        progress.message(take_backbone(network, args.backbone).explain())
    return network


def _arguments(args: argparse.Namespace) -> dict[str, Any]:
    """What `--resume` needs to know, with absolute paths."""
    kept = {name: getattr(args, name) for name in _KEPT}
    for name in _PATHS:
        if kept[name]:
            kept[name] = str(Path(kept[name]).absolute())
    for name in ("weights", "backbone"):
        if kept[name] and Path(kept[name]).suffix:
            kept[name] = str(Path(kept[name]).absolute())
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
