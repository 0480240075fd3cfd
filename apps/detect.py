"""`visionkit detect`: find objects in pictures, videos, cameras and streams."""

import argparse
from functools import partial

from visionkit.io.draw import draw
from visionkit.io.image import Picture

from .detector import open_detector, use_threads
from .loop import over, sources_of
from .results import Folder, Look


def run(args: argparse.Namespace) -> int:
    """Detect in every source; see `over`."""
    sources = sources_of(args)
    use_threads(args)
    detector = open_detector(args)

    def look(picture: Picture) -> Look:
        found = detector(picture)
        return Look(found, {"": partial(draw, picture, found)})

    return over(sources, look, [Folder(args.out, sources, "-detected")] if args.out else [], args)
