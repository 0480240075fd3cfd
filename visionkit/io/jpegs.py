"""Whole JPEG pictures out of a stream of bytes, whatever stands between them.

MJPEG over HTTP, files of joined JPEGs and pipes are all read so: a picture is followed marker by marker
(ITU T.81, annex B), so that boundaries, headers and their lengths, which cameras get wrong, need not be
believed. A picture that breaks off is left out, and the search goes on with the next beginning.
"""

import re
from collections.abc import Iterator

_BEGIN = b"\xff\xd8\xff"
# in coded data, FF 00 is a stuffed byte and FF D0-D7 a restart: anything else ends it
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RST0, _SOI, _EOI, _SOS, _COM = 0xD0, 0xD8, 0xD9, 0xDA, 0xFE


class JpegSplitter:
    """Takes bytes as they come and gives the JPEGs that are complete.

    Args:
        limit: most bytes of one picture; longer ones count as damaged.

    Attributes:
        damaged: pictures that began and did not end.
    """

    def __init__(self, limit: int = 50_000_000) -> None:
        self.damaged = 0
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0  # of the next marker of the picture that begins the buffer; 0: none has begun
        self._coded = False  # the marker is to be searched, behind coded data
        self._tables = 0  # where the segment before it begins, if that holds no text and no thumbnail

    def push(self, data: bytes) -> Iterator[bytes]:
        """The pictures that `data` completes."""
        self._buffer += data
        while self._find_begin():
            end = self._find_end()
            if end > 0:
                yield bytes(self._buffer[:end])
                self._forget(end)
            elif end < 0 or len(self._buffer) > self._limit:
                self.damaged += 1
                self._forget(self._at)  # not less: a thumbnail within what is damaged is no picture
            else:
                return

    def end(self) -> None:
        """No more bytes will come: a picture that has begun is damaged."""
        self.damaged += bool(self._at)
        self._forget(len(self._buffer))

    def _find_begin(self) -> bool:
        """Whether the buffer begins with a picture, once what stands before the next one is gone."""
        if not self._at:
            begin = self._buffer.find(_BEGIN)
            if begin < 0:
                del self._buffer[:-2]
                return False
            del self._buffer[:begin]
            self._at = 2
        return True

    def _find_end(self) -> int:
        """Where the picture ends; 0: not yet; -1: it is damaged."""
        buffer = self._buffer
        while True:
            if self._coded:
                found = _MARKER.search(buffer, self._at)
                if not found:
                    self._at = max(self._at, len(buffer) - 1)
                    return 0
                self._at, self._coded = found.start(), False
            marker = buffer[self._at : self._at + 4]
            if len(marker) < 2:
                return 0
            kind = marker[1]
            if marker[0] != 0xFF:
                return -1
            if kind == 0xFF:  # a fill byte
                self._at += 1
                continue
            if self._tables and buffer.find(_BEGIN, self._tables, self._at + 3) >= 0:
                return -1  # the segment broke off, and its length led into the next picture
            if kind == _EOI:
                return self._at + 2
            length = int.from_bytes(marker[2:], "big")
            if kind < 0xC0 or _RST0 <= kind <= _SOI or (length < 2 and len(marker) == 4):
                return -1
            if len(marker) < 4:
                return 0
            self._tables = 0 if 0xE0 <= kind <= _COM else self._at + 4
            self._at += 2 + length
            self._coded = kind == _SOS

    def _forget(self, count: int) -> None:
        del self._buffer[:count]
        self._at, self._coded, self._tables = 0, False, 0
