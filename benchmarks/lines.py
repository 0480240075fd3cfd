"""How the benchmarks that train tell of it."""

import time
from collections.abc import Mapping
from typing import Any

from visionkit.engine.progress import Silent


class Lines(Silent):
    """A line for every epoch that was scored, and the minutes since this was made.

    Args:
        score: the column of metrics.csv to show; spec: how, such as ".2%".
        loss: the column of the training loss.
    """

    def __init__(self, score: str, spec: str, loss: str) -> None:
        self._score, self._spec, self._loss = score, spec, loss
        self._begin = time.monotonic()

    def row(self, row: Mapping[str, Any]) -> None:
        """Score, loss and the minutes so far."""
        if self._score in row:
            score = f"{self._score} {row[self._score]:{self._spec}}"
            loss = f"training loss {row[self._loss]:.4f}"
            print(f"epoch {row['epoch']:3}: {score}, {loss}, {self.minutes}", flush=True)

    @property
    def minutes(self) -> str:
        """The time so far, in words."""
        return f"{(time.monotonic() - self._begin) / 60:.2f} minutes"
