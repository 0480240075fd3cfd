"""Frames into .mp4 files that browsers play: H.264 by PyAV where it is installed, else VP9 by OpenCV."""

import errno
import logging
import os
import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .opencv import import_cv2
from .video import Frame

SLOW = (
    "videos are encoded as VP9, 12 frames/s of 768 x 432; "
    "pip install 'visionkit[video]' for H.264, 250 frames/s"
)

_log = logging.getLogger("visionkit")
#: Bytes that must stay free for the index of a VP9 file and the frames that its encoder still holds.
_ROOM = 4_000_000


class Encoder(Protocol):
    """Writes one .mp4 file."""

    def write(self, frame: Frame) -> None:
        """Add a frame (H, W, 3) uint8 RGB of the size the encoder was made for.

        Raises:
            OSError: the file cannot grow; what it has can be played once it is closed.
        """

    def close(self) -> None:
        """Write what is left and the index; to be called once, and errors as of `write`."""


def import_av() -> Any:
    """PyAV with an encoder for H.264 (the extra `video`), or None."""
    try:
        import av

        av.Codec("libx264", "w")
    except (ImportError, ValueError):
        return None
    return av


def open_encoder(path: Path, fps: float, size: tuple[int, int]) -> Encoder:
    """An encoder for frames of (height, width), both even.

    Raises:
        OSError: the file cannot be made.
    """
    av = import_av()
    if av:
        return H264(av, path, fps, size)
    _say_slow()
    return VP9(path, fps, size)


@cache
def _say_slow() -> None:
    """Once a process."""
    _log.info(SLOW)


class H264:
    """H.264 by the x264 in PyAV's wheels: 4 ms of one core for a frame of 768 x 432.

    While the file grows its index is in fragments, so that it can be played wherever it ends.
    """

    def __init__(self, av: Any, path: Path, fps: float, size: tuple[int, int]) -> None:
        # 29.97 is 30000/1001; a rate of 0 would be none
        rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))
        self._av, self._path = av, path
        self._container = av.open(
            str(path), "w", options={"movflags": "hybrid_fragmented", "flush_packets": "1"}
        )
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"  # the one layout that every browser plays
        codec = self._stream.codec_context
        codec.options = {"preset": "veryfast", "crf": "23", "bf": "0"}  # B-frames would shift the first time
        codec.gop_size = max(1, round(2 * rate))  # a fragment, and a place to jump to, every two seconds
        # what the conversion from RGB does, said in the file: BT.601's matrix; primaries are those of sRGB
        codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range = 6, 1, 1, 1
        self._container.start_encoding()  # now, not when the first frame leaves the encoder

    def write(self, frame: Frame) -> None:
        """See `Encoder`."""
        self._mux(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))

    def close(self) -> None:
        """See `Encoder`."""
        try:
            try:
                self._mux(None)
            finally:
                self._container.close()
        except OSError:
            _cut(self._path)
            raise

    def _mux(self, picture: Any) -> None:
        self._container.mux(self._stream.encode(picture))


class VP9:
    """VP9 by OpenCV's own FFmpeg, which takes no options: 80 ms of one core for a frame of 768 x 432."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        cv2 = import_cv2()
        self._path, self._room = path, max(_ROOM, 3 * size[0] * size[1])
        codec = cv2.VideoWriter_fourcc(*"vp09")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, max(fps, 0.01), size[::-1])
        if not self._writer.isOpened():
            raise OSError(errno.EIO, "OpenCV cannot write this video", str(path))

    def write(self, frame: Frame) -> None:
        """See `Encoder`; it stops while there is room for the index, for a full disk tells OpenCV nothing."""
        if shutil.disk_usage(self._path.parent).free < self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))

    def close(self) -> None:
        """See `Encoder`."""
        self._writer.release()


def _cut(path: Path) -> None:
    """Cut an unfinished .mp4 file behind its last whole fragment: boxes of a size, a kind and a content."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        end = whole = 0
        while len(head := file.read(8)) == 8 and int.from_bytes(head[:4]) >= 8:
            end += int.from_bytes(head[:4])
            if head[4:] == b"mdat" and end <= size:
                whole = end
            file.seek(end)
        file.truncate(whole)


def count_frames(path: Path) -> int:
    """How many frames a file holds that an encoder wrote; 0 if it cannot be opened."""
    if av := import_av():
        try:
            with av.open(str(path)) as container:
                return sum(packet.size > 0 for packet in container.demux(video=0))
        except (OSError, ValueError):  # ValueError: FFmpeg finds the data invalid
            return 0
    cv2 = import_cv2()
    written = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    finally:
        written.release()
