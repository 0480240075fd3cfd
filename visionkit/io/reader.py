"""One attempt to read a live source: a feed of pictures, and the thread that keeps the newest of them."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from ..errors import SourceLostError
from .clip import Frame

#: A picture, or the bytes of a picture file, which are decoded only if somebody asks for it.
Raw = bytes | Frame


class Feed(Protocol):
    """One connection to a source: an iterable of pictures, as arrays or the bytes of picture files.

    It may give None once, first: what it took to get there is not the source's time. It raises an error with
    a reason when it fails. `close` ends, if it can, an iteration that waits in another thread.
    """

    @property
    def fps(self) -> float:
        """Frames a second, as the source says; 0 where it says nothing."""

    def __iter__(self) -> Iterator[Raw | None]:
        """The pictures."""

    def close(self) -> None:
        """Give up."""


class Reader(threading.Thread):
    """One attempt: begins a feed and keeps its newest picture until it fails or is abandoned.

    Args:
        begin: connects to the source.
        changed: held while anything here changes; it is notified of pictures and of the end.

    Attributes:
        newest: the picture that nobody has taken yet, and `time.monotonic()` when it came in.
        alive_at: when the newest picture came; before the first, when the attempt to get it began.
        failed: why it ended.
        dropped: pictures that were overtaken.
        count, first_at: how many pictures came, and when the first one did.
    """

    def __init__(self, begin: Callable[[], Feed], changed: threading.Condition) -> None:
        super().__init__(name="visionkit-reader", daemon=True)
        self._begin, self._changed = begin, changed
        self.feed: Feed | None = None
        self.newest: tuple[Raw, float] | None = None
        self.alive_at = time.monotonic()
        self.failed: Exception | None = None
        self.abandoned = False
        self.dropped = self.count = 0
        self.first_at = 0.0

    def run(self) -> None:
        """Read until the feed fails or nobody wants its pictures."""
        try:
            feed = self._begin()
            try:
                with self._changed:
                    self.feed = feed
                    if self.abandoned:
                        feed.close()
                for raw in feed:
                    if not self._keep(raw):
                        break
            finally:
                feed.close()
            failed: Exception = SourceLostError("the source ended")
        except Exception as error:
            failed = error
        with self._changed:
            self.failed = failed
            self._changed.notify_all()

    def _keep(self, raw: Raw | None) -> bool:
        """Take a picture into the slot; False for one who has been abandoned, whose pictures are late."""
        with self._changed:
            if self.abandoned:
                return False
            self.alive_at = time.monotonic()
            if raw is not None:
                self.dropped += self.newest is not None
                self.newest = raw, self.alive_at
                self.count += 1
                self.first_at = self.first_at or self.alive_at
                self._changed.notify_all()
            return True

    def abandon(self) -> None:
        """Want no more: what hangs is left to itself, and what it gives later is not taken."""
        with self._changed:
            self.abandoned = True
            self.newest = None
        if self.feed:
            self.feed.close()
