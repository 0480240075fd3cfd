"""pycocotools behind one door: what it forgives is refused, what it prints is silenced, ids count from 1.

An annotation with id 0 counts as missed otherwise.
"""

import contextlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from .detections import FAR, Entry
from .scores import ClassScores, Scores

GroundTruth = Mapping[str, Any]

#: Below this AP50 is not bad luck: something is wrong, and a diagnosis is worth its time.
CONSPICUOUS = 0.01


@dataclass(frozen=True, slots=True)
class Truth:
    """A COCO annotation object, checked: images and categories by id, annotations numbered from 1."""

    images: dict[int, Entry]
    annotations: list[dict[str, Any]]
    categories: dict[int, Entry]

    @classmethod
    def of(cls, ground_truth: GroundTruth) -> "Truth":
        """Check a COCO annotation object, which is left unchanged.

        Raises:
            DataError: a key is missing, a box is not finite, or an annotation's image or category unknown.
        """
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
            filled = {
                "id": index + 1,
                "bbox": list(box),
                "area": source.get("area", box[2] * box[3]),
                "iscrowd": int(source.get("iscrowd", 0)),
                "ignore": source.get("ignore", 0),
            }
            annotations.append({**source, **filled})
        return cls(images, annotations, categories)

    def only(self, image_ids: Sequence[int] | None) -> "Truth":
        """The part on these images; None: all of it."""
        if image_ids is None:
            return self
        wanted = set(image_ids)
        images = {key: image for key, image in self.images.items() if key in wanted}
        return replace(
            self, images=images, annotations=[a for a in self.annotations if a["image_id"] in wanted]
        )

    def notes_on_ignore(self) -> list[str]:
        """A note if annotations have the key `ignore`, which pycocotools overwrites."""
        count = sum(bool(a["ignore"]) and not a["iscrowd"] for a in self.annotations)
        text = f"the key `ignore` of {count} annotations has no effect; pycocotools looks at `iscrowd`"
        return [text] if count else []


def detections_on(truth: Truth, detections: Sequence[Entry], notes: list[str]) -> list[Entry]:
    """The detections on the images of `truth`; those elsewhere are counted in a note."""
    kept = [d for d in detections if d["image_id"] in truth.images]
    if len(kept) < len(detections):
        notes.append(f"{len(detections) - len(kept)} detections lie on images outside the evaluation")
    return kept


def run_cocoeval(
    truth: Truth,
    detections: Sequence[Entry],
    names: Sequence[str],
    to_find: Callable[[Entry], bool],
    notes: Sequence[str],
    sigmas: Mapping[int, ArrayLike] | None = None,
) -> Scores:
    """COCOeval's evaluate, accumulate and summarize.

    Args:
        truth: what there is.
        detections: entries with `area`, and with `bbox` or `keypoints`.
        names: of the numbers that summarize gives.
        to_find: whether an annotation is one to be found.
        notes: what is known already.
        sigmas: by category, the tolerance of each point; None: boxes are compared.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = [{**d, "id": number, "iscrowd": 0} for number, d in enumerate(detections, 1)]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for entries in ([dict(a) for a in truth.annotations], found):
            side = COCO()
            side.dataset = {
                "images": [{"id": key} for key in truth.images],
                "categories": [{"id": key} for key in truth.categories],
                "annotations": entries,
            }
            side.createIndex()
            sides.append(side)
        result = COCOeval(*sides, iouType="bbox" if sigmas is None else "keypoints")
        if sigmas is not None:
            _give_sigmas(result, sigmas)
        result.evaluate()
        result.accumulate()
        result.summarize()
    wanted = [a for a in truth.annotations if to_find(a)]
    return Scores(
        values={name: _number(value) for name, value in zip(names, result.stats, strict=True)},
        classes=tuple(_per_class(result, wanted, truth.categories)),
        images=len(truth.images),
        boxes=len(wanted),
        detections=len(detections),
        notes=tuple(notes),
        precision=result.eval["precision"][:, :, :, 0, -1],
    )


def _give_sigmas(result: Any, sigmas: Mapping[int, ArrayLike]) -> None:
    """Each category's own tolerances; COCOeval knows one set, that of 17 points of people."""
    compute = result.computeOks

    def compute_oks(image: int, category: int) -> Any:
        result.params.kpt_oks_sigmas = np.asarray(sigmas[category], np.float64)
        return compute(image, category)

    result.computeOks = compute_oks


def _per_class(result: Any, wanted: Sequence[Entry], categories: Mapping[int, Entry]) -> list[ClassScores]:
    scores = []
    for k, category in enumerate(map(int, result.params.catIds)):
        precision = result.eval["precision"][:, :, k, 0, -1]
        recall = result.eval["recall"][:, k, 0, -1]
        scores.append(
            ClassScores(
                name=str(categories[category].get("name", category)),
                category_id=category,
                boxes=sum(a["category_id"] == category for a in wanted),
                AP=_number(_mean(precision)),
                AP50=_number(_mean(precision[0])),
                AR=_number(_mean(recall)),
            )
        )
    return scores


def _mean(values: NDArray[np.float64]) -> float:
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0


def _number(value: float) -> float | None:
    return None if value < 0 else float(value)
