"""The one family of errors.

VisionKitError                              exit 70
├── UsageError(ValueError)                  exit 2    a wrong argument or flag
│   └── UnknownNameError                    exit 2    no such model, layer, class; says what is near
├── ShapeError(ValueError)                  exit 2    an array of the wrong shape or dtype
├── TraceError(RuntimeError)                exit 70   a network's graph depends on values
├── DataError(ValueError)                   exit 3    pictures, annotations, detections
├── WeightsError(ValueError)                exit 4    weight files and their configuration
├── FileError(OSError)                      exit 5    missing, unreadable, full, not writable
├── SourceLostError(OSError)                exit 6    a live source that is gone for good
├── DivergedError(ArithmeticError)          exit 7    a loss or gradient that is not finite
└── LockedError(RuntimeError)               exit 8    an output that another run is writing

Every message names file, place, value, reason and remedy, as far as each exists.
"""

from os import PathLike

_MISSING = object()


def shown(value: object, limit: int = 80) -> str:
    """`value` for a message: its repr, control characters escaped, cut to `limit` characters."""
    text = repr(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


class VisionKitError(Exception):
    """An error whose message says where it happened and what to do.

    Args:
        reason: what is wrong, in a sentence without a full stop.
        file: the file it was found in.
        place: where in it: a JSON pointer, byte offset, line or frame number.
        value: the offending value; shown cut to 80 characters.
        remedy: what the user can do.
    """

    exit_code = 70

    def __init__(
        self,
        reason: str,
        *,
        file: str | bytes | PathLike[str] | None = None,
        place: str | None = None,
        value: object = _MISSING,
        remedy: str | None = None,
    ) -> None:
        self.reason, self.file, self.place, self.remedy = reason, file, place, remedy
        self.value = None if value is _MISSING else value
        where = []
        if file is not None:
            where.append(shown(str(file), 400).strip("'\""))
        if place:
            where.append(place)
        text = ": ".join([*where, reason])
        if value is not _MISSING:
            text += f" (found {shown(value)})"
        if remedy:
            text += f"{'' if text.endswith('?') else '.'} {remedy[0].upper()}{remedy[1:]}"
        super().__init__(text)

    def __str__(self) -> str:
        return str(self.args[0])


class UsageError(VisionKitError, ValueError):
    """A wrong argument or flag."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that does not exist; the message lists near ones."""


class ShapeError(VisionKitError, ValueError):
    """An array of the wrong shape or dtype."""

    exit_code = 2


class TraceError(VisionKitError, RuntimeError):
    """A network whose graph depends on values, which a traced tensor does not have."""


class DataError(VisionKitError, ValueError):
    """Bad pictures, annotations or detections."""

    exit_code = 3


class WeightsError(VisionKitError, ValueError):
    """A weight file or its configuration that cannot be used."""

    exit_code = 4


class FileError(VisionKitError, OSError):
    """A file that is missing, unreadable, full or not writable."""

    exit_code = 5


class SourceLostError(VisionKitError, OSError):
    """A live source that is gone for good."""

    exit_code = 6


class DivergedError(VisionKitError, ArithmeticError):
    """Training whose loss or gradient is no longer finite."""

    exit_code = 7


class LockedError(VisionKitError, RuntimeError):
    """An output that another run is writing."""

    exit_code = 8
