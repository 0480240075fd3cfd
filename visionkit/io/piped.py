"""Pictures on standard input: one, or a stream of JPEGs."""

import time
import warnings
from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO

from ..errors import DataError, UsageError
from .clip import Frame, VideoWarning
from .header import MAX_BYTES
from .image import read_image
from .jpegs import JpegSplitter

_CHUNK = 65536
_OTHERS = (b"\x89PN", b"GIF", b"II*", b"II+", b"MM\0", b"BM", b"RIF")  # how other pictures begin


class Piped:
    """Every picture of a pipe, in order: joined JPEGs (MJPEG), or one picture of any format.

    Args:
        pipe: where to read; the first picture is waited for, and the beginning of what follows it.
        tolerant: damaged pictures in a stream are left out with a `VideoWarning`.

    Attributes:
        single: whether there is one picture and no more.
        time: seconds from the first picture's arrival to that of the newest.
        arrived: `time.monotonic()` when the newest picture came in.

    Raises:
        UsageError: it is a terminal. DataError: it holds no picture.
    """

    name, live, dropped, fps = "stdin", False, 0, 25.0

    def __init__(self, pipe: BinaryIO, *, tolerant: bool = False) -> None:
        if pipe.isatty():
            raise UsageError("standard input is a terminal", remedy="pipe a picture, or a stream of JPEGs")
        self._pipe, self._tolerant = pipe, tolerant
        self._splitter = JpegSplitter(MAX_BYTES)
        self.time = self.arrived = 0.0
        stream = self._contents()
        first = list(islice(stream, 2))
        if not first:
            remedy = "pipe a picture, or a stream of JPEGs: ffmpeg -i VIDEO -f mjpeg - | visionkit ... -"
            raise DataError("no whole picture", file=self.name, remedy=remedy)
        self.single = len(first) == 1
        self._stream = chain(first, stream)

    def _contents(self) -> Iterator[bytes]:
        """The content of every picture file in the pipe."""
        begin = self._pipe.read(3)
        if begin in _OTHERS or begin[:2] in _OTHERS:
            yield begin + self._pipe.read(MAX_BYTES)
            return
        yield from self._splitter.push(begin)
        while data := self._pipe.read1(_CHUNK):  # type: ignore[attr-defined]
            yield from self._splitter.push(data)
        self._splitter.end()

    def __iter__(self) -> Iterator[Frame]:
        """The pictures.

        Raises:
            DataError: the only picture is damaged; or, after all others, some of a stream are.
        """
        begun, count, damaged = 0.0, 0, 0
        for content in self._stream:
            count += 1
            self.arrived = time.monotonic()
            begun = begun or self.arrived
            self.time = self.arrived - begun
            try:
                picture = read_image(content)
            except DataError:
                if self.single:
                    raise
                damaged += 1
                continue
            yield picture
        damaged += self._splitter.damaged
        if damaged:
            reason = f"{damaged} of {count + self._splitter.damaged} pictures were damaged"
            if not self._tolerant:
                raise DataError(reason, file=self.name, remedy="--tolerant leaves them out")
            warnings.warn(f"{self.name}: {reason}", VideoWarning, stacklevel=2)

    def close(self) -> None:
        """Nothing to close: standard input is not ours."""
