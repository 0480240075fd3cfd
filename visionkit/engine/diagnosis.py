"""Why is AP zero? Every answer is a test on the data itself, tried and counted.

The measure is recall: the share of what is to be found that some detection of the same image covers (IoU or
OKS > .5), classes left aside. If a change of the detections (read them as x1, y1, x2, y2; scale them; move
them to the next image) lifts it from next to nothing, that change is the likely cause.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Entry = Mapping[str, Any]
Boxes = NDArray[np.float64]
Grouped = Mapping[int, Sequence[Entry]]
#: The detections of an image as they would be: from the image's id and its entries.
Change = Callable[[int, Sequence[Entry]], Sequence[Entry]]

#: Recall that a change must reach, and the factor by which it must beat the detections as they are.
CONVINCING, TIMES = 0.3, 3.0
_MOST_IMAGES = 200


class Measure(Protocol):
    """What is compared: boxes or keypoints; `noun` says it in the plural."""

    noun: str

    def overlap(self, wanted: Sequence[Entry], found: Sequence[Entry]) -> NDArray[np.float64]:
        """(N, M) IoU or OKS."""

    def changes(
        self, images: Mapping[int, Entry], truth: Grouped, found: Grouped, keys: Sequence[int]
    ) -> list[tuple[str, Change]]:
        """What may have gone wrong, and what undoes it."""


def diagnose(
    images: Mapping[int, Entry],
    annotations: Sequence[Entry],
    categories: Mapping[int, Entry],
    detections: Sequence[Entry],
    measure: Measure | None = None,
) -> list[str]:
    """Sentences that name the likely cause of an AP of zero, the most likely first.

    Args:
        images, categories: by id.
        annotations, detections: COCO entries with known ids and finite numbers; the annotations are those
            that are to be found.
        measure: boxes if not given.
    """
    measure = measure or BoxMeasure()
    noun = measure.noun
    if not detections:
        return ["AP is 0 because there are no detections at all; is the confidence threshold too high?"]
    truth, found = by_image(annotations), by_image(detections)
    shared = [key for key in truth if key in found][:_MOST_IMAGES]
    if not shared:
        return [
            f"AP is 0 because no image has both {noun} and detections: the {len(truth)} annotated images and "
            f"the {len(found)} images with detections are disjoint; are the image ids of another file?"
            + _shifted(measure, images, truth, found)
        ]
    plain = _recall(measure, truth, found, shared)
    if plain >= CONVINCING:
        return [_classes(measure, truth, found, shared, categories, plain)]
    better = []
    for cause, change in measure.changes(images, truth, found, shared):
        recall = _recall(measure, truth, {key: change(key, found[key]) for key in shared}, shared)
        if recall >= CONVINCING and recall > TIMES * plain:
            better.append((recall, cause))
    notes = [
        f"AP is about 0, but {100 * recall:.0f} % of the {noun} would be covered "
        f"(now {100 * plain:.0f} %) if {cause}"
        for recall, cause in sorted(better, key=lambda pair: -round(pair[0], 2))[:2]  # stable
    ]
    if not notes and (text := _shifted(measure, images, truth, found, plain)):
        notes = [f"AP is about 0{text}"]
    if not notes:
        best = max(d["score"] for d in detections)
        notes = [
            f"AP is about 0: {100 * plain:.0f} % of the {noun} are covered by a detection of any class, and "
            f"no change of format, scale or id explains it (best score {best:.3g}); the network has not "
            "learned these objects, or was trained on others"
        ]
    return notes


def by_image(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    """The entries of each image, in their order."""
    grouped: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        grouped[entry["image_id"]].append(entry)
    return dict(grouped)


class BoxMeasure:
    """IoU of `bbox`."""

    noun = "boxes"

    def overlap(self, wanted: Sequence[Entry], found: Sequence[Entry]) -> Boxes:
        """(N, M) IoU; boxes without area have none."""
        a, b = _boxes(wanted), _boxes(found)
        first = np.maximum(a[:, None, :2], b[None, :, :2])
        last = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
        inner = np.clip(last - first, 0, None).prod(-1)
        areas = [np.clip(boxes[:, 2:], 0, None).prod(-1) for boxes in (a, b)]
        outer = areas[0][:, None] + areas[1][None] - inner
        return np.divide(inner, outer, out=np.zeros_like(inner), where=outer > 0)

    def changes(
        self, images: Mapping[int, Entry], truth: Grouped, found: Grouped, keys: Sequence[int]
    ) -> list[tuple[str, Change]]:
        """Other orders of the four numbers, and other units."""
        changes: list[tuple[str, Callable[[int, Boxes], Boxes]]] = [
            (
                "the detections were x1, y1, x2, y2 instead of x, y, width, height",
                lambda _, b: np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], 1),
            ),
            (
                "the detections were centre x, centre y, width, height",
                lambda _, b: np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], 1),
            ),
            ("x and y were swapped in the detections", lambda _, b: b[:, [1, 0, 3, 2]]),
        ]
        if sized(images, keys):
            changes.append((RELATIVE, lambda key, b: b * np.tile(pixels(images[key]), 2)))
        scale = _scale(truth, found, keys)
        if scale is not None:
            changes.append((scaled_by(scale), lambda _, b: b * np.tile(scale, 2)))
        return [(cause, _on_boxes(change)) for cause, change in changes]


RELATIVE = "the detections were relative to the image (0..1) instead of in pixels"


def scaled_by(scale: NDArray[np.float64]) -> str:
    """The cause that detections are in other pixels."""
    return (
        f"the detections were scaled by {scale[0]:.3g} in x and {scale[1]:.3g} in y "
        "(are they in pixels of the network's input?)"
    )


def sized(images: Mapping[int, Entry], keys: Sequence[int]) -> bool:
    """Whether all these images say their size."""
    return all(images[key].get("width") and images[key].get("height") for key in keys)


def pixels(image: Entry) -> NDArray[np.float64]:
    """(width, height)."""
    return np.array([image["width"], image["height"]], np.float64)


def _on_boxes(change: Callable[[int, Boxes], Boxes]) -> Change:
    def changed(key: int, entries: Sequence[Entry]) -> list[Entry]:
        boxes = change(key, _boxes(entries))
        return [{**entry, "bbox": box} for entry, box in zip(entries, boxes, strict=True)]

    return changed


def _boxes(entries: Sequence[Entry]) -> Boxes:
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)


def _scale(truth: Grouped, found: Grouped, keys: Sequence[int]) -> Boxes | None:
    """The median ratio of box sizes, ground truth over the best detections, as (x, y)."""
    ratios = []
    for key in keys:
        wanted = _boxes(truth[key])
        ranked = sorted(found[key], key=lambda entry: -entry["score"])[: len(wanted)]
        boxes = _boxes(ranked)
        if (boxes[:, 2:] > 0).all():
            ratios.append(np.median(wanted[:, 2:], 0) / np.median(boxes[:, 2:], 0))
    return np.median(ratios, 0) if ratios else None


def _recall(measure: Measure, truth: Grouped, found: Grouped, keys: Sequence[int]) -> float:
    covered = total = 0
    for key in keys:
        total += len(truth[key])
        if found.get(key):
            covered += int((measure.overlap(truth[key], found[key]) > 0.5).any(1).sum())
    return covered / max(total, 1)


def _classes(
    measure: Measure,
    truth: Grouped,
    found: Grouped,
    keys: Sequence[int],
    categories: Mapping[int, Entry],
    recall: float,
) -> str:
    """The places are right: which class says the detector where the truth says which?"""
    pairs: Counter[tuple[int, int]] = Counter()
    for key in keys:
        overlap = measure.overlap(truth[key], found[key])
        for row, annotation in zip(overlap, truth[key], strict=True):
            if row.max() > 0.5:
                pairs[found[key][int(row.argmax())]["category_id"], annotation["category_id"]] += 1

    def name(category: int) -> str:
        return f"{category} ({categories[category].get('name', '?')})"

    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    if sum(count for _, count in wrong) * 2 < sum(pairs.values()):
        return (
            f"AP is about 0 although {100 * recall:.0f} % of the {measure.noun} are covered with the right "
            "class; do false detections outrank the true ones (scores inverted)?"
        )
    listed = ", ".join(
        f"{name(said)} where it is {name(true)} ({count} x)" for (said, true), count in wrong[:3]
    )
    shifts = Counter(true - said for (said, true), count in wrong for _ in range(count))
    shift, count = shifts.most_common(1)[0]
    hint = (
        f"; the category ids look shifted by {shift}" if 2 * count > shifts.total() and len(wrong) > 1 else ""
    )
    return (
        f"AP is about 0, but {100 * recall:.0f} % of the {measure.noun} are covered when classes are left "
        f"aside: the detections say {listed}{hint}; is the class list another one?"
    )


def _shifted(
    measure: Measure,
    images: Mapping[int, Entry],
    truth: Grouped,
    found: Grouped,
    plain: float = 0.0,
) -> str:
    """Do the detections fit the images next to theirs, in the order of ids?"""
    order = sorted(images)
    for step in (1, -1):
        moved = {
            order[i + step]: found[key]
            for i, key in enumerate(order)
            if key in found and 0 <= i + step < len(order)
        }
        keys = [key for key in truth if key in moved][:_MOST_IMAGES]
        recall = _recall(measure, truth, moved, keys) if keys else 0.0
        if recall >= CONVINCING and recall > TIMES * plain:
            return (
                f"; {100 * recall:.0f} % of the {measure.noun} would be covered if the detections "
                f"belonged to the {'next' if step == 1 else 'previous'} image: are the image ids off by one?"
            )
    return ""
