"""Cameras and RTSP streams, read by OpenCV in a process of its own.

OpenCV can hang for ever in opening and reading, and FFmpeg's decoders see bytes from strangers: a process can
be killed, and may crash, without a trace (torture V16-V18).
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import SourceLostError
from .capture_child import HEAD
from .clip import Frame

_LARGEST = 1 << 28  # pixels
#: No grey smears, no sound, and no seconds of looking how fast frames come before the first picture.
_OPTIONS = (
    "rtsp_transport;tcp|fflags;discardcorrupt|allowed_media_types;video|fpsprobesize;0|analyzeduration;500000"
)


class Captured:
    """The frames of a camera or stream, from a child process.

    Args:
        source: a camera's number, or an rtsp(s) address.
        timeout: seconds after which somebody else gives up; OpenCV gets twice as many.

    Attributes:
        fps: frames a second, as the source says.
        complaints: lines that the decoders wrote about damaged data so far.
    """

    def __init__(self, source: str | int, timeout: float) -> None:
        self.fps, self.complaints = 0.0, 0
        environment = {
            "OPENCV_FFMPEG_CAPTURE_OPTIONS": _OPTIONS,
            "OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS": "0",  # or Windows takes minutes to open a camera
            **os.environ,
            # what gives the reasons of failures, and counts the complaints of decoders
            "OPENCV_LOG_LEVEL": "WARNING" if isinstance(source, int) else "ERROR",
            "OPENCV_FFMPEG_LOGLEVEL": "16",  # errors
        }
        script = Path(__file__).with_name("capture_child.py")
        self._child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent alone
        )
        # not an argument: everyone can read those, and the address may hold a password
        self._command = json.dumps([source, round(2000 * timeout)]).encode() + b"\n"

    def __iter__(self) -> Iterator[Frame | None]:
        """The frames; None once the process is there.

        Raises:
            SourceLostError: the source could not be opened, ended, or crashed its process.
        """
        with self._child:
            try:
                yield from self._frames()
            finally:
                self._child.kill()

    def _frames(self) -> Iterator[Frame | None]:
        assert self._child.stdin
        with contextlib.suppress(BrokenPipeError):  # a process that ended at once: reading will say so
            self._child.stdin.write(self._command)
            self._child.stdin.flush()
        while True:
            kind, a, b, self.complaints = HEAD.unpack(self._read(HEAD.size))
            if kind == b"r":
                yield None
            elif kind == b"o":
                self.fps = a / 1000
            elif kind == b"f" and 0 < a * b <= _LARGEST:
                yield np.frombuffer(self._read(3 * a * b), np.uint8).reshape(a, b, 3)
            else:
                text = self._read(min(a, 10_000)).decode(errors="replace")
                if self.fps and self.complaints:
                    text += f", and the decoder has complained {self.complaints} times"
                raise SourceLostError(re.sub(r"\[[^]]*(@ 0x[0-9a-f]+|FFMPEG:[0-9]+)\] *", "", text))

    def _read(self, count: int) -> bytearray:
        assert self._child.stdout
        data = bytearray(count)
        at = 0
        while at < count:
            got = self._child.stdout.readinto(memoryview(data)[at:])  # type: ignore[attr-defined]
            if not got:
                raise SourceLostError("the process that reads it ended")
            at += got
        return data

    def close(self) -> None:
        """End the process, whatever it hangs in; an iteration that waits for it ends, too."""
        self._child.kill()
