"""Video files, every frame of them, by OpenCV.

Only a file whose first bytes are those of a video reaches OpenCV, and by its absolute path: names such as
``concat:a|b`` and play lists would make it open other files (torture V24, V25).
"""

import logging
import math
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..weights.files import open_regular
from .complaints import complaints
from .opencv import import_cv2

Frame = NDArray[np.uint8]

_log = logging.getLogger("visionkit")


class VideoWarning(UserWarning):
    """A video was read, but not all of it."""


class Clip:
    """The frames of a video file, (H, W, 3) uint8 RGB each, turned as the file asks.

    Frames of another size than the first are scaled to it by OpenCV; transparency is left out. Where frames
    are damaged decoders guess: `close` logs how often they have complained (those of other files that were
    read meanwhile, too).

    Args:
        path: the file.
        tolerant: what a damaged file still gives is enough: its early end is a `VideoWarning`.

    Attributes:
        name: the path.
        fps: frames per second for display and writing; 25 where the file says nothing sensible.
        time: seconds from the file's beginning at which the newest frame is shown; it never runs back.
        arrived: `time.monotonic()` when the newest frame was read.

    Raises:
        FileError: the file is missing or no regular file, or OpenCV is not there.
        DataError: empty, not a video, without its index or without pictures.
    """

    live, dropped = False, 0

    def __init__(self, path: str | os.PathLike[str], *, tolerant: bool = False) -> None:
        self.name = os.fspath(path)
        self.time = self.arrived = 0.0
        self._tolerant = tolerant
        self._container = video_container(path)
        cv2 = import_cv2()
        self._capture = cv2.VideoCapture(os.path.abspath(self.name), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise _unopened(self.name, self._container)
        self.fps = sane_fps(self._property("FPS"))
        self._complaints = complaints()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left, one at a time; nothing is kept.

        Raises:
            DataError: there was no frame, or the file ended before the frames its index declares.
        """
        count = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            count += 1
            self.arrived = time.monotonic()
            shown = self._property("POS_MSEC") / 1000
            self.time = max(self.time, round(shown, 6) if math.isfinite(shown) else 0.0)
            yield rgb(frame)
        self._check_end(count)

    def _check_end(self, count: int) -> None:
        if not count:
            raise DataError("no frames", file=self.name)
        declared = self._property("FRAME_COUNT")
        # the index of these containers is exact; elsewhere, and beyond reason, the number is a guess
        trusted = self._container in ("AVI", "MP4") and 0 < declared < 1e8
        if not trusted or count >= declared:
            return
        reason = f"ended after {count} of {declared:.0f} declared frames"
        if self._tolerant:
            warnings.warn(f"{self.name}: {reason}", VideoWarning, stacklevel=2)
            return
        remedy = "the file is cut short or damaged; --tolerant takes what is there"
        raise DataError(reason, file=self.name, remedy=remedy)

    def _property(self, name: str) -> float:
        return float(self._capture.get(getattr(import_cv2(), f"CAP_PROP_{name}")))

    def close(self) -> None:
        """Close the file, and say once whether its decoder has complained."""
        self._capture.release()
        before, self._complaints = self._complaints, complaints()
        if count := self._complaints - before:
            times = "once" if count == 1 else f"{count} times"
            _log.warning("%s: damaged: the decoder complained %s, and guessed", self.name, times)


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


def _unopened(path: str, container: str) -> DataError:
    """Why OpenCV, which gives no reason, may have refused a file that begins as a video."""
    if container == "MP4":
        with open_regular(path) as file:
            index = _mp4_index(file)
        if index is None:
            remedy = "its recording or copy was cut short; record or copy it again"
            return DataError("index (moov) missing: the file is incomplete", file=path, remedy=remedy)
        if b"vide" not in index:
            return DataError("the file has no pictures, only sound or data", file=path)
    return DataError(
        "the video cannot be opened", file=path, remedy="the file is damaged, or its codec is unknown"
    )


def _mp4_index(file: BinaryIO) -> bytes | None:
    """The box ``moov`` of an MP4 file, at most 64 MB of it; None without one (ISO 14496-12, 4.2)."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        elif size == 0:  # to the end of the file
            size = end - at
        if kind == b"moov":
            file.seek(at)
            return file.read(min(size, 64_000_000))
        at += max(size, 8)
    return None


def rgb(frame: Any) -> Frame:
    """A picture of OpenCV's, grey or BGR, as (H, W, 3) uint8 RGB."""
    if frame.ndim == 2:
        return np.repeat(frame[..., None], 3, axis=2)
    return np.ascontiguousarray(frame[..., 2::-1])


def sane_fps(fps: float, otherwise: float = 25.0) -> float:
    """Frames per second if they can be: stored rates are 0, -1, 90000 and NaN, too (torture V08)."""
    return fps if math.isfinite(fps) and 0.1 <= fps <= 1000 else otherwise
