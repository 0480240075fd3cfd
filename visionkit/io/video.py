"""Videos, cameras, streams, the screen and standard input as RGB frames: one door to all that moves."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

from .address import hidden, is_stream
from .cameras import camera_number, is_camera
from .capture import Captured
from .clip import Clip, Frame
from .live import Live
from .piped import Piped
from .reader import Feed
from .screen import Screen, is_screen

VIDEO_SUFFIXES = (
    ".avi",
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".ts",
    ".wmv",
    ".flv",
    ".ogv",
)


def is_video(source: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


def is_live(source: str) -> bool:
    """Whether a source never ends: a camera, a stream, the screen."""
    return is_camera(source) or is_stream(source) or is_screen(source)


class Source(Protocol):
    """One kind of source; the attributes are those of `Video`."""

    name: str
    live: bool
    arrived: float
    time: float

    @property
    def fps(self) -> float:
        """Frames a second."""

    @property
    def dropped(self) -> int:
        """Frames overtaken by newer ones."""

    def __iter__(self) -> Iterator[Frame]:
        """The frames."""

    def close(self) -> None:
        """Give up."""


class Video:
    """The frames of a source, (H, W, 3) uint8 RGB each; a context manager.

    Of a live source, a camera, stream or screen, a thread reads, and each iteration gives the newest frame;
    of a file or standard input every frame comes in order.

    Args:
        source: a video file; a camera by number, device file or name; an http(s) address of MJPEG or an
            rtsp(s) address; ``screen`` or ``screen:X,Y,WxH``; ``-`` for standard input.
        reconnect: seconds without a picture after which a live source that broke off is lost for good.
        timeout: seconds for a live source to answer and give its first picture, and for each further one.
        stale: seconds after which a camera or stream that gives the same picture over and over counts as
            broken off; 0: never.
        tolerant: what a damaged file still gives is enough.

    Attributes:
        name: the source for messages and file names, without passwords.
        live: whether it never ends.
        frames: given so far.

    Raises:
        UsageError: a negative or absurd camera number, or a region that is none.
        FileError: the file is missing, or OpenCV is.
        DataError: not a video, or one without frames.
        SourceLostError: no such camera, or the address does not answer.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int,
        *,
        reconnect: float = 300.0,
        timeout: float = 5.0,
        stale: float = 30.0,
        tolerant: bool = False,
    ) -> None:
        text = os.fspath(source) if isinstance(source, str | os.PathLike) else str(source)
        self.frames = 0
        self._source: Source
        if text == "-":
            self._source = Piped(sys.stdin.buffer, tolerant=tolerant)
        elif is_live(text):
            if is_screen(text):
                stale = 0.0  # it may well stand still
            name = f"camera {text}" if is_camera(text) else hidden(text)
            feed = _feed(text, timeout)
            self._source = Live(feed, name, reconnect=reconnect, timeout=timeout, stale=stale)
        else:
            self._source = Clip(text, tolerant=tolerant)
        self.name, self.live = self._source.name, self._source.live

    @property
    def single(self) -> bool:
        """Whether it is one still picture: standard input may be."""
        return isinstance(self._source, Piped) and self._source.single

    def while_waiting(self, idle: Callable[[], object]) -> None:
        """Have a function called several times a second while a frame of a live source is waited for.

        It runs in the thread that waits: a window can stay alive there, and close the source.
        """
        if isinstance(self._source, Live):
            self._source.idle = idle

    @property
    def fps(self) -> float:
        """Frames a second for display and writing; 25 where the source says nothing sensible."""
        return self._source.fps

    @property
    def dropped(self) -> int:
        """Frames of a live source that were overtaken by newer ones before they were asked for."""
        return self._source.dropped

    @property
    def arrived(self) -> float:
        """`time.monotonic()` when the newest frame that was given came in."""
        return self._source.arrived

    @property
    def time(self) -> float:
        """When the newest frame that was given is shown, or arrived: seconds from the beginning."""
        return self._source.time

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left, one at a time; nothing is kept.

        Raises:
            DataError: there was no frame, or a file ended before the frames its index declares.
            SourceLostError: a live source is lost for good.
        """
        for frame in self._source:
            self.frames += 1
            yield frame

    def close(self) -> None:
        """Close the source; of a live one, an iteration that waits in another thread ends."""
        self._source.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _feed(source: str, timeout: float) -> Callable[[], Feed]:
    """What connects to a live source; a camera is looked for each time, for its number may change."""
    if is_screen(source):
        return partial(Screen, source)
    if source.lower().startswith("http"):
        from .web import HttpPictures  # late: TLS takes its time to load

        return partial(HttpPictures, source, timeout)
    if is_stream(source):
        return partial(Captured, source, timeout)
    return lambda: Captured(camera_number(source), timeout)
