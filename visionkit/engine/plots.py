"""Pictures of a run: losses, scores, learning rate, update ratios over the epochs."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..weights.files import atomic_write, make_folder

Row = Mapping[str, float | int | None]

#: Columns that are no curve of their own.
_COUNTERS = ("epoch", "step")
#: What is measured on training data stands dotted beside the same of the validation data.
_TRAINING = "train/"
_TITLES = {
    "loss": "loss", "ap": "average precision", "ar": "average recall", "lr": "learning rate",
    "updates": "update ratio (log)",
}  # fmt: skip


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write the plots of a run as PNG into `folder`, which is made.

    Losses, precisions, recalls and update ratios share a picture each; any other metric has its own.

    Raises:
        FileError: the folder or a picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plots: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in _COUNTERS and any(row.get(name) is not None for row in rows):
            plots.setdefault(_plot(name.removeprefix(_TRAINING)), []).append(name)
    make_folder(folder)
    for plot, names in plots.items():
        figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        curves(axes, rows, names)
        axes.set(
            title=_TITLES.get(plot, plot), xlabel="epoch", yscale="log" if plot == "updates" else "linear"
        )
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize="small")
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        atomic_write(folder / f"{plot}.png", picture.getvalue())


def curves(axes: Any, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Draw columns of `rows` over the epochs; `train/NAME` is dotted, in the colour of NAME."""
    bases = list(dict.fromkeys(name.removeprefix(_TRAINING) for name in names))
    for name in names:
        points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
        axes.plot(
            *zip(*points, strict=True),
            marker="." if len(points) < 40 else None,
            linestyle=":" if name.startswith(_TRAINING) else "-",
            color=f"C{bases.index(name.removeprefix(_TRAINING)) % 10}",
            label=name,
        )


def _plot(name: str) -> str:
    """The plot that a column belongs to: the stem of its file."""
    if name == "loss" or name.startswith("loss/"):
        return "loss"
    if name.startswith("update/"):
        return "updates"
    if match := re.fullmatch(r"(AP|AR)[0-9sml]*", name):
        return match[1].lower()
    return re.sub(r"[^\w.-]", "-", name)
