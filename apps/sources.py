"""What SOURCE can be: pictures, folders, globs, lists, videos, cameras, streams, the screen, pipes."""

import argparse
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from visionkit.errors import DataError, FileError, UsageError
from visionkit.io.address import hidden
from visionkit.io.image import Picture, read_image
from visionkit.io.video import Video, is_live, is_video
from visionkit.weights.files import read_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
_LIST_BYTES = 100_000_000


class Inputs:
    """The files that are looked at, which no result may replace."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._files = {Path(name).resolve() for name in sources}

    def spare(self, target: Path) -> None:
        """Let a result be written to `target`.

        Raises:
            UsageError: it is one of the files.
        """
        if target.resolve() in self._files:
            remedy = "write it elsewhere"
            raise UsageError("the result would overwrite a source", value=str(target), remedy=remedy)


def demo_picture() -> Path:
    """A portrait in the public domain (Rear Admiral Grace Hopper, U.S. Navy) that comes with matplotlib.

    Raises:
        FileError: this matplotlib came without it.
    """
    spec = find_spec("matplotlib")
    path = Path(spec.origin if spec and spec.origin else "").parent / "mpl-data/sample_data/grace_hopper.jpg"
    if not path.is_file():
        raise FileError(
            "the demonstration picture is not there", file=path, remedy="name a picture of your own"
        )
    return path


def expand(sources: Sequence[str]) -> list[str]:
    """Every single picture, video, camera and stream that the sources name, in order, each once.

    Raises:
        UsageError: an address of another kind than http(s) or rtsp(s).
        DataError: a folder or list without pictures.
        FileError: a glob that matches nothing, or a list that cannot be read.
    """
    return list(dict.fromkeys(name for source in sources for name in _expand(source)))


def _expand(source: str) -> Iterator[str]:
    path = Path(source)
    if source == "-" or is_live(source):
        yield source
    elif "://" in source:
        raise UsageError("only http(s):// and rtsp(s):// addresses can be opened", value=hidden(source))
    elif path.is_dir():
        found = sorted(p for p in path.iterdir() if is_picture(p) or is_video(p))
        if not found:
            raise DataError(
                "no pictures in this folder", file=path, remedy=f"looked for {' '.join(PICTURES)}"
            )
        yield from map(str, found)
    elif path.suffix.lower() == ".txt":
        yield from _listed(path)
    elif not os.path.lexists(source) and any(c in source for c in "*?["):
        found_names = sorted(glob.glob(source, recursive=True))
        if not found_names:
            raise FileError("nothing matches this pattern", file=source)
        yield from (name for name in found_names if not Path(name).is_dir())
    else:
        yield source


def open_source(source: str, args: argparse.Namespace) -> Video | Picture:
    """What moves, open; or a still picture, (H, W, 3) uint8 RGB.

    Args:
        source: one of those that `expand` gives.
        args: --reconnect, --stale and --tolerant.

    Raises:
        UsageError, DataError, FileError, SourceLostError: as of `Video` and `read_image`.
    """
    if source != "-" and not is_live(source) and not is_video(source):
        return read_image(source, allow_truncated=args.tolerant)
    video = Video(source, reconnect=args.reconnect, stale=args.stale, tolerant=args.tolerant)
    return next(iter(video)) if video.single else video


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is a picture; dot files are left out."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def _listed(path: Path) -> Iterator[str]:
    try:
        lines = read_bytes(path, _LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", file=path, place=f"byte {error.start}") from None
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise DataError("no pictures in this list", file=path)
    yield from names
