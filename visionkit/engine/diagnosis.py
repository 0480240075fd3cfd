"""Why is AP zero? Every answer is a test on the data itself, tried and counted.

The measure is recall: the share of boxes to find that some detection of the same image covers with
IoU > .5, classes left aside. If a change of the detections (read them as x1, y1, x2, y2; scale them; move
them to the next image) lifts it from next to nothing, that change is the likely cause.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Entry = Mapping[str, Any]
Boxes = NDArray[np.float64]

#: Recall that a change must reach, and the factor by which it must beat the detections as they are.
CONVINCING, TIMES = 0.3, 3.0
_MOST_IMAGES = 200


def diagnose(
    images: Mapping[int, Entry],
    annotations: Sequence[Entry],
    categories: Mapping[int, Entry],
    detections: Sequence[Entry],
) -> list[str]:
    """Sentences that name the likely cause of an AP of zero, the most likely first.

    Args:
        images, categories: by id.
        annotations, detections: COCO entries with known ids and finite boxes.
    """
    if not detections:
        return ["AP is 0 because there are no detections at all; is the confidence threshold too high?"]
    truth = _by_image([a for a in annotations if not a["iscrowd"]])
    found = _by_image(detections)
    shared = [key for key in truth if key in found][:_MOST_IMAGES]
    if not shared:
        return [
            f"AP is 0 because no image has both boxes and detections: the {len(truth)} annotated images and "
            f"the {len(found)} images with detections are disjoint; are the image ids of another file?"
            + _shifted(images, truth, found)
        ]
    plain = _recall(truth, found, shared)
    if plain >= CONVINCING:
        return [_classes(truth, found, shared, categories, plain)]
    better = []
    for cause, change in _changes(images, truth, found, shared):
        changed = {key: _with(found[key], change(key, _boxes(found[key]))) for key in shared}
        recall = _recall(truth, changed, shared)
        if recall >= CONVINCING and recall > TIMES * plain:
            better.append((recall, cause))
    notes = [
        f"AP is about 0, but {100 * recall:.0f} % of the boxes would be covered "
        f"(now {100 * plain:.0f} %) if {cause}"
        for recall, cause in sorted(better, key=lambda pair: -round(pair[0], 2))[:2]  # stable
    ]
    if not notes and (text := _shifted(images, truth, found, plain)):
        notes = [f"AP is about 0{text}"]
    if not notes:
        best = max(d["score"] for d in detections)
        notes = [
            f"AP is about 0: {100 * plain:.0f} % of the boxes are covered by a detection of any class, and "
            f"no change of format, scale or id explains it (best score {best:.3g}); the network has not "
            "learned these objects, or was trained on others"
        ]
    return notes


def _by_image(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    grouped: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        grouped[entry["image_id"]].append(entry)
    return dict(grouped)


def _boxes(entries: Sequence[Entry]) -> Boxes:
    return np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)


def _with(entries: Sequence[Entry], boxes: Boxes) -> list[Entry]:
    return [{**entry, "bbox": box} for entry, box in zip(entries, boxes, strict=True)]


def _iou(a: Boxes, b: Boxes) -> Boxes:
    """IoU of (N, 4) and (M, 4) xywh boxes; those without area have none."""
    first = np.maximum(a[:, None, :2], b[None, :, :2])
    last = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    inner = np.clip(last - first, 0, None).prod(-1)
    outer = np.clip(a[:, 2:], 0, None).prod(-1)[:, None] + np.clip(b[:, 2:], 0, None).prod(-1)[None] - inner
    return np.divide(inner, outer, out=np.zeros_like(inner), where=outer > 0)


def _recall(
    truth: Mapping[int, Sequence[Entry]], found: Mapping[int, Sequence[Entry]], keys: Sequence[int]
) -> float:
    covered = total = 0
    for key in keys:
        wanted = _boxes(truth[key])
        total += len(wanted)
        if key in found:
            covered += int((_iou(wanted, _boxes(found[key])) > 0.5).any(1).sum())
    return covered / max(total, 1)


def _changes(
    images: Mapping[int, Entry],
    truth: Mapping[int, Sequence[Entry]],
    found: Mapping[int, Sequence[Entry]],
    keys: Sequence[int],
) -> list[tuple[str, Callable[[int, Boxes], Boxes]]]:
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
    if all(images[key].get("width") and images[key].get("height") for key in keys):

        def pixels(key: int, boxes: Boxes) -> Boxes:
            size = [images[key]["width"], images[key]["height"]]
            return boxes * np.array(size * 2, np.float64)

        changes.append(("the detections were relative to the image (0..1) instead of in pixels", pixels))
    scale = _scale(truth, found, keys)
    if scale is not None:
        changes.append(
            (
                f"the detections were scaled by {scale[0]:.3g} in x and {scale[1]:.3g} in y "
                "(are they in pixels of the network's input?)",
                lambda _, b: b * np.array([*scale, *scale]),
            )
        )
    return changes


def _scale(
    truth: Mapping[int, Sequence[Entry]], found: Mapping[int, Sequence[Entry]], keys: Sequence[int]
) -> Boxes | None:
    """The median ratio of box sizes, ground truth over the best detections, as (x, y)."""
    ratios = []
    for key in keys:
        wanted = _boxes(truth[key])
        ranked = sorted(found[key], key=lambda entry: -entry["score"])[: len(wanted)]
        boxes = _boxes(ranked)
        if (boxes[:, 2:] > 0).all():
            ratios.append(np.median(wanted[:, 2:], 0) / np.median(boxes[:, 2:], 0))
    return np.median(ratios, 0) if ratios else None


def _classes(
    truth: Mapping[int, Sequence[Entry]],
    found: Mapping[int, Sequence[Entry]],
    keys: Sequence[int],
    categories: Mapping[int, Entry],
    recall: float,
) -> str:
    """The boxes are right: which class says the detector where the truth says which?"""
    pairs: Counter[tuple[int, int]] = Counter()
    for key in keys:
        overlap = _iou(_boxes(truth[key]), _boxes(found[key]))
        for row, annotation in zip(overlap, truth[key], strict=True):
            if row.max() > 0.5:
                pairs[found[key][int(row.argmax())]["category_id"], annotation["category_id"]] += 1

    def name(category: int) -> str:
        return f"{category} ({categories[category].get('name', '?')})"

    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    if sum(count for _, count in wrong) * 2 < sum(pairs.values()):
        return (
            f"AP is about 0 although {100 * recall:.0f} % of the boxes are covered with the right class; "
            "do false detections outrank the true ones (scores inverted)?"
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
        f"AP is about 0, but {100 * recall:.0f} % of the boxes are covered when classes are left aside: the "
        f"detections say {listed}{hint}; is the class list another one?"
    )


def _shifted(
    images: Mapping[int, Entry],
    truth: Mapping[int, Sequence[Entry]],
    found: Mapping[int, Sequence[Entry]],
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
        recall = _recall(truth, moved, keys) if keys else 0.0
        if recall >= CONVINCING and recall > TIMES * plain:
            return (
                f"; {100 * recall:.0f} % of the boxes would be covered if the detections belonged to the "
                f"{'next' if step == 1 else 'previous'} image: are the image ids off by one?"
            )
    return ""
