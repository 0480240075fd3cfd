"""Which library runs the parallel kernels; numba tells only after one has run."""

import warnings
from functools import cache

import numba
import numpy as np

from .jit import parallel, prange


@parallel
def _touch(out):
    for i in prange(len(out)):
        out[i] = i


#: What it costs to have no OpenMP, and the remedy.
SLOW = (
    "OpenMP is missing: each parallel loop starts in about 90 microseconds instead of 1, some 5 ms a picture "
    "for a network of 50 layers; install libgomp (apt-get install libgomp1)"
)


@cache
def warn_if_slow() -> None:
    """Warn, once, that kernels start slowly here; to be called after one has run."""
    if numba.threading_layer() == "workqueue":
        warnings.warn(SLOW, RuntimeWarning, stacklevel=2)


def threading_layer() -> str:
    """The library that runs parallel kernels here: "omp", "tbb" or "workqueue"."""
    _touch(np.empty(64, np.float32))
    return str(numba.threading_layer())
