"""Which cameras there are, by number and name; none is opened."""

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import SourceLostError, UsageError

_LISTED, _DEVICES = Path("/sys/class/video4linux"), Path("/dev")
_NUMBER = re.compile(r"-?[0-9]+")
_DEVICE = re.compile(r"/dev/(?:v4l/|video)\S*")


class Camera(NamedTuple):
    """One camera that Linux lists.

    Attributes:
        number: N of /dev/videoN.
        name: what its driver calls it.
        path: its device file.
    """

    number: int
    name: str
    path: Path


def cameras() -> list[Camera]:
    """Every camera of this machine; empty where the system is not Linux.

    Only the first device of each camera counts: others, such as those for metadata, give no pictures.
    """
    found = []
    for entry in sorted(_LISTED.glob("video*"), key=lambda path: (len(path.name), path.name)):
        number = entry.name.removeprefix("video")
        if number.isdecimal() and _text(entry / "index") in ("0", ""):
            found.append(Camera(int(number), _text(entry / "name"), _DEVICES / entry.name))
    return found


def is_camera(source: str) -> bool:
    """Whether a source means a camera: a number, a device file, or the name of one that is there."""
    return bool(_NUMBER.fullmatch(source) or _DEVICE.fullmatch(source)) or source in _names()


def camera_number(source: str) -> int:
    """The number of a camera that is there and may be read.

    Args:
        source: a number, a device file such as /dev/video2 or a link to one, or a camera's name.

    Raises:
        UsageError: a negative or absurd number, which would crash OpenCV.
        SourceLostError: there is no such camera, or this user may not read it.
    """
    by_name = [camera.number for camera in cameras() if camera.name == source]
    if by_name:
        number = by_name[0]
    elif _NUMBER.fullmatch(source):
        number = int(source) if len(source) < 12 else -1
        if not 0 <= number < 2**31:
            raise UsageError("a camera number is 0 or more", value=source)
    else:
        device = re.fullmatch(r"/dev/video([0-9]{1,9})", os.path.realpath(source))
        if not device:
            raise _missing(source)
        number = int(device[1])
    if sys.platform == "linux":
        path = _DEVICES / f"video{number}"
        if not path.exists():
            raise _missing(source)
        if not os.access(path, os.R_OK | os.W_OK):
            remedy = f"you may not use {path}: add yourself to its group (video) and log in again"
            raise SourceLostError(f"camera {source} cannot be opened: permission denied", remedy=remedy)
    return number


def _missing(source: str) -> SourceLostError:
    found = ", ".join(f"{camera.number} ({camera.name})" for camera in cameras()) or "none"
    return SourceLostError(f"camera {source} not found; found: {found}")


def _names() -> set[str]:
    return {camera.name for camera in cameras()} - {""}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
