"""Videos, cameras and streams as RGB frames.

OpenCV is imported late, and only three things reach it: a file whose first bytes are those of a video, a
camera number from 0, and http(s) or rtsp(s) addresses. A negative camera number crashes it, file names such
as ``concat:a|b`` make it open other files, a silent server holds it for 30 seconds (torture V11, V16, V24).
"""

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, SourceLostError, UsageError
from .files import open_regular
from .opencv import import_cv2

Frame = NDArray[np.uint8]

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
_CAMERA = re.compile(r"-?[0-9]+")
_ADDRESS = re.compile(r"(https?|rtsps?)://[^/\s]+", re.IGNORECASE)
_TIMEOUT = 5000  # ms, to open and for each frame


def is_camera(source: str) -> bool:
    """Whether a source is a camera number."""
    return bool(_CAMERA.fullmatch(source))


def is_stream(source: str) -> bool:
    """Whether a source is a network address that can be opened."""
    return bool(_ADDRESS.match(source))


def is_video(source: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


class Video:
    """The frames of a video file, camera or stream, (H, W, 3) uint8 RGB each; a context manager.

    Args:
        source: a file, a camera number, or an http(s) or rtsp(s) address.

    Attributes:
        fps: frames per second for display and writing; 25 where the source says nothing sensible.
        live: whether it is a camera or stream.
        frames: read so far.

    Raises:
        UsageError: a negative or absurd camera number.
        FileError: the file is missing, or OpenCV is.
        DataError: not a video, or one without frames.
        SourceLostError: no such camera, or the address does not answer.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        text = os.fspath(source) if isinstance(source, str | os.PathLike) else str(source)
        self.live = is_camera(text) or is_stream(text)
        self.name = _without_password(text)
        self.frames = 0
        self._container = ""
        if is_camera(text):
            self._capture = self._open_camera(int(text))
        elif is_stream(text):
            self._capture = self._open(text, timeouts=True)
            if not self._capture.isOpened():
                remedy = "is the address right, and does it answer within 5 seconds?"
                raise SourceLostError("cannot be opened", file=self.name, remedy=remedy)
        else:
            self._container = video_container(text)
            self._capture = self._open(os.path.abspath(text))
            if not self._capture.isOpened():
                remedy = "the file is damaged or incomplete (a missing index), or its codec is unknown"
                raise DataError("the video cannot be opened", file=text, remedy=remedy)
        self.fps = _sane_fps(self._property("FPS"))

    def _open_camera(self, index: int) -> Any:
        if not 0 <= index < 2**31:
            raise UsageError("a camera number is 0 or more", value=index)
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            found = (
                ", ".join(sorted(p.name.removeprefix("video") for p in Path("/dev").glob("video*"))) or "none"
            )
            raise SourceLostError(f"camera {index} not found; found: {found}")
        capture = import_cv2().VideoCapture(index)
        if not capture.isOpened():
            remedy = "is another program using it, and may you read it?"
            raise SourceLostError(f"camera {index} cannot be opened", remedy=remedy)
        return capture

    def _open(self, name: str, timeouts: bool = False) -> Any:
        cv2 = import_cv2()
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits if timeouts else [])

    def _property(self, name: str) -> float:
        return float(self._capture.get(getattr(import_cv2(), f"CAP_PROP_{name}")))

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left, one at a time; nothing is kept.

        Raises:
            DataError: there was no frame, or the file ended before the frames its index declares.
            SourceLostError: the camera or stream stopped.
        """
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            self.frames += 1
            yield _rgb(frame)
        self._check_end()

    def _check_end(self) -> None:
        if self.live:
            raise SourceLostError(f"no more frames after {self.frames}", file=self.name)
        if not self.frames:
            raise DataError("no frames", file=self.name)
        declared = self._property("FRAME_COUNT")
        # the index of these containers is exact; elsewhere, and beyond reason, the number is a guess
        trusted = self._container in ("AVI", "MP4") and 0 < declared < 1e8
        if trusted and self.frames < declared:
            reason = f"ended after {self.frames} of {declared:.0f} declared frames"
            raise DataError(reason, file=self.name, remedy="the file is cut short or damaged")

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


def video_container(path: str | os.PathLike[str]) -> str:
    """The container a video file is in, by its first bytes; play lists and the like are refused.

    Raises:
        DataError: empty, or not a video.
        FileError: missing, unreadable or not a regular file.
    """
    with open_regular(path) as file:
        head = file.read(512)
    if not head:
        raise DataError("the video is empty (0 bytes)", file=path, remedy="was its copy cut short?")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "MP4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    starts = {
        b"\x1aE\xdf\xa3": "Matroska", b"\x00\x00\x01\xba": "MPEG", b"\x00\x00\x01\xb3": "MPEG", b"FLV": "FLV",
        b"0&\xb2u": "ASF", b"OggS": "Ogg",
    }  # fmt: skip
    for start, name in starts.items():
        if head.startswith(start):
            return name
    if head[0] == 0x47 and head[188:189] == b"\x47":
        return "MPEG-TS"
    raise DataError("not a video of a known format", file=path, value=head[:8])


def _rgb(frame: Any) -> Frame:
    if frame.ndim == 2:
        return np.repeat(frame[..., None], 3, axis=2)
    return np.ascontiguousarray(frame[..., 2::-1])


def _sane_fps(fps: float) -> float:
    return fps if math.isfinite(fps) and 0.1 <= fps <= 1000 else 25.0


def _without_password(address: str) -> str:
    """An address fit for messages: user and password replaced."""
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", address)
