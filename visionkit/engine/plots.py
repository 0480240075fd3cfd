"""Pictures of a run: losses, scores, learning rate, update ratios over the epochs."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..weights.files import atomic_write

Row = Mapping[str, float | int | None]

#: File name, title, and which columns belong to it.
_PLOTS = (
    ("loss.png", "loss", lambda name: name.startswith("loss/")),
    ("ap.png", "average precision", lambda name: name.startswith("AP")),
    ("lr.png", "learning rate", lambda name: name == "lr"),
    ("updates.png", "update ratio (log)", lambda name: name.startswith("update/")),
)


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write the plots of a run as PNG into `folder`, which is made."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(name for row in rows for name in row))
    folder.mkdir(exist_ok=True)
    for file, title, belongs in _PLOTS:
        names = [name for name in columns if belongs(name)]
        if not names:
            continue
        figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else None, label=name)
        axes.set(title=title, xlabel="epoch", yscale="log" if file == "updates.png" else "linear")
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize="small")
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        atomic_write(folder / file, picture.getvalue())
