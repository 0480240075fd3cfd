"""The command `visionkit`: from arguments to an exit code. Nothing heavy is imported here.

0 ok, 1 a threshold failed, 2 usage, 3 bad data, 4 bad weights, 5 input or output, 6 live source lost,
7 training diverged, 8 output locked, 70 internal error, 130 interrupted, 141 the reader of a pipe went away.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

from visionkit.errors import FileError, VisionKitError

from .arguments import parse
from .terminal import log_to, say

INTERNAL, INTERRUPTED, PIPE = 70, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the only place where errors become messages."""
    given = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what no encoding can
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = _run(given)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        _drop_stdout()
        return PIPE
    except KeyboardInterrupt as stopped:
        return _say(str(stopped) or "interrupted", INTERRUPTED)
    except Exception as error:
        if "--debug" in given:
            raise
        return _explain(error)


def _run(argv: list[str]) -> int:
    try:
        args = parse(argv)
    except SystemExit as done:  # argparse printed --help or --version
        return int(done.code or 0)
    log_to(say)
    module = import_module(f"visionkit.apps.{args.module}")
    return int(module.run(args))


def _explain(error: Exception) -> int:
    """The message and exit code of an error."""
    if isinstance(error, VisionKitError):
        notes = [f"  {note}" for note in getattr(error, "__notes__", [])]
        return _say("\n".join([str(error), *notes]), error.exit_code)
    if isinstance(error, MemoryError):
        return _say(f"out of memory {error}".strip(), FileError.exit_code)
    if isinstance(error, OSError):
        return _say(str(error), FileError.exit_code)
    text = f"internal error: {type(error).__name__}: {error}"
    return _say(f"{text}\n  run it again with --debug for a traceback to report", INTERNAL)


def _say(text: str, code: int) -> int:
    say(text)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, without the place in the source."""
    say(f"warning: {message}")


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, or Python complains once more on its way out."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


if __name__ == "__main__":
    raise SystemExit(main())
