"""`visionkit warmup`: compile a network's kernels now, so that the first picture need not wait."""

import argparse
import time

from .detector import input_size, open_predictor, use_threads


def run(args: argparse.Namespace) -> int:
    """Load the network and run it once on an empty picture."""
    import numpy as np

    from visionkit.kernels.jit import cache_folder

    begin = time.monotonic()
    use_threads(args)
    predictor = open_predictor(args)
    predictor(np.full((*input_size(predictor), 3), 114, np.uint8))
    kept = f"kept in {cache_folder()}" if cache_folder() else "not kept: no cache folder can be written"
    print(f"{predictor!r} is ready after {time.monotonic() - begin:.1f} s; kernels are {kept}")
    return 0
