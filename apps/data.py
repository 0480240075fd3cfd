"""`visionkit data`: check, stats, convert, split, anchors, show."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import DataError
from visionkit.weights.files import make_folder

from .dataset import from_data_flags, mention_problems
from .sources import Inputs

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset


def run(args: argparse.Namespace) -> int:
    """Do what the target says; `check` returns 3 where the data cannot be trusted."""
    from .check import run as check

    targets = {
        "check": check, "stats": _stats, "convert": _convert, "split": _split, "anchors": _anchors,
        "show": _show,
    }  # fmt: skip
    return targets[args.target](args)


def _stats(args: argparse.Namespace) -> int:
    from visionkit.datasets.stats import statistics, table

    stats = statistics(from_data_flags(args, pictures=False))
    print(json.dumps(stats) if args.json else table(stats))
    return 0


def _convert(args: argparse.Namespace) -> int:
    from visionkit.datasets.convert import convert

    dataset = from_data_flags(args)
    mention_problems(dataset)
    print(convert(dataset, args.to, args.out, split=args.split).absolute())
    return 0


def _split(args: argparse.Namespace) -> int:
    from visionkit.datasets.coco import write_coco
    from visionkit.datasets.split import split

    dataset = from_data_flags(args, pictures=False)
    mention_problems(dataset)
    parts = split(dataset.to_coco(), {"train": 1 - args.val, "val": args.val}, seed=args.seed)
    folder = make_folder(args.out)
    for name in parts:
        path = folder / f"{name}.json"
        if path.exists():
            raise DataError(
                "exists already; nothing is overwritten", file=path, remedy="choose another --out"
            )
    for name, document in parts.items():
        write_coco(folder / f"{name}.json", document)
        print(f"{name}: {len(document['images'])} images, {len(document['annotations'])} boxes")
    print(folder)
    return 0


def _anchors(args: argparse.Namespace) -> int:
    import numpy as np

    from visionkit.vision.anchors import balanced, kmeans_anchors, mean_best_iou

    wh, class_id = box_sizes(from_data_flags(args, pictures=False), args.size)
    rng = np.random.Generator(np.random.Philox(key=args.seed))
    anchors = kmeans_anchors(balanced(wh, class_id, 1000, rng) if args.balanced else wh, args.count, rng)
    quality = mean_best_iou(wh, anchors)
    if args.json:
        print(json.dumps({"size": args.size, "anchors": anchors.tolist(), "mean_best_iou": quality}))
    else:
        print("  ".join(f"{w:.0f}x{h:.0f}" for w, h in anchors))
        fit = f"mean best IoU {quality:.3f} over {len(wh)} boxes"
        print(f"width x height at {args.size[0]}x{args.size[1]}; {fit}")
    return 0


def _show(args: argparse.Namespace) -> int:
    import numpy as np

    from visionkit.io.draw import draw
    from visionkit.vision.results import Detections

    dataset = from_data_flags(args)
    mention_problems(dataset)
    folder = make_folder(args.out)
    for index in range(min(args.count, len(dataset))):
        sample = dataset[index]
        ones = np.ones(len(sample.boxes), np.float32)
        found = Detections(sample.boxes, ones, sample.class_id, dataset.names, sample.image.shape[:2])
        target = folder / f"{sample.image_id}-{Path(sample.file).stem}.jpg"
        Inputs([sample.file]).spare(target)
        draw(sample.image, found).save(target)
    print(folder)
    return 0


def box_sizes(dataset: "DetectionDataset", size: tuple[int, int]) -> tuple[Any, Any]:
    """(N, 2) sizes of all boxes, scaled as their pictures are to fit `size`, and their (N,) classes."""
    import numpy as np

    sizes: list[Any] = [np.zeros((0, 2))]
    classes: list[Any] = [np.zeros(0, np.int64)]
    for record in dataset.records:
        scale = min(size[0] / record.size[0], size[1] / record.size[1])
        boxes = record.boxes[~record.crowd]
        sizes.append((boxes[:, 2:] - boxes[:, :2]) * scale)
        classes.append(record.class_id[~record.crowd])
    return np.concatenate(sizes), np.concatenate(classes)
