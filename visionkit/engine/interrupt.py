"""Ctrl-C and the polite signals: finish the step, save, leave (torture T07)."""

import shlex
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal and can be resumed.

    Attributes:
        folder: the run folder.
        checkpoint: the newest checkpoint.
    """

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.folder, self.checkpoint = folder, checkpoint
        command = f"visionkit train --resume {shlex.quote(str(folder))}"
        super().__init__(f"interrupted; saved {checkpoint}. Go on with: {command}")


class Signals:
    """Notes the first SIGINT, SIGTERM or SIGHUP; the second one raises KeyboardInterrupt at once.

    A context manager; outside the main thread it does nothing, as Python allows handlers there alone.

    Attributes:
        pending: whether a signal has come.
        immediate: raise at the first signal; set where stopping in the middle loses nothing.
    """

    def __init__(self) -> None:
        self.pending = False
        self.immediate = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # A signal that was ignored from outside (nohup) stays ignored.
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending or self.immediate:
            raise KeyboardInterrupt
        self.pending = True
