"""Words to the user go to standard error, so that standard output holds results alone."""

import sys


def say(text: str) -> None:
    """One message; a standard error that is closed or knows few letters stops nothing."""
    try:
        sys.stderr.write(f"visionkit: {text}\n".encode(errors="backslashreplace").decode())
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return
