"""`visionkit eval`: score a detector or a pose network, or a file of detections or keypoints."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import UsageError

from .dataset import from_data_flags, mention_problems
from .detector import open_predictor, use_threads
from .terminal import say

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.info import DetectorInfo
    from visionkit.engine.pose_info import PoseInfo
    from visionkit.engine.scores import Scores
    from visionkit.engine.validation import DataValidation

_BELOW = 1


def run(args: argparse.Namespace) -> int:
    """Score and print.

    Returns:
        0, or 1 where AP is below `--min-ap` or there is none.
    """
    if sum(map(bool, (args.weights, args.detections, args.keypoints))) != 1:
        raise UsageError("give one of --weights, --detections and --keypoints")
    _check_metric(args)
    poses = bool(args.weights) and _finds_poses(args.weights)
    if args.flip and not poses:
        raise UsageError("--flip needs the --weights of a pose network")
    dataset = from_data_flags(args, pictures=bool(args.weights), keypoints=poses)
    mention_problems(dataset)
    if args.metric not in (None, "oks"):
        return _score_distances(dataset, args)
    scores, entries = _score_network(dataset, args) if args.weights else _score_file(dataset, args)
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


def _check_metric(args: argparse.Namespace) -> None:
    """Refuse flags that would have no effect."""
    if args.metric and not args.keypoints:
        raise UsageError("--metric needs --keypoints")
    by_distance = args.metric not in (None, "oks")
    useless = ("report", "min_ap") if by_distance else ("reference", "threshold")
    for name in useless:
        if getattr(args, name) is not None:
            needed = "AP: --metric oks" if by_distance else "--metric pck, pckh or nme"
            raise UsageError(f"--{name.replace('_', '-')} needs {needed}")


def _score_distances(dataset: "DetectionDataset", args: argparse.Namespace) -> int:
    from visionkit.engine.point_scores import score_points

    how = {"reference": args.reference, "threshold": args.threshold}
    scores = score_points(dataset.to_coco(), args.keypoints, args.metric, **how)
    print(json.dumps(scores.to_dict()) if args.json else scores.table())
    return 0


def _score_file(
    dataset: "DetectionDataset", args: argparse.Namespace
) -> "tuple[Scores, list[dict[str, Any]]]":
    """The scores of a file, and its entries for the report."""
    from visionkit.engine.detections import read_detections
    from visionkit.engine.evaluator import evaluate
    from visionkit.engine.keypoints import evaluate_keypoints

    score = evaluate_keypoints if args.keypoints else evaluate
    path = args.keypoints or args.detections
    scores = score(dataset.to_coco(), path)
    return scores, [dict(entry) for entry in read_detections(path)] if args.report else []


def _score_network(
    dataset: "DetectionDataset", args: argparse.Namespace
) -> "tuple[Scores, list[dict[str, Any]]]":
    use_threads(args)
    predictor = open_predictor(args)
    validation = _validation(dataset, predictor.info, args)
    network, precision = predictor.network, predictor.precision
    entries = validation.detect(network, _progress, precision=precision, ranges=predictor.ranges)
    scores = validation.score(entries)
    if precision != "float32":
        exact = validation.score(validation.detect(network, _progress))
        scores = replace(scores, notes=(*scores.notes, _loss(precision, scores, exact)))
    return scores, entries


def _validation(
    dataset: "DetectionDataset", info: "DetectorInfo | PoseInfo", args: argparse.Namespace
) -> "DataValidation":
    """Of a detector; of many people on pictures, of one person on the boxes of the ground truth."""
    from visionkit.engine.pose_info import PoseInfo
    from visionkit.engine.pose_validation import pose_validation
    from visionkit.engine.validation import DetectionValidation

    info = replace(info, input_size=args.size or info.input_size)
    if isinstance(info, PoseInfo):
        found = pose_validation(dataset, info, flip=args.flip, skip_bad=args.skip_bad)
        say(f"points of {info.skeleton.name}, of {found.ground_truth['categories'][0]['name']}")
        return found
    scored = DetectionValidation(dataset, info, skip_bad=args.skip_bad)
    _tell_mapping(info.names, scored.category_ids)
    return scored


def _finds_poses(weights: str) -> bool:
    from visionkit.models.zoo import task

    return task(None, weights) == "pose"


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
