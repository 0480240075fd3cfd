"""Pictures scaled, letterboxed and pasted on others, with their boxes and the rule which of those stay."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ..kernels import resize
from ..vision.letterbox import Letterbox
from .sample import Sample

Size = tuple[int, int]
Window = tuple[int, int, int, int]

#: The grey of what no picture covers.
FILL = 114
#: A box that keeps less than this of its area, or a side below MIN_SIDE pixels, becomes an ignore region.
MIN_AREA_LEFT = 0.25
MIN_SIDE = 3.0


def fit(image: Size, room: Size) -> float:
    """The factor by which a picture just fits into a room; sizes (height, width)."""
    return min(room[0] / image[0], room[1] / image[1])


def resized(sample: Sample, longest: int) -> Sample:
    """`sample` with its longest side at most `longest` pixels, points included."""
    factor = longest / max(sample.size)
    if factor >= 1:
        return sample
    height, width = (scaled(n, factor) for n in sample.size)
    window = (0, 0, width, height)
    image = np.empty((height, width, 3), np.uint8)
    _draw(sample.image, image, (width, height), (0, 0), window)
    stretch = np.array([width / sample.size[1], height / sample.size[0]] * 2, np.float32)
    matrix = np.diag([width / sample.size[1], height / sample.size[0], 1.0])[:2]
    return sample.moved(image, sample.boxes * stretch, matrix)


def letterboxed(sample: Sample, size: Size) -> Sample:
    """`sample` whole, scaled to fit `size` (height, width) and centred on grey, as the predictor does it.

    Points move along.
    """
    box = Letterbox(sample.size, size)
    height, width = size
    moved = sample.moved(box.apply(sample.image), box.boxes(sample.boxes).astype(np.float32), box.matrix)
    return visible(moved, (0, 0, width, height))


def paste(
    parts: Sequence[tuple[Sample, float, tuple[int, int], Window]], canvas: NDArray[np.uint8]
) -> Sample:
    """Draw scaled pictures on a canvas and gather their boxes.

    Args:
        parts: for each picture the sample, the factor, the (x, y) its corner takes, and the window
            (x1, y1, x2, y2) of the canvas it may cover.
        canvas: (H, W, 3) uint8, drawn upon.

    Returns:
        The canvas with the boxes that are still visible; id and file of the first sample.
    """
    gathered = []
    for sample, factor, (x, y), window in parts:
        height, width = (scaled(n, factor) for n in sample.size)
        left, top = max(window[0], x), max(window[1], y)
        right, bottom = min(window[2], x + width), min(window[3], y + height)
        if right <= left or bottom <= top:
            continue
        seen = (left, top, right, bottom)
        _draw(sample.image, canvas[top:bottom, left:right], (width, height), (x, y), seen)
        stretch = np.array([width / sample.size[1], height / sample.size[0]] * 2, np.float32)
        moved = sample.boxes * stretch + np.array([x, y, x, y], np.float32)
        gathered.append(visible(replace(sample, boxes=moved), seen))
    first = parts[0][0]
    return Sample(
        canvas,
        np.concatenate([g.boxes for g in gathered]) if gathered else np.empty((0, 4), np.float32),
        np.concatenate([g.class_id for g in gathered]) if gathered else np.empty(0, np.int64),
        np.concatenate([g.ignore for g in gathered]) if gathered else np.empty(0, bool),
        first.image_id,
        first.file,
    )


def visible(sample: Sample, window: Window) -> Sample:
    """`sample` with its boxes clipped to a window (x1, y1, x2, y2); see MIN_AREA_LEFT and MIN_SIDE."""
    before = sample.boxes
    after = np.clip(before, np.array(window[:2] * 2, np.float32), np.array(window[2:] * 2, np.float32))
    sides = after[:, 2:] - after[:, :2]
    area = np.prod(before[:, 2:] - before[:, :2], axis=1)
    poor = (np.prod(sides, axis=1) < MIN_AREA_LEFT * area) | (sides.min(axis=1, initial=np.inf) < MIN_SIDE)
    return replace(sample, boxes=after, ignore=sample.ignore | poor).of(sides.min(axis=1) > 0)


def _draw(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    whole: tuple[int, int],
    corner: tuple[int, int],
    seen: Window,
) -> None:
    """Fill `target` with the part `seen` of `source` stretched to `whole` (width, height) at `corner`.

    The pixels are those of resizing the whole picture and cropping: only the filter taps are cropped.
    """
    columns, column_weights = _taps(source.shape[1], whole[0], seen[0] - corner[0], seen[2] - corner[0])
    rows, row_weights = _taps(source.shape[0], whole[1], seen[1] - corner[1], seen[3] - corner[1])
    line = np.empty(source.shape[1] * 3, np.float32)
    resize.resize(source, rows, row_weights, columns, column_weights, line, target)


def _taps(source: int, target: int, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    first = np.empty(target, np.int64)
    weights = np.empty((target, min(2 * ceil(max(source / target, 1.0)) + 1, source)), np.float32)
    resize.taps(source, target, first, weights)
    return first[start:stop], weights[start:stop]


def scaled(length: int, factor: float) -> int:
    """A side of a scaled picture: whole pixels, one at least."""
    return max(1, round(length * factor))
