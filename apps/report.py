"""The folder of `eval --report`: scores, detections, and the curves of precision over recall."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionkit.weights.files import atomic_write, make_folder

if TYPE_CHECKING:
    from visionkit.engine.scores import Scores

_CURVES = 20


def write_report(folder: Path, scores: "Scores", entries: Sequence[Any]) -> Path:
    """Write scores.json, detections.json (COCO results) and precision_recall.png.

    Returns:
        The folder's absolute path.

    Raises:
        FileError: the folder cannot be made or written.
    """
    folder = make_folder(folder)
    atomic_write(folder / "scores.json", json.dumps(scores.to_dict(), indent=1) + "\n")
    atomic_write(folder / "detections.json", json.dumps(list(entries)) + "\n")
    atomic_write(folder / "precision_recall.png", _curves(scores))
    return folder


def _curves(scores: "Scores") -> bytes:
    """Precision over recall at an IoU or OKS of 0.5, a line for each of the first classes, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    recall = np.linspace(0, 1, scores.precision.shape[1])
    for position, one in enumerate(scores.classes[:_CURVES]):
        if one.AP50 is not None:
            axes.plot(recall, scores.precision[0, :, position], label=f"{one.name} {one.AP50:.3f}")
    axes.set(title="precision over recall at 0.5", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
