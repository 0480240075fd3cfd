"""Which library runs the parallel kernels; numba tells only after one has run."""

import numba
import numpy as np

from .jit import parallel, prange


@parallel
def _touch(out):
    for i in prange(len(out)):
        out[i] = i


def threading_layer() -> str:
    """The library that runs parallel kernels here: "omp", "tbb" or "workqueue"."""
    _touch(np.empty(64, np.float32))
    return str(numba.threading_layer())
