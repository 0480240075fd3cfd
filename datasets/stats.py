"""What a detection data set looks like, in numbers."""

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionkit.data.dataset import DetectionDataset

_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
_AREAS = (("small", 0.0, 32.0**2), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, np.inf))


def statistics(dataset: DetectionDataset) -> dict[str, Any]:
    """Counts and distributions, ready for JSON; no picture is read.

    Sizes are pixels of the pictures as they are; `quantiles` are at 0, 5, 25, 50, 75, 95 and 100 %.
    Small, medium and large are COCO's: below 32², below 96², above, by the area of the box.
    """
    records = dataset.records
    boxes = np.concatenate([record.boxes for record in records]) if records else np.empty((0, 4), np.float32)
    class_id = np.concatenate([record.class_id for record in records]) if records else np.empty(0, np.int64)
    crowd = np.concatenate([record.crowd for record in records]) if records else np.empty(0, bool)
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    area = sides.prod(axis=1)
    per_image = np.array([len(record.boxes) for record in records])
    classes = []
    for position, name in enumerate(dataset.names):
        mine = class_id == position
        images = sum(bool((record.class_id == position).any()) for record in records)
        classes.append(
            {
                "name": name,
                "category_id": dataset.category_ids[position],
                "boxes": int(mine.sum()),
                "crowds": int((mine & crowd).sum()),
                "images": images,
                "median_size": [float(v) for v in np.median(sides[mine], axis=0)] if mine.any() else None,
            }
        )
    return {
        "images": len(records),
        "boxes": len(boxes),
        "crowds": int(crowd.sum()),
        "images_without_boxes": int((per_image == 0).sum()),
        "quantiles": list(_QUANTILES),
        "boxes_per_image": _spread(per_image),
        "image_height": _spread(np.array([record.size[0] for record in records])),
        "image_width": _spread(np.array([record.size[1] for record in records])),
        "box_width": _spread(sides[:, 0]),
        "box_height": _spread(sides[:, 1]),
        "box_aspect": _spread(sides[:, 0] / np.maximum(sides[:, 1], 1e-9)),
        "areas": {name: int(((area >= low) & (area < high)).sum()) for name, low, high in _AREAS},
        "classes": classes,
        "problems": dataset.problems.counts(),
    }


def table(stats: dict[str, Any]) -> str:
    """The result of `statistics` as text for a terminal."""
    areas = ", ".join(f"{count:,} {name}" for name, count in stats["areas"].items())
    lines = [
        f"{stats['images']:,} images ({stats['images_without_boxes']:,} without boxes), "
        f"{stats['boxes']:,} boxes ({stats['crowds']:,} crowds): {areas}",
        "",
        f"{'':16}" + "".join(f"{f'{q:.0%}':>9}" for q in stats["quantiles"]),
    ]
    for key in ("boxes_per_image", "image_width", "image_height", "box_width", "box_height", "box_aspect"):
        values = "".join(f"{value:9.4g}" for value in stats[key])
        lines.append(f"{key.replace('_', ' '):16}{values}")
    lines += ["", f"{'class':24}{'id':>8}{'boxes':>9}{'images':>9}{'crowds':>8}  median size"]
    for row in stats["classes"]:
        size = "x".join(f"{v:.0f}" for v in row["median_size"]) if row["median_size"] else "n/a"
        counts = f"{row['category_id']:>8}{row['boxes']:>9,}{row['images']:>9,}{row['crowds']:>8,}"
        lines.append(f"{_printable(row['name'], 23):24}{counts}  {size}")
    if stats["problems"]:
        lines += ["", "problems: " + ", ".join(f"{n:,} {kind}" for kind, n in stats["problems"].items())]
    return "\n".join(lines)


def _spread(values: NDArray[Any]) -> list[float]:
    return [float(v) for v in np.quantile(values, _QUANTILES)] if len(values) else []


def _printable(name: str, limit: int) -> str:
    """A name from a file, safe for a terminal: no control characters, cut to `limit`."""
    clean = "".join(c if unicodedata.category(c)[0] != "C" else "?" for c in name)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
