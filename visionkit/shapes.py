"""One way to check an array at a public door, and one way to complain."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import ShapeError

Shape = tuple[int, ...]


def expect(
    array: ArrayLike, pattern: str, *, name: str, dtype: DTypeLike | None = None, **sizes: int
) -> NDArray[np.generic]:
    """`array` as an ndarray whose shape fits `pattern`.

    Args:
        array: anything NumPy can take.
        pattern: sizes separated by spaces: a number, a letter (any size, equal where repeated) or
            `...` in front (any leading sizes), such as ``"N 4"`` or ``"... H W 3"``.
        name: what to call the array in the message.
        dtype: cast to this dtype if given; a cast that would lose the kind (float to int) is refused.
        sizes: letters whose size is already known.

    Raises:
        ShapeError: the shape does not fit, or the dtype cannot be cast.
    """
    try:
        found = np.asarray(array)
    except ValueError as error:
        raise ShapeError(f"{name}: not an array: {error}") from None
    parts = pattern.split()
    shape = found.shape
    if parts and parts[0] == "...":
        parts = parts[1:]
        shape = shape[len(shape) - len(parts) :] if len(shape) >= len(parts) else (-1,)
    known = dict(sizes)
    fits = len(shape) == len(parts) and all(
        size == (int(part) if part.isdigit() else known.setdefault(part, size))
        for part, size in zip(parts, shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name}: expected shape ({pattern.replace(' ', ', ')}), got {found.shape}")
    if dtype is not None and found.dtype != np.dtype(dtype):
        if not np.can_cast(found.dtype, dtype, casting="same_kind") and found.size:
            raise ShapeError(f"{name}: expected dtype {np.dtype(dtype)}, got {found.dtype}")
        found = found.astype(dtype)
    return found
