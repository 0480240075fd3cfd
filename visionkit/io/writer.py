"""Frames into video files that browsers play."""

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import DataError, FileError
from ..weights.files import TEMPORARY
from .encoders import Encoder, count_frames, open_encoder
from .video import Frame


class VideoWriter:
    """Writes frames to an .mp4 file; a context manager whose end checks that all of them arrived.

    The file grows under a temporary name and takes its own in one step; a writer that is interrupted, or
    whose disk is full, leaves what it has, and that plays. Odd sides lose one row or column, which the
    codecs cannot hold; a side of one pixel is doubled.

    Raises:
        FileError: it cannot be written, or frames were lost.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self.path = Path(path)
        self.frames = 0
        self._fps = fps
        self._size = (0, 0)
        self._encoder: Encoder | None = None
        self._partial = self.path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.mp4")

    def write(self, frame: Frame) -> None:
        """Add an (H, W, 3) uint8 RGB frame; frames of another size than the first are refused."""
        if 1 in frame.shape[:2]:
            frame = np.pad(frame, [(0, int(side == 1)) for side in frame.shape[:2]] + [(0, 0)], "edge")
        height, width = (side - side % 2 for side in frame.shape[:2])
        try:
            if self._encoder is None:
                self._size = (height, width)
                self._encoder = open_encoder(self._partial, self._fps, self._size)
            if (height, width) != self._size:
                raise DataError("the picture size changes within the video", value=(height, width))
            self._encoder.write(frame[:height, :width])
        except OSError as error:
            reason = f"cannot write the video beyond {self.frames} frames: {error.strerror or error}"
            raise FileError(reason, file=self.path, remedy="is the disk full, the folder writable?") from None
        self.frames += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder:
            with contextlib.suppress(OSError):  # whatever it is, the count tells
                self._encoder.close()
        count = count_frames(self._partial) if self.frames else 0
        if count:
            os.replace(self._partial, self.path)
        self._partial.unlink(missing_ok=True)
        if error and count:
            error.add_note(f"{self.path} holds the first {count} frames")
        if count < self.frames and kind is None:
            reason = f"only {count} of {self.frames} frames could be written"
            raise FileError(reason, file=self.path, remedy="is the disk full?")
