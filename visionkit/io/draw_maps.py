"""Heat maps and part affinity fields laid over a picture, to see what a pose network says."""

import colorsys
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..vision.affine import Matrix, move_points
from ..vision.heatmaps import Map
from ..vision.letterbox import resize_bilinear
from ..vision.skeleton import Skeleton
from .draw import Drawing
from .image import as_image, read_image

_MOST_CELLS = 512

#: Colours of directions 0..359 degrees, clockwise from the right: red, yellow downwards, and so on round.
_WHEEL = np.array([colorsys.hsv_to_rgb(angle / 360, 1, 1) for angle in range(360)], np.float32) * 255


def draw_heatmaps(image: object, heatmap: Map, skeleton: Skeleton) -> Drawing:
    """The picture, dimmed, with every channel of a heat map in the colour of its point.

    Args:
        image: a path, an (H, W, 3) uint8 RGB array, or a Pillow image; it is not changed.
        heatmap: (h, w, K) values 0..1 that cover the picture, or K + 1 with a background, which is not drawn.
        skeleton: gives the colours.

    Raises:
        ShapeError: a map that does not fit the skeleton.
        DataError, FileError: the file is not a picture, or cannot be read.
    """
    points = len(skeleton)
    if heatmap.ndim != 3 or heatmap.shape[2] not in (points, points + 1):
        raise ShapeError(f"expected a heat map (h, w, {points}), got {heatmap.shape}")
    values = _finite(heatmap[..., :points])
    best = values.argmax(axis=2)
    colours = np.array(skeleton.colours, np.float32)[best]
    return _laid_over(image, colours, values.max(axis=2))


def draw_fields(image: object, fields: Map, skeleton: Skeleton) -> Drawing:
    """The picture, dimmed, with the longest vector of each cell: direction as colour, length as strength.

    Args:
        image: as for `draw_heatmaps`.
        fields: (h, w, 2 L) that cover the picture.
        skeleton: has L limbs.

    Raises:
        ShapeError: fields that do not fit the skeleton.
        DataError, FileError: the file is not a picture, or cannot be read.
    """
    if fields.ndim != 3 or fields.shape[2] != skeleton.field_channels:
        raise ShapeError(f"expected fields (h, w, {skeleton.field_channels}), got {fields.shape}")
    vectors = _finite(fields).reshape(*fields.shape[:2], -1, 2)
    length = np.hypot(vectors[..., 0], vectors[..., 1])
    longest = length.argmax(axis=2)[..., None]
    x, y = (np.take_along_axis(vectors[..., axis], longest, axis=2)[..., 0] for axis in (0, 1))
    angle = np.degrees(np.arctan2(y, x)).round().astype(int) % 360
    return _laid_over(image, _WHEEL[angle], np.take_along_axis(length, longest, axis=2)[..., 0])


def over_picture(
    maps: Sequence[tuple[Map, Matrix]], stride: int, image_size: tuple[int, int], channels: int
) -> NDArray[np.float32]:
    """Maps of a picture's letterboxed whole, or of crops, as one that covers the picture, to be drawn.

    Args:
        maps: (h, w, C) of an input of the network, and (2, 3) the affine map from points of the picture to
            those of that input.
        stride: input pixels a cell.
        image_size: (height, width) of the picture.
        channels: C.

    Returns:
        (y, x, C) in cells about as large as the finest of the maps, but at most 512 a side; the highest value
        where maps lie upon each other, 0 where there is none.
    """
    fine = max((float(np.linalg.norm(matrix[:, 0])) for _, matrix in maps), default=0.0) / stride
    sides = [int(np.clip(np.ceil(side * fine), 1, _MOST_CELLS)) for side in image_size]
    centres = [(np.arange(cells) + 0.5) * side / cells for cells, side in zip(sides, image_size, strict=True)]
    y, x = np.meshgrid(*centres, indexing="ij")
    out = np.zeros((*sides, channels), np.float32)
    for one, matrix in maps:
        place = move_points(matrix, np.stack([x, y], axis=-1)) / stride - 0.5
        corner = np.floor(place).astype(int)
        part = place - corner
        bordered = np.pad(_finite(one), ((1, 1), (1, 1), (0, 0)))
        value = np.zeros_like(out)
        for down in (0, 1):
            for across in (0, 1):
                column = np.clip(corner[..., 0] + across + 1, 0, bordered.shape[1] - 1)
                row = np.clip(corner[..., 1] + down + 1, 0, bordered.shape[0] - 1)
                weight = np.abs(1 - across - part[..., 0]) * np.abs(1 - down - part[..., 1])
                value += weight[..., None].astype(np.float32) * bordered[row, column]
        out = np.where(np.abs(value) > np.abs(out), value, out)
    return out


def _finite(maps: Map) -> NDArray[np.float32]:
    return np.nan_to_num(np.asarray(maps, np.float32), posinf=1, neginf=-1)


def _laid_over(image: object, colours: NDArray[np.float32], strength: NDArray[np.float32]) -> Drawing:
    """Colours (h, w, 3) at strengths (h, w), cut to 0..1, stretched over the picture and mixed with it."""
    given = read_image(image) if isinstance(image, str | os.PathLike) else as_image(image)
    weight = np.clip(strength, 0, 1)[..., None]
    # colour and weight are stretched together, or edges would take the colour of the nothing beside them
    both = np.concatenate([colours * weight, 255 * weight], axis=2).round().astype(np.uint8)
    large = resize_bilinear(both, given.shape[:2]).astype(np.float32)
    mixed = 0.5 * given * (1 - large[..., 3:] / 255) + large[..., :3]
    return np.clip(mixed, 0, 255).round().astype(np.uint8).view(Drawing)
