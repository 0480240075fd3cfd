"""A window on the screen, by OpenCV: pictures, a line about how fast they come, and keys."""

import contextlib
import ctypes
import logging
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import FileError
from .draw import Drawing, Pen
from .image import write_image
from .opencv import import_cv2
from .video import Frame

KEYS = (
    "space  pause, go on",
    "s  one step",
    "w  write this picture",
    "+ -  confidence up, down",
    "h  these keys",
    "q Esc  quit",
)
_STEP = 0.05
_NO_KEY = 255
_LARGEST = (800, 1280)  # (height, width) of a window to begin with

_log = logging.getLogger("visionkit")


class Status(NamedTuple):
    """How a stream of frames is doing.

    Attributes:
        rate: frames a second.
        latency: milliseconds from a frame's arrival to its result.
        dropped: frames that nobody looked at.
    """

    rate: float
    latency: float
    dropped: int

    def __str__(self) -> str:
        return f"{self.rate:.1f} frames/s, {self.latency:.0f} ms, {self.dropped} dropped"


@dataclass
class Threshold:
    """A least confidence, 0 to 1, that a window's keys change and whoever looks at frames reads."""

    value: float

    def change(self, steps: int) -> None:
        """Move it by so many twentieths."""
        self.value = min(max(round(self.value + steps * _STEP, 2), 0.0), 1.0)


def has_display() -> bool:
    """Whether windows can be expected to open here.

    Asked as Qt will ask: where it finds no X server, or one that refuses it, it ends the whole process.
    """
    if sys.platform != "linux":
        return True
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    refused = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not refused


class Window:
    """A window that shows frames; a context manager that closes it.

    Args:
        title: its title.
        threshold: what + and - change.
        folder: where w writes pictures, as visionkit-1.jpg and so on; what is there stays.

    Raises:
        FileError: this OpenCV has no windows.
    """

    def __init__(self, title: str, threshold: Threshold, folder: Path | str = ".") -> None:
        self._title, self._threshold, self._folder = title, threshold, Path(folder)
        self._paused = self._help = self._sized = False
        self._cv2 = import_cv2()
        flags = ("WINDOW_NORMAL", "WINDOW_KEEPRATIO", "WINDOW_GUI_NORMAL")
        try:
            self._cv2.namedWindow(title, sum(getattr(self._cv2, flag) for flag in flags))
        except self._cv2.error:
            remedy = (
                "pip uninstall opencv-python-headless, pip install opencv-python; or write files with --out"
            )
            raise FileError("this OpenCV cannot open windows", remedy=remedy) from None

    def show(self, frame: Frame, status: Status | None = None) -> bool:
        """Show an (H, W, 3) uint8 RGB frame and do what keys ask for; a pause lasts in here.

        Returns:
            False once the user pressed q or Escape, or closed the window.
        """
        self._draw(frame, status)
        while True:
            key = self._cv2.waitKey(30 if self._paused else 1) & 0xFF
            if key in (27, ord("q")) or not self._is_open():
                return False
            if key != _NO_KEY:
                self._press(chr(key), frame)
                self._draw(frame, status)
            if key == ord("s") or not self._paused:
                return True

    def _is_open(self) -> bool:
        try:
            return bool(self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) > 0)
        except self._cv2.error:  # Qt knows of nothing any more once its last window is closed
            return False

    def _press(self, key: str, frame: Frame) -> None:
        if key == " ":
            self._paused = not self._paused
        elif key == "s":
            self._paused = True
        elif key == "h":
            self._help = not self._help
        elif key in "+=":  # = is where + is, without shift
            self._threshold.change(1)
        elif key == "-":
            self._threshold.change(-1)
        elif key == "w":
            self._write(frame)

    def _write(self, frame: Frame) -> None:
        paths = (self._folder / f"visionkit-{number}.jpg" for number in count(1))
        path = next(path for path in paths if not path.exists())
        try:
            write_image(path, frame)
            _log.info("wrote %s", path.absolute())
        except FileError as error:
            _log.warning("%s", error)

    def _draw(self, frame: Frame, status: Status | None) -> None:
        if not self._sized:
            self._sized = True
            scale = min(1.0, *np.divide(_LARGEST, frame.shape[:2]))
            self._cv2.resizeWindow(self._title, *(max(1, round(scale * side)) for side in frame.shape[1::-1]))
        facts = [str(status)] if status else []
        facts += [f"confidence {self._threshold.value:.2f}", "paused" if self._paused else "h: keys"]
        drawn = overlay(frame, [", ".join(facts), *(KEYS if self._help else ())])
        self._cv2.imshow(self._title, np.ascontiguousarray(drawn[..., ::-1]))

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(self._cv2.error):
            self._cv2.destroyWindow(self._title)
            self._cv2.waitKey(1)  # the window goes when events are looked at


def overlay(frame: Frame, lines: list[str]) -> Drawing:
    """A copy of an (H, W, 3) uint8 RGB frame with lines of text in its upper left corner."""
    pen = Pen(Image.fromarray(frame).copy())
    pen.label("\n".join(lines), 0, 0, (0, 0, 0))
    return np.array(pen.canvas).view(Drawing)
