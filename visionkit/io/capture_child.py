"""A process of its own that reads a camera or an RTSP stream by OpenCV, which may hang in it or crash it.

It runs as a script, without the rest of visionkit. Standard input brings one line of JSON, the source and the
time limit of each step in ms, and its end ends the process. Standard output takes messages: HEAD, then so
many bytes.

    r: ready to open the source
    o: opened; a is 1000 x frames a second
    f: a frame of a rows and b columns, RGB
    e: an error, a bytes of UTF-8; it is the last message

`complaints` of each HEAD is how many lines decoders have written to standard error so far.
"""

import json
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

#: kind, a, b, complaints.
HEAD = struct.Struct("<cIIQ")
_WARM_UP, _BLACK = 2.0, 8  # cameras begin with black pictures: so many seconds, below that brightness


class Complaints(threading.Thread):
    """Counts the lines that anything in this process writes to standard error, and keeps the last one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count, self.last = 0, ""
        self._end, writes = os.pipe()
        os.dup2(writes, 2)
        os.close(writes)
        self.start()

    def run(self) -> None:
        """Read to the end."""
        with os.fdopen(self._end, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.count += 1
                self.last = line.strip() or self.last

    def end(self) -> None:
        """Wait for what has been written so far; what comes later goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.dup2(nowhere, 1)
        self.join(1.0)


def main() -> None:
    """Send every frame of the source that standard input names, until it ends."""
    out = os.fdopen(os.dup(1), "wb")
    complaints = Complaints()
    os.dup2(2, 1)  # what libraries print is no message
    source, limit = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        reason = _send(source, limit, out, complaints)
    except OSError:  # the parent has closed the pipe
        return
    data = reason.encode()
    out.write(HEAD.pack(b"e", len(data), 0, complaints.count) + data)
    out.flush()


def _end_with_parent() -> None:
    """Leave when standard input ends, wherever the process hangs."""
    sys.stdin.buffer.read()
    os._exit(0)


def _send(source: str | int, limit: int, out: BinaryIO, complaints: Complaints) -> str:
    """Send frames; why there are no more."""
    import cv2

    out.write(HEAD.pack(b"r", 0, 0, complaints.count))  # the time to get here is not the source's
    out.flush()
    capture = _open(cv2, source, limit)
    if not capture.isOpened():
        complaints.end()
        return f"it cannot be opened. {complaints.last or 'No reason is given'}"
    fps = capture.get(cv2.CAP_PROP_FPS)
    rate = int(1000 * fps) if 0 < fps < 1e6 else 0
    out.write(HEAD.pack(b"o", rate, 0, complaints.count))
    out.flush()
    begun = time.monotonic()
    while True:
        there, frame = capture.read()
        if not there:
            return "no more pictures"
        if isinstance(source, int) and time.monotonic() - begun < _WARM_UP and frame.max() < _BLACK:
            continue
        code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB
        frame = cv2.cvtColor(frame, code)
        out.write(HEAD.pack(b"f", *frame.shape[:2], complaints.count))
        out.write(frame.data)
        out.flush()


def _open(cv2: Any, source: str | int, limit: int) -> Any:
    if isinstance(source, int):
        capture = cv2.VideoCapture(source, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    one = [cv2.CAP_PROP_N_THREADS, 1]  # each further thread of a decoder holds a frame back
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits + one)


if __name__ == "__main__":
    main()
