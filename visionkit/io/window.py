"""A window on the screen, by OpenCV."""

import contextlib
import os
import sys
from types import TracebackType

import numpy as np

from ..errors import FileError
from .opencv import import_cv2
from .video import Frame


def has_display() -> bool:
    """Whether windows can be expected to open here."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """A window that shows frames; a context manager that closes it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._cv2 = import_cv2()

    def show(self, frame: Frame) -> bool:
        """Show an RGB frame; False once the user pressed q or Escape, or closed the window.

        Raises:
            FileError: this OpenCV has no windows.
        """
        cv2 = self._cv2
        try:
            cv2.imshow(self._title, np.ascontiguousarray(frame[..., ::-1]))
            key = cv2.waitKey(1) & 0xFF
            return key not in (27, ord("q")) and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0
        except cv2.error:
            remedy = "write files with --out, and add --no-window"
            raise FileError("this OpenCV cannot open windows", remedy=remedy) from None

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(self._cv2.error):
            self._cv2.destroyAllWindows()
