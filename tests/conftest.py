"""What all tests share: one BLAS thread, no windows, reproducible random numbers, the way to real data."""

import os
import signal

# Before numpy loads: BLAS threads would change last bits and fight with the kernels' own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import numpy as np
import pytest

from visionkit.kernels import jit

# A runner in the background ignores Ctrl-C, and so would every command that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _as_many_threads_as_before():
    """A command that was run with `--threads 1` leaves its mark on no later test."""
    before = jit.threads()
    yield
    jit.set_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips the test where there is none."""
    folder = os.environ.get("VISIONKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("VISIONKIT_TEST_DATA names no folder: no real data to test with")
    return Path(folder)
