"""The newest picture of a source that never ends, may stall, and comes back.

A thread reads, and keeps the newest picture only; the one who asks for pictures watches over the thread. What
gives no picture in time is abandoned, whatever it is stuck in, and begun anew after 1, 2, 4 ... 30 seconds,
until the patience is spent (torture V12-V20).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from ..errors import DataError, SourceLostError, UsageError, VisionKitError
from .address import hidden
from .clip import Frame, sane_fps
from .image import read_image
from .reader import Feed, Raw, Reader

_log = logging.getLogger("visionkit")

_LONGEST = 30.0  # s between attempts
_STUCK = 4  # abandoned threads that have not ended: with so many, no further one is begun
_SLICE = 0.2  # s: on Windows, Ctrl-C waits for the end of a wait


class Live:
    """The newest pictures of a source, (H, W, 3) uint8 RGB each; those not asked for in time are dropped.

    It is opened once, without patience: what is wrong with an address is told at once.

    Args:
        begin: connects to the source.
        name: what to call it in messages, without a password.
        reconnect: seconds without a picture after which a source that broke off is lost for good.
        timeout: seconds for the source to connect and to give its first picture, all steps together, and
            for each further one.
        stale: seconds after which a camera that gives the same picture over and over counts as broken off;
            0 for sources that may stand still.
        delay: seconds before the first attempt to connect again; each further one waits twice as long, up
            to 30 seconds.

    Attributes:
        arrived: `time.monotonic()` when the newest picture that was asked for came in.
        time: seconds from the first picture's arrival to that.
        damaged: pictures that arrived and could not be decoded.
        idle: called again and again by the one who waits for a picture; a window may live on there.

    Raises:
        SourceLostError: it cannot be opened. DataError: it gives something else than pictures.
    """

    live = True

    def __init__(
        self,
        begin: Callable[[], Feed],
        name: str,
        *,
        reconnect: float = 300.0,
        timeout: float = 5.0,
        stale: float = 30.0,
        delay: float = 1.0,
    ) -> None:
        self.name = name
        self.arrived = self.time = 0.0
        self.damaged = 0
        self.idle: Callable[[], object] = _nothing
        self._begin, self._reconnect, self._timeout, self._stale = begin, reconnect, timeout, stale
        self._delay = self._first_delay = delay
        self._changed = threading.Condition()
        self._stuck: list[Reader] = []
        self._closed = False
        self._dropped = 0
        self._seen = b""  # what the newest picture looked like
        self._new_at = 0.0  # when it began to look so
        self._damaged_at: float | None = None  # since when all pictures are damaged
        self._lost_at: float | None = None
        self._first_at: float | None = None
        self._reader = self._start()
        try:
            first = self._next()
        except BaseException:
            self.close()
            raise
        with self._changed:  # back into the slot, where a newer one may take its place
            if self._reader.newest:
                self._dropped += 1
            elif first is not None:
                self._reader.newest = first, self.arrived

    @property
    def dropped(self) -> int:
        """Pictures that came in and were overtaken by newer ones."""
        return self._dropped + self._reader.dropped

    @property
    def fps(self) -> float:
        """Frames a second: as the source says, or else as they arrive; 25 before ten have arrived."""
        reader = self._reader
        lasted = reader.alive_at - reader.first_at
        measured = (reader.count - 1) / lasted if reader.count >= 10 and lasted > 0 else 25.0
        return sane_fps(reader.feed.fps if reader.feed else 0.0, sane_fps(measured))

    def __iter__(self) -> Iterator[Frame]:
        """The newest picture, again and again, each once; it ends after `close`.

        Raises:
            SourceLostError: the source is lost for good.
        """
        while (picture := self._next()) is not None:
            if self._first_at is None:
                self._first_at = self.arrived
            self.time = self.arrived - self._first_at
            yield picture

    def close(self) -> None:
        """Give the source up; from another thread it ends an iteration, too."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._reader.abandon()
        if self._reader.feed:
            self._reader.join(1.0)  # a moment for a thread that only has to look up

    def _next(self) -> Frame | None:
        """The newest good picture, waited for; None once closed."""
        while (newest := self._wait()) is not None:
            raw, arrived = newest
            picture = self._decoded(raw)
            if picture is None:
                if self._damaged_at is None:
                    self._damaged_at = arrived
                elif arrived - self._damaged_at > self._timeout:
                    self._fail(SourceLostError("only damaged pictures"))
            elif self._is_frozen(picture):
                self._fail(SourceLostError(f"the same picture for {self._stale:g} seconds"))
            else:
                self._is_good(arrived)
                return picture
        return None

    def _wait(self) -> tuple[Raw, float] | None:
        """The newest picture, once there is one; None once closed."""
        while not self._closed:
            reader = self._reader
            with self._changed:
                if not (reader.newest or reader.failed):
                    self._changed.wait(_SLICE)
                if reader.newest:
                    newest, reader.newest = reader.newest, None
                    return newest
            if reader.failed:
                self._fail(reader.failed)
            elif time.monotonic() - reader.alive_at > self._timeout:
                what = "no picture for" if reader.feed else "no answer within"
                self._fail(SourceLostError(f"{what} {self._timeout:g} seconds"))
            else:
                self.idle()
        return None

    def _decoded(self, raw: Raw) -> Frame | None:
        """The picture; None if it is damaged."""
        if not isinstance(raw, bytes):
            return raw
        try:
            return read_image(raw)
        except DataError:
            self.damaged += 1
            return None

    def _is_frozen(self, picture: Frame) -> bool:
        """Whether this same picture has come for too long: no camera is without noise."""
        step = max(1, min(picture.shape[:2]) // 128)
        seen = picture[::step, ::step].tobytes()
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._new_at = seen, now
        return 0 < self._stale < now - self._new_at

    def _is_good(self, arrived: float) -> None:
        self.arrived = arrived
        if self._lost_at is not None:
            _log.info("%s: back after %.0f seconds", self.name, arrived - self._lost_at)
        self._damaged_at = self._lost_at = None
        self._delay = self._first_delay

    def _fail(self, error: Exception) -> None:
        """Abandon the reader and begin another one, after a while.

        Raises:
            VisionKitError: the error itself, if there was no picture yet.
            SourceLostError: the patience is spent.
        """
        self._reader.abandon()
        self._dropped += self._reader.dropped
        self._reader.dropped = 0
        if not self.arrived:
            raise _named(error, self.name)
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        left = self._lost_at + self._reconnect - now
        if left <= 0:
            reason = f"lost for good: no picture in {self._reconnect:g} seconds"
            raise SourceLostError(f"{reason}; the last reason: {_reason(error)}", file=self.name)
        wait = min(self._delay, left)
        self._delay = min(2 * self._delay, _LONGEST)
        _log.info("%s: %s; trying again in %.3g s", self.name, _reason(error), wait)
        while not self._closed and (rest := now + wait - time.monotonic()) > 0:
            with self._changed:
                self._changed.wait(min(rest, _SLICE))
            self.idle()
        self._damaged_at = None
        self._stuck = [reader for reader in (*self._stuck, self._reader) if reader.is_alive()]
        if not self._closed and len(self._stuck) < _STUCK:
            self._reader = self._start()

    def _start(self) -> Reader:
        reader = Reader(self._begin, self._changed)
        reader.start()
        return reader


def _nothing() -> None:
    """What is done by those who have nothing to do."""


def _reason(error: Exception) -> str:
    """What a failing feed said, for a message."""
    if isinstance(error, VisionKitError):
        return hidden(error.reason)
    return hidden(str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}")


def _named(error: Exception, name: str) -> VisionKitError:
    """The error of a feed, which does not know how it is called, with the name of the source."""
    if isinstance(error, UsageError):
        return error
    kind = type(error) if isinstance(error, VisionKitError) else SourceLostError
    reason = _reason(error)
    return kind(reason, file=None if name in reason else name, remedy=getattr(error, "remedy", None))
