"""Average precision by pycocotools, and by nothing else: one number that everybody can compare.

Detections are checked first, ids are renumbered from 1 (an annotation with id 0 counts as missed
otherwise), and pycocotools' own prints are silenced.
"""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..weights.files import StrPath
from .detections import FAR, Entry, check_detections, read_detections
from .diagnosis import diagnose

#: The twelve numbers of COCO's bbox evaluation, in pycocotools' order. AP50: IoU .5 alone; s, m, l: areas
#: below 32², up to 96², above; AR1, AR10, AR100: recall with that many detections per image.
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

GroundTruth = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: its name, original category id, boxes to find, and AP, AP50, AR100 (None: no box)."""

    name: str
    category_id: int
    boxes: int
    AP: float | None
    AP50: float | None
    AR100: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of an evaluation.

    Attributes:
        values: the twelve numbers by name, 0..1; None where there is no box to find.
        classes: the scores of each class, in the order of category ids.
        images: pictures evaluated.
        boxes: boxes to find (crowds left out).
        detections: detections given.
        notes: what a reader should know: warnings, and the diagnosis where AP is about 0.
        precision: (10, 101, K) precision at the ten IoU thresholds, 101 recalls, K classes; -1 no box.
    """

    values: dict[str, float | None]
    classes: tuple[ClassScores, ...]
    images: int
    boxes: int
    detections: int
    notes: tuple[str, ...]
    precision: NDArray[np.float64]

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, ready for JSON."""
        return {
            **self.values,
            "images": self.images,
            "boxes": self.boxes,
            "detections": self.detections,
            "classes": [
                {"name": c.name, "category_id": c.category_id, "boxes": c.boxes, "AP": c.AP, "AP50": c.AP50,
                 "AR100": c.AR100} for c in self.classes
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def table(self) -> str:
        """The twelve numbers, the classes and the notes as text."""
        lines = [" ".join(f"{name:>5}" for name in NAMES)]
        lines.append(" ".join(f"{_shown(self.values[name]):>5}" for name in NAMES))
        if len(self.classes) > 1:
            width = max(len(c.name) for c in self.classes)
            lines += ["", f"{'class':<{width}} {'boxes':>7} {'AP':>5} {'AP50':>5}"]
            lines += [
                f"{c.name:<{width}} {c.boxes:>7} {_shown(c.AP):>5} {_shown(c.AP50):>5}" for c in self.classes
            ]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def evaluate(
    ground_truth: GroundTruth,
    detections: Sequence[Entry] | StrPath,
    *,
    image_ids: Sequence[int] | None = None,
) -> Scores:
    """Score detections against ground truth with pycocotools' bbox evaluation.

    Args:
        ground_truth: a COCO annotation object: `images`, `annotations`, `categories`. Left unchanged.
        detections: entries in COCO's results format with the original ids, or the file that holds them.
        image_ids: evaluate these images only; detections elsewhere are left out, and counted in a note.

    Raises:
        DataError: a key is missing, or a detection or box is unusable; the message names the entry.
    """
    file = None
    if not isinstance(detections, Sequence) or isinstance(detections, str):
        file = detections
        detections = read_detections(file)
    images, annotations, categories = _parts(ground_truth)
    notes = list(check_detections(detections, images, categories, file=file))
    if image_ids is not None:
        wanted = set(image_ids)
        given = len(detections)
        images = {key: image for key, image in images.items() if key in wanted}
        annotations = [a for a in annotations if a["image_id"] in wanted]
        detections = [d for d in detections if d["image_id"] in wanted]
        if given > len(detections):
            notes.append(f"{given - len(detections)} detections lie on images outside the evaluation")
    ignored = sum(bool(a.get("ignore")) and not a.get("iscrowd") for a in annotations)
    if ignored:
        notes.append(
            f"the key `ignore` of {ignored} annotations has no effect; pycocotools looks at `iscrowd`"
        )
    boxes = sum(not a.get("iscrowd") for a in annotations)
    if not boxes:
        notes.append("no ground truth: there is no box to find, so nothing can be scored")
    result = _run(images, annotations, categories, detections)
    values = {name: _number(value) for name, value in zip(NAMES, result.stats, strict=True)}
    if boxes and not (values["AP50"] or 0) > 0.01:
        notes += diagnose(images, annotations, categories, detections)
    return Scores(
        values=values,
        classes=tuple(_per_class(result, annotations, categories)),
        images=len(images),
        boxes=boxes,
        detections=len(detections),
        notes=tuple(notes),
        precision=result.eval["precision"][:, :, :, 0, 2],
    )


def match_classes(names: Sequence[str], categories: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """The category id of each class of a network, matched by name; None where the data has none such."""
    ids = {str(category["name"]): int(category["id"]) for category in categories}
    return [ids.get(name) for name in names]


def _parts(
    ground_truth: GroundTruth,
) -> tuple[dict[int, Entry], list[dict[str, Any]], dict[int, Entry]]:
    """Images by id, annotations renumbered from 1, categories by id."""
    for key in ("images", "categories"):
        if key not in ground_truth:
            raise DataError(f"missing key `{key}`", value=sorted(ground_truth))
    images = {image["id"]: image for image in ground_truth["images"]}
    categories = {category["id"]: category for category in ground_truth["categories"]}
    annotations = []
    for index, source in enumerate(ground_truth.get("annotations", ())):
        place = f"annotations[{index}]"
        box = source.get("bbox")
        if (
            not isinstance(box, list | tuple)
            or len(box) != 4
            or not all(isinstance(v, int | float) and math.isfinite(v) and abs(v) < FAR for v in box)
        ):
            raise DataError("expected four finite numbers", place=f"{place}.bbox", value=box)
        if source.get("image_id") not in images or source.get("category_id") not in categories:
            value = (source.get("image_id"), source.get("category_id"))
            raise DataError("unknown image or category", place=place, value=value)
        annotations.append(
            {
                "id": index + 1,
                "image_id": source["image_id"],
                "category_id": source["category_id"],
                "bbox": list(box),
                "area": source.get("area", box[2] * box[3]),
                "iscrowd": int(source.get("iscrowd", 0)),
                "ignore": source.get("ignore", 0),
            }
        )
    return images, annotations, categories


def _run(
    images: Mapping[int, Entry],
    annotations: Sequence[Entry],
    categories: Mapping[int, Entry],
    detections: Sequence[Entry],
) -> Any:
    """pycocotools' COCOeval after evaluate, accumulate and summarize, without its prints."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = [
        {
            "id": number,
            "image_id": d["image_id"],
            "category_id": d["category_id"],
            "bbox": list(d["bbox"]),
            "score": d["score"],
            "area": d["bbox"][2] * d["bbox"][3],
            "iscrowd": 0,
        }
        for number, d in enumerate(detections, 1)
    ]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for entries in ([dict(a) for a in annotations], found):
            side = COCO()
            side.dataset = {
                "images": [{"id": key} for key in images],
                "categories": [{"id": key} for key in categories],
                "annotations": entries,
            }
            side.createIndex()
            sides.append(side)
        result = COCOeval(*sides, iouType="bbox")
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def _per_class(
    result: Any, annotations: Sequence[Entry], categories: Mapping[int, Entry]
) -> list[ClassScores]:
    scores = []
    for k, category in enumerate(map(int, result.params.catIds)):
        precision = result.eval["precision"][:, :, k, 0, 2]
        recall = result.eval["recall"][:, k, 0, 2]
        scores.append(
            ClassScores(
                name=str(categories[category].get("name", category)),
                category_id=category,
                boxes=sum(a["category_id"] == category and not a["iscrowd"] for a in annotations),
                AP=_number(_mean(precision)),
                AP50=_number(_mean(precision[0])),
                AR100=_number(_mean(recall)),
            )
        )
    return scores


def _mean(values: NDArray[np.float64]) -> float:
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _number(value: float) -> float | None:
    return None if value < 0 else float(value)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
