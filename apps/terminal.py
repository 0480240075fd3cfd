"""Words to the user go to standard error, so that standard output holds results alone."""

import logging
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """One message; a standard error that is closed or knows few letters stops nothing."""
    try:
        sys.stderr.write(f"visionkit: {text}\n".encode(errors="backslashreplace").decode())
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def log_to(tell: Callable[[str], None]) -> None:
    """What the library logs, such as that it has to compile kernels, becomes messages."""
    logger = logging.getLogger("visionkit")
    logger.setLevel(logging.INFO)
    logger.handlers = [_Teller(tell)]
