"""`visionkit weights calibrate`: find the ranges that int8 needs, on a folder of pictures."""

import argparse
from pathlib import Path

from .detector import open_predictor, ranges_of, use_threads


def run(args: argparse.Namespace) -> int:
    """Write the ranges, and print where."""
    use_threads(args)
    ranges = ranges_of(open_predictor(args), args.images)
    path = Path(args.out)
    ranges.write(path)
    print(path.resolve())
    return 0
