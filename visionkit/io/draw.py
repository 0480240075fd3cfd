"""The one drawing function: a picture with what was found in it."""

import colorsys
import os
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import ShapeError
from ..vision.results import Detection, Detections
from .image import as_image, read_image, write_image

Colour = tuple[int, int, int]


class Drawing(np.ndarray[Any, np.dtype[np.uint8]]):
    """An (H, W, 3) uint8 RGB array that can save itself."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture, whole or not at all, in the format its name ends with.

        Raises:
            UsageError: the name ends in no format that can be written.
            FileError: the folder is missing or cannot be written.
        """
        write_image(path, np.asarray(self))


def draw(image: object, found: Detections) -> Drawing:
    """A copy of the picture with boxes and labels; lines and letters grow with the picture.

    Args:
        image: a path, an (H, W, 3) uint8 RGB array, or a Pillow image; it is not changed.
        found: what was found in a picture of this size.

    Raises:
        ShapeError: `found` belongs to a picture of another size.
        DataError: the file is not a picture.
        FileError: the file cannot be read.
    """
    given = read_image(image) if isinstance(image, str | os.PathLike) else as_image(image)
    if found.image_size != given.shape[:2]:
        raise ShapeError(
            f"image: the detections are for {found.image_size[0]}x{found.image_size[1]} pixels, "
            f"the picture has {given.shape[0]}x{given.shape[1]}"
        )
    pen = _Pen(Image.fromarray(given).copy())
    for index in np.argsort(found.confidence, kind="stable"):  # the surest last, on top
        pen.box(next(iter(found[int(index)])))
    return np.array(pen.canvas).view(Drawing)


def colour_of(class_id: int) -> Colour:
    """The colour of a class: neighbours on the list are far apart on the colour circle."""
    hue = (0.33 + class_id * 0.61803398875) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


class _Pen:
    """Draws on one canvas, with lines and letters that fit its size."""

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self._draw = ImageDraw.Draw(canvas)
        side = min(canvas.size)
        self._line = max(1, round(side / 250))
        self._font = ImageFont.load_default(max(10, round(side / 32)))

    def box(self, one: Detection) -> None:
        """One box with its label above it, or inside where there is no room above."""
        width, height = self.canvas.size
        colour = colour_of(one.class_id)
        x1, y1, x2, y2 = np.nan_to_num(np.clip(one.xyxy, 0, [width, height] * 2)).tolist()
        left, top = min(round(x1), width - 1), min(round(y1), height - 1)
        # the box is half-open: its last pixel lies before x2, y2
        right, bottom = max(left, round(x2) - 1), max(top, round(y2) - 1)
        self._draw.rectangle((left, top, right, bottom), outline=colour, width=self._line)
        self._label(f"{_printable(one.name)} {one.confidence:.2f}", left, top, colour)

    def _label(self, text: str, left: int, top: int, colour: Colour) -> None:
        pad = self._line + 1
        _, _, right, bottom = self._draw.textbbox((0, 0), text, font=self._font)
        wide, high = round(right) + 2 * pad, round(bottom) + 2 * pad
        x = max(0, min(left, self.canvas.width - wide))
        y = top - high if top >= high else top
        self._draw.rectangle((x, y, x + wide, y + high), fill=colour)
        luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        ink = (0, 0, 0) if luminance > 128 else (255, 255, 255)
        self._draw.text((x + pad, y + pad), text, fill=ink, font=self._font)


def _printable(name: str, limit: int = 40) -> str:
    """A class name on one line, without control characters, cut to `limit`."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
