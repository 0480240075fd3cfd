"""`visionkit detect`: find objects in pictures, videos, cameras and streams."""

import argparse
from functools import partial

from visionkit.io.draw import draw
from visionkit.io.window import Threshold

from .detector import open_detector, use_threads
from .loop import Shot, over, sources_of
from .results import Look
from .sinks import opened_sinks


def run(args: argparse.Namespace) -> int:
    """Detect in every source; see `over`."""
    sources = sources_of(args)
    use_threads(args)
    detector = open_detector(args)
    threshold = Threshold(detector.confidence)

    def look(shot: Shot) -> Look:
        found = detector(shot.picture, threshold.value)
        return Look(found, {"": partial(draw, shot.picture, found)})

    with opened_sinks(args, sources, "-detected", detector.info.category_ids) as sinks:
        return over(sources, look, sinks, args, threshold)
