"""How fast results come out, and how late: the figures that a live source is shown with."""

import time
from statistics import median

from visionkit.io.window import Status


class Pace:
    """Results a second, and the median time from a frame's arrival to its result, second by second."""

    def __init__(self) -> None:
        self._rate = self._latency = 0.0
        self._begun, self._late = time.monotonic(), list[float]()

    def out(self, arrived: float) -> bool:
        """Note that a result is out.

        Args:
            arrived: `time.monotonic()` when its frame came in.

        Returns:
            Whether a second is over, and the figures are new.
        """
        now = time.monotonic()
        self._late.append(now - arrived)
        if now - self._begun < 1:
            return False
        self._rate = len(self._late) / (now - self._begun)
        self._latency = 1e3 * median(self._late)
        self._begun, self._late = now, []
        return True

    def status(self, dropped: int) -> Status | None:
        """The figures of the last whole second and the frames `dropped` so far; None before there are any."""
        return Status(self._rate, self._latency, dropped) if self._rate else None
