"""The screen, or a region of it, by Pillow."""

import re
import time
from collections.abc import Iterator

import numpy as np

from ..errors import SourceLostError, UsageError
from .clip import Frame

_SCREEN = re.compile(r"screen(?::([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})x([0-9]{1,6}))?")
_RATE = 30  # pictures a second at most


def is_screen(source: str) -> bool:
    """Whether a source is the screen: ``screen`` or ``screen:X,Y,WxH``."""
    return source == "screen" or source.startswith("screen:")


class Screen:
    """Pictures of the screen, at most 30 a second.

    Args:
        source: ``screen``, or ``screen:X,Y,WxH`` for a region in pixels.

    Raises:
        UsageError: the region is not written so, or is empty.
    """

    fps = float(_RATE)

    def __init__(self, source: str) -> None:
        region = _SCREEN.fullmatch(source)
        numbers = [int(number) for number in region.groups() if number] if region else []
        if not region or 0 in numbers[2:]:
            raise UsageError("expected screen or screen:X,Y,WxH, in pixels", value=source)
        self._region = numbers

    def __iter__(self) -> Iterator[Frame]:
        """The pictures.

        Raises:
            SourceLostError: there is no screen, or it may not be read.
            UsageError: the region is not on it.
        """
        from PIL import ImageGrab

        while True:
            begun = time.monotonic()
            try:
                with ImageGrab.grab() as grabbed:
                    frame = np.asarray(grabbed.convert("RGB"))
            except Exception as error:  # Pillow raises what the platform gave it
                remedy = "is there a screen (DISPLAY), and may programs take pictures of it?"
                raise SourceLostError(f"the screen cannot be read: {error}", remedy=remedy) from None
            yield self._cut(frame)
            time.sleep(max(0.0, begun + 1 / _RATE - time.monotonic()))

    def _cut(self, frame: Frame) -> Frame:
        if not self._region:
            return frame.copy()
        x, y, width, height = self._region
        if x + width > frame.shape[1] or y + height > frame.shape[0]:
            size = f"{frame.shape[1]}x{frame.shape[0]}"
            raise UsageError(f"the region is not within the screen of {size}", value=self._region)
        return frame[y : y + height, x : x + width].copy()

    def close(self) -> None:
        """Nothing to end: a picture of the screen is not waited for."""
