"""OpenCV, imported late: it serves videos, cameras and windows, and nothing else needs it."""

import os
from typing import Any

from ..errors import FileError

#: AV_LOG_QUIET.
QUIET = "-8"


def import_cv2() -> Any:
    """OpenCV, or a sentence that says what is missing.

    Raises:
        FileError: it, or a system library it needs, is not installed.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", QUIET)
    try:
        import cv2
    except ImportError as error:
        raise FileError(f"OpenCV cannot be loaded: {error}", remedy=cv2_remedy(str(error))) from None
    return cv2


def cv2_remedy(message: str) -> str:
    """What to do about an import error of OpenCV."""
    packages = {
        "libGL": "libgl1",
        "libgthread": "libglib2.0-0",
        "libglib": "libglib2.0-0",
        "libxcb": "libxcb1",
    }
    for library, package in packages.items():
        if library in message:
            return (
                f"the system library {library} is missing: install {package} (apt-get install {package}), "
                "or do without windows: pip uninstall opencv-python, pip install opencv-python-headless"
            )
    return "pip install opencv-python, or opencv-python-headless where there is no screen"
