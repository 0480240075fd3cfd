"""Pictures and frames that users hand in, and what is in them: the `stream` of every predictor."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..io.image import as_image, read_image
from ..io.overlap import ahead
from ..vision.poses import Poses
from ..vision.results import Detections

if TYPE_CHECKING:
    from ..vision.tracking import Tracker

Image = NDArray[np.uint8]
Found = TypeVar("Found", bound=Detections | Poses)


def as_picture(image: Any) -> Image:
    """(H, W, 3) uint8 RGB of a path, the bytes of a picture file, an array, or a Pillow image.

    Raises:
        DataError, FileError: the file is no picture, or cannot be read.
        ShapeError: an array of another shape or dtype.
    """
    is_file = isinstance(image, str | bytes | bytearray | os.PathLike)
    return read_image(image) if is_file else as_image(image)


def stream(
    look: Callable[[Any], Found], source: Any,
    first: int, last: int | None, step: int, tracker: "Tracker | None",
) -> Iterator[tuple[Image, Found]]:  # fmt: skip
    """Frames and what `look` finds in them; the other arguments as of `Predictor.stream`.

    Of a file the next frames are decoded and looked at on threads while the caller works on this one. Frames
    of a camera must not wait, and what other iterables do is not known here: nothing is read ahead.
    """
    with ExitStack() as stack:
        if isinstance(source, str | os.PathLike | int):
            from ..io.video import Video

            source = stack.enter_context(Video(source))
        can_wait = not getattr(source, "live", True)
        frames = chosen(source, first, last, step)
        if can_wait:
            frames = stack.enter_context(ahead(frames))
        pictures = ((number, as_picture(frame)) for number, frame in frames)
        seen: Iterator[tuple[int, Image, Found]] = ((n, picture, look(picture)) for n, picture in pictures)
        if can_wait:
            seen = stack.enter_context(ahead(seen))
        before = None
        for number, picture, found in seen:
            if tracker:
                found = tracker.update(found, 1 if before is None else number - before)
                before = number
            yield picture, found


def chosen(
    frames: Iterable[Any], first: int = 0, last: int | None = None, step: int = 1
) -> Iterator[tuple[int, Any]]:
    """Every `step`-th frame from `first` to `last`, with its number; those that a camera dropped count.

    Args:
        frames: a video, camera or stream, or any iterable.
        first: the number of the first one, from 0.
        last: the number of the last one; None for all.
        step: 1 for every frame, 2 for every other, ...

    Raises:
        UsageError: a number out of its range.
        DataError: there is no frame `first`.
    """
    if first < 0 or step < 1:
        raise UsageError("first must be 0 or more, and step 1 or more", value=(first, step))
    if last is not None and last < first:
        raise UsageError("the last frame lies before the first", value=(first, last))
    count = -1
    for count, frame in islice(enumerate(frames), first, None if last is None else last + 1, step):
        yield count + getattr(frames, "dropped", 0), frame
    if first and count < 0:
        reason = f"no frame {first}: there are {getattr(frames, 'frames', 'fewer')}"
        remedy = "choose a lower first frame"
        raise DataError(reason, file=getattr(frames, "name", None), remedy=remedy)
