"""`visionkit track`: follow objects through videos, cameras and sequences of pictures, and count them."""

import argparse

from visionkit.io.window import Threshold

from .detector import open_detector, use_threads
from .following import FollowedFolder, Following, lower_confidence
from .loop import Shot, over, sources_of
from .results import Look
from .sinks import opened_sinks

#: The confidence of sure detections, which is that of `detect`.
CONFIDENCE = 0.4


def run(args: argparse.Namespace) -> int:
    """Follow what is found in every source; see `over`."""
    sources = sources_of(args)
    use_threads(args)
    threshold = Threshold(lower_confidence(args, CONFIDENCE))
    detector = open_detector(args)

    def look(shot: Shot) -> Look:
        return Look(detector(shot.picture), {})

    ids = detector.info.category_ids
    with opened_sinks(args, sources, "-tracked", ids, FollowedFolder) as sinks:
        return over(sources, Following(look, threshold, args), sinks, args, threshold)
