"""What an evaluation by pycocotools gives: the numbers by name, those of each class, and notes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class: its name, original category id, how many boxes there are to find, and AP, AP50, AR.

    AR is recall with as many detections a picture as count: 100 boxes, or 20 people with keypoints. The
    three are None where there is nothing to find.
    """

    name: str
    category_id: int
    boxes: int
    AP: float | None
    AP50: float | None
    AR: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of an evaluation.

    Attributes:
        values: the numbers by name, 0..1: twelve of boxes, ten of keypoints; None: nothing to find.
        classes: the scores of each class, in the order of category ids.
        images: pictures evaluated.
        boxes: boxes to find (crowds left out; for keypoints also objects without a labelled point).
        detections: detections given.
        notes: what a reader should know: warnings, and the diagnosis where AP is about 0.
        precision: (10, 101, K) precision at ten thresholds of IoU or OKS, 101 recalls, K classes; -1: none.
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

    def noting(self, notes: Iterable[str]) -> "Scores":
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, ready for JSON."""
        return {
            **self.values,
            "images": self.images,
            "boxes": self.boxes,
            "detections": self.detections,
            "classes": [
                {"name": c.name, "category_id": c.category_id, "boxes": c.boxes, "AP": c.AP, "AP50": c.AP50,
                 "AR": c.AR} for c in self.classes
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def table(self) -> str:
        """The numbers, the classes and the notes as text."""
        lines = [" ".join(f"{name:>5}" for name in self.values)]
        lines.append(" ".join(f"{shown_score(value):>5}" for value in self.values.values()))
        if len(self.classes) > 1:
            width = max(len(c.name) for c in self.classes)
            lines += ["", f"{'class':<{width}} {'boxes':>7} {'AP':>5} {'AP50':>5}"]
            lines += [
                f"{c.name:<{width}} {c.boxes:>7} {shown_score(c.AP):>5} {shown_score(c.AP50):>5}"
                for c in self.classes
            ]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def shown_score(value: float | None) -> str:
    """A score for a table."""
    return "n/a" if value is None else f"{value:.3f}"
