"""Frames into video files."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import DataError, FileError
from .opencv import import_cv2
from .video import Frame


class VideoWriter:
    """Writes frames to an .mp4 file; a context manager whose end checks that all of them arrived.

    The file grows under a temporary name and takes its own in one step. Odd sides lose one row or column,
    which the codec cannot hold.

    Raises:
        FileError: it cannot be written, or frames were lost (a full disk tells OpenCV nothing).
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        self.path = Path(path)
        self.frames = 0
        self._fps = fps
        self._size = (0, 0)
        self._writer: Any = None
        self._partial = self.path.with_name(f".visionkit-tmp-{os.getpid()}-{self.path.stem}.mp4")

    def write(self, frame: Frame) -> None:
        """Add an (H, W, 3) uint8 RGB frame; frames of another size than the first are refused."""
        cv2 = import_cv2()
        height, width = (side - side % 2 for side in frame.shape[:2])
        if self._writer is None:
            self._size = (height, width)
            codec = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self._fps, (width, height))
            if not self._writer.isOpened():
                raise FileError(
                    "the video cannot be written", file=self.path, remedy="is the folder writable?"
                )
        if (height, width) != self._size:
            raise DataError("the picture size changes within the video", value=(height, width))
        self._writer.write(np.ascontiguousarray(frame[:height, :width, ::-1]))
        self.frames += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        cv2 = import_cv2()
        written = cv2.VideoCapture(str(self._partial), cv2.CAP_FFMPEG)
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if self._partial.exists() and count:
            os.replace(self._partial, self.path)
        self._partial.unlink(missing_ok=True)
        if count < self.frames and kind is None:
            reason = f"only {count} of {self.frames} frames could be written"
            raise FileError(reason, file=self.path, remedy="is the disk full?")
