"""One run per folder: a lock that the system lets go of when its owner dies (torture T13)."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import LockedError
from ..weights.files import file_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """A lock file that names its owner's pid, host and start; a context manager.

    The lock itself is the system's (flock), so a killed owner leaves nothing that could block.

    Raises:
        LockedError: another living process holds it.
        FileError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> "Lock":
        while self._file is None:
            try:
                file = open(self.path, "a+", encoding="utf-8")
            except OSError as error:
                raise file_error(error, self.path, "lock the run folder") from None
            try:
                self._take(file)
                # The former owner may have deleted the file between our open and our lock.
                if self._current(file):
                    self._file = file
            except OSError as error:
                raise file_error(error, self.path, "lock the run folder") from None
            finally:
                if self._file is None:
                    file.close()
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        try:
            self._file.truncate(0)
            self._file.write(json.dumps(owner))
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            raise file_error(error, self.path, "lock the run folder") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what stays is let go of by the system and holds nobody up
                self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _take(self, file: IO[str]) -> None:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            file.seek(0)
            try:
                owner = json.loads(file.read())
                who = f"pid {owner['pid']} on {owner['host']}, started {owner['started']}"
            except (OSError, ValueError, KeyError, TypeError):
                who = "another process"
            raise LockedError(
                f"another run writes here: {who}",
                file=self.path.parent,
                remedy="wait for it or choose another folder",
            ) from None

    def _current(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False
