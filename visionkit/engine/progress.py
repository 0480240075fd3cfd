"""Telling how a run goes: a bar on a terminal, plain lines elsewhere, nothing where not wanted."""

import io
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    """Who a trainer talks to."""

    def epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch `epoch` (from 0) begins, `done` of its `steps` are done already."""

    def step(self, loss: float, images: int) -> None:
        """A step is done."""

    def row(self, row: Mapping[str, Any]) -> None:
        """An epoch is done; `row` goes into metrics.csv."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """Says nothing."""

    def epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Nothing."""

    def step(self, loss: float, images: int) -> None:
        """Nothing."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Console:
    """A progress bar on a terminal; elsewhere one line every `every` seconds.

    Args:
        stream: where to write; standard error by default, so that results can be piped on.
        every: seconds between lines where there is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 10.0) -> None:
        self._stream = stream or sys.stderr
        self._every = every
        self._bar: Any = None
        self._loss = 0.0
        self._begin = self._said = time.monotonic()
        self._images = self._steps = self._left = 0
        self._title = ""

    def epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Begin the epoch's bar."""
        self._end_bar()
        self._title = f"epoch {epoch + 1}/{epochs}"
        self._begin = self._said = time.monotonic()
        self._images = self._steps = 0
        self._left = steps * (epochs - epoch) - done
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps, initial=done, desc=self._title, unit="step", file=self._stream, leave=False,
                dynamic_ncols=True,
            )  # fmt: skip

    def step(self, loss: float, images: int) -> None:
        """Move on; the loss shown is a running mean."""
        self._steps += 1
        self._images += images
        self._loss = loss if self._steps == 1 else 0.95 * self._loss + 0.05 * loss
        now = time.monotonic()
        rate = self._images / max(now - self._begin, 1e-9)
        left = (self._left - self._steps) * (now - self._begin) / self._steps
        facts = f"loss {self._loss:.4f}, {rate:.1f} images/s, {duration(left)} left"
        if self._bar is not None:
            self._bar.set_postfix_str(facts, refresh=False)
            self._bar.update()
        elif now - self._said >= self._every:
            self._said = now
            self._write(f"{self._title}: {facts}")

    def row(self, row: Mapping[str, Any]) -> None:
        """The epoch's losses and scores in a line."""
        self._end_bar()
        skipped = ("epoch", "step", "lr", "update/min", "update/median", "update/max")
        facts = ", ".join(f"{k} {v:.4f}" for k, v in row.items() if v is not None and k not in skipped)
        self._write(f"epoch {row['epoch']}: {facts}")

    def message(self, text: str) -> None:
        """The text in a line of its own."""
        self._write(text)

    def close(self) -> None:
        """Take the bar away."""
        self._end_bar()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, line: str) -> None:
        try:
            if self._bar is not None:
                self._bar.write(line, file=self._stream)
            else:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError):  # the reader has gone (`| head`); the training has not
            self._stream = io.StringIO()


def duration(seconds: float) -> str:
    """Seconds as 9 s, 4 min, 2 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
