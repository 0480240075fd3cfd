"""`visionkit data check`: every finding about a data set, and the oracle that proves the way to its score."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from visionkit.data.problems import SHOWN, Problem, Problems, RefusedError
from visionkit.errors import DataError

from .dataset import from_data_flags

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.oracle import Ceiling

#: Below this ceiling of AP50 a data set deserves a second look.
DOUBTFUL = 0.9


def run(args: argparse.Namespace) -> int:
    """Check a data set; nothing of it is ever written.

    Returns:
        0; 3 where it cannot be trusted; 1 where even a perfect network would stay below AP50 0.9.
    """
    dataset, problems = _read(args)
    if args.problems:
        problems.report(args.problems)
    found = _ceiling(dataset, args) if args.oracle and dataset else None
    refused = bool(problems.of("error"))
    low = found is not None and found.AP50 < DOUBTFUL
    if args.json:
        print(json.dumps(_facts(dataset, problems, found)))
    else:
        _tell(dataset, problems)
        if found:
            print(f"\noracle: {found.explain()}\n{found.scores.table()}")
        print("\nrefused" if refused else f"\nthe ceiling of AP50 is below {DOUBTFUL}" if low else "\nok")
    return DataError.exit_code if refused else int(low)


def _read(args: argparse.Namespace) -> "tuple[DetectionDataset | None, Problems]":
    """The data set and its findings; None and the findings where it is refused."""
    try:
        dataset = from_data_flags(args, pictures=False, keypoints=_poses(args))
    except RefusedError as error:
        return None, error.problems
    return dataset, dataset.problems


def _ceiling(dataset: "DetectionDataset", args: argparse.Namespace) -> "Ceiling":
    """What the ground truth itself scores with the maps that training would use."""
    from visionkit.engine.oracle import ceiling
    from visionkit.engine.pose_oracle import pose_ceiling

    from .detector import describe, describe_poses

    if _poses(args):
        judged = describe_poses(dataset, args.model, args.weights, size=args.size)
        return pose_ceiling(dataset, judged, most=len(dataset))
    info = describe(dataset, args.model, args.weights, size=args.size, assignment=args.assignment)
    return ceiling(dataset, info, most=len(dataset))


def _poses(args: argparse.Namespace) -> bool:
    """Whether the oracle is about a network of poses."""
    from visionkit.models.zoo import task

    return bool(args.oracle) and task(args.model, args.weights) == "pose"


def _facts(
    dataset: "DetectionDataset | None", problems: Problems, oracle: "Ceiling | None"
) -> dict[str, Any]:
    return {
        "file": problems.file,
        "ok": not problems.of("error"),
        "images": len(dataset) if dataset else None,
        "boxes": sum(len(record.boxes) for record in dataset.records) if dataset else None,
        "counts": problems.counts(),
        "problems": [asdict(problem) for problem in problems],
        "oracle": {**oracle.scores.to_dict(), "lost": oracle.lost, "extra": oracle.extra} if oracle else None,
    }


def _tell(dataset: "DetectionDataset | None", problems: Problems) -> None:
    if dataset:
        boxes = sum(len(record.boxes) for record in dataset.records)
        print(f"{problems.file}: {len(dataset)} images, {boxes} boxes, {len(dataset.names)} classes")
    for severity, title in (("error", "errors"), ("dropped", "left out"), ("warning", "warnings")):
        found: Sequence[Problem] = problems.of(severity)  # type: ignore[arg-type]
        if found:
            print(f"\n{title}: {len(found)}")
            for problem in found[:SHOWN]:
                print(f"  {problem.kind}: {problem}")
            if len(found) > SHOWN:
                print(f"  and {len(found) - SHOWN} more (all of them: --problems FILE)")
    if len(problems):
        print(f"\n{problems.summary()}")
