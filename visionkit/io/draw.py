"""The one drawing function: a picture with what was found in it."""

import colorsys
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import ShapeError
from ..vision.poses import Pose, Poses
from ..vision.results import Detection, Detections
from ..vision.skeleton import Skeleton
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


def draw(image: object, found: Detections | Poses) -> Drawing:
    """A copy of the picture with boxes and labels, or skeletons; lines and letters grow with the picture.

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
            f"image: what was found is for {found.image_size[0]}x{found.image_size[1]} pixels, "
            f"the picture has {given.shape[0]}x{given.shape[1]}"
        )
    pen = Pen(Image.fromarray(given).copy())
    for index in np.argsort(found.confidence, kind="stable"):  # the surest last, on top
        if isinstance(found, Poses):
            pen.pose(next(iter(found[int(index)])), found.skeleton)
        else:
            pen.box(next(iter(found[int(index)])))
    return np.array(pen.canvas).view(Drawing)


def colour_of(class_id: int) -> Colour:
    """The colour of a class: neighbours on the list are far apart on the colour circle."""
    hue = (0.33 + class_id * 0.61803398875) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


class Pen:
    """Draws on one canvas, with lines and letters that fit its size."""

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self._draw = ImageDraw.Draw(canvas)
        side = min(canvas.size)
        self.width = max(1, round(side / 250))
        self._font = ImageFont.load_default(max(10, round(side / 32)))

    def box(self, one: Detection) -> None:
        """One box with its label above it, or inside where there is no room above; a number if followed."""
        width, height = self.canvas.size
        colour = colour_of(one.class_id if one.tracker_id is None else one.tracker_id)
        number = "" if one.tracker_id is None else f"{one.tracker_id} "
        x1, y1, x2, y2 = np.nan_to_num(np.clip(one.xyxy, 0, [width, height] * 2)).tolist()
        left, top = min(round(x1), width - 1), min(round(y1), height - 1)
        # the box is half-open: its last pixel lies before x2, y2
        right, bottom = max(left, round(x2) - 1), max(top, round(y2) - 1)
        self._draw.rectangle((left, top, right, bottom), outline=colour, width=self.width)
        self.label(f"{number}{_printable(one.name)} {one.confidence:.2f}", left, top, colour)

    def pose(self, one: Pose, skeleton: Skeleton) -> None:
        """Limbs with both ends, dots on the points, and the number of a person who is followed.

        Lines are thinner on small people than on large ones, or a crowd would be nothing but lines.
        """
        there = (one.keypoint_confidence > 0) & np.isfinite(one.xy).all(axis=1)
        far = 4 * max(self.canvas.size)  # Pillow counts in 32 bits
        xy = [(float(x), float(y)) for x, y in np.clip(np.nan_to_num(one.xy), -far, far)]
        shown = np.clip(np.array(xy)[there].reshape(-1, 2), 0, self.canvas.size)
        width = max(
            (self.width + 1) // 2, round(float(np.ptp(shown, axis=0).max()) / 80) if len(shown) else 0
        )
        for a, b in skeleton.limbs:
            if there[a] and there[b]:
                self._draw.line((*xy[a], *xy[b]), fill=skeleton.colours[b], width=width)
        radius = width if len(skeleton) <= 30 else width / 2
        for k in np.flatnonzero(there).tolist():
            (x, y), colour = xy[k], skeleton.colours[k]
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        if one.tracker_id is not None and there.any():
            top = min((xy[k] for k in np.flatnonzero(there).tolist()), key=lambda point: point[1])
            left, high = (
                min(max(round(v), 0), side - 1) for v, side in zip(top, self.canvas.size, strict=True)
            )
            self.label(str(one.tracker_id), left, high, colour_of(one.tracker_id))

    def path(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Straight lines from point to point."""
        self._draw.line([(float(x), float(y)) for x, y in points], fill=colour, width=self.width)

    def label(self, text: str, left: int, top: int, colour: Colour) -> None:
        """Text on a ground of this colour, above a point or, where there is no room above, below it."""
        pad = self.width + 1
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
