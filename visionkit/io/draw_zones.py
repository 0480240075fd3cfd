"""Lines and zones over a picture, with what was counted there."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ..vision.zones import Area, Line
from .draw import Drawing, Pen
from .image import as_image

_COLOUR = (255, 255, 255)


def draw_zones(image: object, areas: Sequence[Area], counts: Mapping[str, Mapping[str, int]]) -> Drawing:
    """A copy of the picture with lines and zones, each labelled with its name and counts.

    The side of a line that things come "in" to has a mark, square to the line, at its middle.

    Args:
        image: an (H, W, 3) uint8 RGB array or a Pillow image; it is not changed.
        areas: lines and zones.
        counts: `Watch.counts`.
    """
    pen = Pen(Image.fromarray(as_image(image)).copy())
    for area in areas:
        if isinstance(area, Line):
            outline = [area.start, area.end]
            middle, along = (area.start + area.end) / 2, area.end - area.start
            inwards = np.array([-along[1], along[0]]) / np.linalg.norm(along)
            pen.path([middle, middle + 5 * pen.width * inwards], _COLOUR)
        else:
            outline = [*area.polygon, area.polygon[0]]
        pen.path(outline, _COLOUR)
        text = ", ".join(f"{number} {what}" for what, number in counts[area.name].items())
        left, top = np.clip(outline[0], 0, np.array(pen.canvas.size) - 1).astype(int).tolist()
        pen.label(f"{area.name}: {text}", left, top, _COLOUR)
    return np.array(pen.canvas).view(Drawing)
