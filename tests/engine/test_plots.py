"""Which curves a run is drawn as."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from visionkit.engine.plots import curves, draw

ROWS = [
    {
        "epoch": 1,
        "step": 5,
        "loss/box": 2.0,
        "lr": 0.1,
        "AP": 0.1,
        "APs": None,
        "AR100": 0.2,
        "train/AP": 0.3,
    },
    {
        "epoch": 2,
        "step": 10,
        "loss/box": 1.0,
        "lr": 0.1,
        "AP": None,
        "APs": None,
        "AR100": 0.3,
        "train/AP": 0.4,
    },
]


def test_every_metric_is_drawn_somewhere(tmp_path):
    rows = [
        {**row, "accuracy": 0.9, "update/min": 1e-4, "train/accuracy": 1.0, "own/metric 1": 2} for row in ROWS
    ]
    draw(rows, tmp_path / "plots")
    names = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert names == ["accuracy", "ap", "ar", "loss", "lr", "own-metric-1", "updates"]
    for path in (tmp_path / "plots").iterdir():
        assert np.asarray(Image.open(path)).std() > 1


def test_training_is_dotted_in_the_colour_of_its_validation():
    axes = Figure().add_subplot()
    curves(axes, ROWS, ["loss/box", "AP", "train/AP"])
    loss, plain, dotted = axes.get_lines()
    assert (plain.get_linestyle(), dotted.get_linestyle()) == ("-", ":")
    assert plain.get_color() == dotted.get_color() != loss.get_color()
    assert list(plain.get_xdata()) == [1]  # an epoch without the number has no point
    assert list(dotted.get_ydata()) == pytest.approx([0.3, 0.4])
