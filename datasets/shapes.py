"""A generated set of discs, squares and triangles: enough to see a detector learn in a minute."""

import numpy as np
from numpy.typing import NDArray

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.errors import UsageError

NAMES = ("disc", "square", "triangle")
_TRIES = 20
_OVERLAP = 0.2


class ShapesDataset(DetectionDataset):
    """Coloured shapes on a noisy ground, in memory, the same for the same arguments on every machine.

    Boxes are the exact bounds of the drawn pixels; shapes overlap by a fifth at most, so each can be seen.

    Args:
        count: pictures.
        size: (height, width) of each.
        seed: another seed, other pictures.
        most: shapes a picture, from 1 to this.

    Raises:
        UsageError: no pictures, or pictures below 32 pixels.
    """

    def __init__(
        self, count: int, size: tuple[int, int] = (160, 160), *, seed: int = 0, most: int = 6
    ) -> None:
        if count < 1 or min(size) < 32 or most < 1:
            raise UsageError("at least 1 picture, 32 pixels and 1 shape", value=(count, size, most))
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        records = []
        for image_id in range(1, count + 1):
            key = np.array([seed, image_id], np.uint64)
            picture, objects = draw_shapes(size, most, np.random.Generator(np.random.Philox(key=key)))
            self._pictures[image_id] = picture
            records.append(Record.of(image_id, f"shapes-{image_id:06d}.png", None, size, objects))
        super().__init__(NAMES, (1, 2, 3), records, Problems("shapes"))

    def _picture(self, record: Record) -> NDArray[np.uint8]:
        return self._pictures[record.image_id].copy()


def draw_shapes(
    size: tuple[int, int], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[tuple[tuple[int, int, int, int], int, bool]]]:
    """One picture (H, W, 3) uint8 and its objects (xyxy, class_id, False)."""
    height, width = size
    ground = rng.integers(60, 196, 3)
    picture = (ground + rng.integers(-24, 24, (height, width, 3))).astype(np.uint8)
    objects: list[tuple[tuple[int, int, int, int], int, bool]] = []
    for _ in range(rng.integers(1, most, endpoint=True)):
        for _ in range(_TRIES):
            radius = rng.uniform(0.06, 0.22) * min(size)
            centre = rng.uniform(radius, np.array(size) - radius)
            class_id = int(rng.integers(3))
            mask = _mask(size, centre, radius, class_id)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            if all(_covered(box, other) <= _OVERLAP for other, _, _ in objects):
                break
        else:
            continue
        colour = (ground + rng.choice([-1, 1], 3) * rng.integers(40, 60, 3)).astype(np.uint8)
        picture[mask] = colour
        objects.append((box, class_id, False))
    return picture, objects


def _mask(
    size: tuple[int, int], centre: NDArray[np.float64], radius: float, class_id: int
) -> NDArray[np.bool_]:
    y = np.arange(size[0])[:, None] + 0.5 - centre[0]
    x = np.arange(size[1])[None, :] + 0.5 - centre[1]
    if class_id == 0:
        return x * x + y * y <= radius * radius
    if class_id == 1:
        return np.asarray(np.maximum(np.abs(x), np.abs(y)) <= radius * 0.85)
    return np.asarray((np.abs(x) <= (y + radius) / 2) & (y <= radius))


def _covered(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Overlap as a fraction of the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / smaller
