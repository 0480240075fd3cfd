"""`visionkit eval`: score a detector, or a file of detections, with pycocotools."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import UsageError

from .dataset import from_data_flags, mention_problems
from .detector import open_detector, use_threads
from .terminal import say

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.scores import Scores

_BELOW = 1


def run(args: argparse.Namespace) -> int:
    """Score and print.

    Returns:
        0, or 1 where AP is below `--min-ap` or there is none.
    """
    if bool(args.weights) == bool(args.detections):
        raise UsageError("give either --weights or --detections")
    dataset = from_data_flags(args, pictures=bool(args.weights))
    mention_problems(dataset)
    scores, entries = _score_network(dataset, args) if args.weights else _score_file(dataset, args.detections)
    print(json.dumps(scores.to_dict()) if args.json else scores.table())
    if args.report:
        from .report import write_report

        folder = write_report(Path(args.report), scores, entries)
        (say if args.json else print)(str(folder))
    ap = scores["AP"]
    if args.min_ap is not None and (ap is None or ap < args.min_ap):
        shown = "n/a" if ap is None else f"{ap:.4f}"
        say(f"AP {shown} is below --min-ap {args.min_ap}")
        return _BELOW
    return 0


def _score_file(dataset: "DetectionDataset", path: str) -> "tuple[Scores, list[dict[str, Any]]]":
    from visionkit.engine.detections import check_detections, read_detections
    from visionkit.engine.evaluator import evaluate

    entries = [dict(entry) for entry in read_detections(path)]
    # checked here as well, for here the file's name is known
    check_detections(entries, dataset.image_ids, dataset.category_ids, file=path)
    return evaluate(dataset.to_coco(), entries), entries


def _score_network(
    dataset: "DetectionDataset", args: argparse.Namespace
) -> "tuple[Scores, list[dict[str, Any]]]":
    from visionkit.engine.validation import DetectionValidation

    use_threads(args)
    detector = open_detector(args)
    info = replace(detector.info, input_size=detector.size)
    validation = DetectionValidation(dataset, info, skip_bad=args.skip_bad)
    _tell_mapping(info.names, validation.category_ids)
    entries = validation.detect(
        detector.network, _progress, precision=detector.precision, ranges=detector.ranges
    )
    scores = validation.score(entries)
    if detector.precision != "float32":
        exact = validation.score(validation.detect(detector.network, _progress))
        scores = replace(scores, notes=(*scores.notes, _loss(detector.precision, scores, exact)))
    return scores, entries


def _loss(precision: str, scores: "Scores", exact: "Scores") -> str:
    """What a precision loses against float32, as a note."""
    lost = []
    for name in ("AP", "AP50", "AP75"):
        here, there = scores[name], exact[name]
        if here is not None and there is not None:
            lost.append(f"{name} {here:.4f} instead of {there:.4f}")
    return f"{precision} against float32: {', '.join(lost) or 'nothing to score'}"


def _tell_mapping(names: tuple[str, ...], category_ids: list[int | None]) -> None:
    """Which class of the detector is which category of the data: matched by name."""
    pairs = zip(names, category_ids, strict=True)
    shown = ", ".join(f"{name} -> {'left out' if number is None else number}" for name, number in pairs)
    say(f"classes: {shown}")


def _progress(done: int, total: int) -> None:
    if sys.stderr and sys.stderr.isatty():
        print(f"\r{done}/{total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)
