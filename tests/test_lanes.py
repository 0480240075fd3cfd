"""The kernels on narrower vectors: the same tests again in a process of 8 and of 4 lanes.

Each width is compiled once, into the cache folder of its own name: a minute when it is new.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from visionkit.kernels import dot

#: A processor that has just these vectors; where it is named, it is also compiled for.
PROCESSORS = {
    8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    4: {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"},
}
TESTS = (
    "tests/graph/test_random_layers.py",
    "tests/kernels/test_simd.py",
    "tests/kernels/test_conv.py",
    "tests/kernels/test_depthwise.py",
    "tests/kernels/test_winograd_deep.py",
    "tests/kernels/test_winograd_wgrad.py",
    "tests/kernels/test_tiles.py",
    "tests/kernels/test_staged.py",
    "tests/graph/test_inverted.py",
)


#: Processors that multiply int8 by vectors and have no tiles: lanes, what they need of this one, features.
WITHOUT_TILES = {
    "cascadelake": (
        "16", "avx512vnni", "+avx2,+fma,+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+avx512vnni",
    ),
    "alderlake": ("8", "avxvnni", "+avx2,+fma,+avxvnni"),
}  # fmt: skip


def passes(settings: dict[str, str], *words: str) -> None:
    """Run tests in a process of its own, with `settings` in its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=Path(__file__).parents[1],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("lanes", [8, pytest.param(4, marks=pytest.mark.slow)])
def test_random_layers_on_narrower_vectors(lanes):
    settings = {"VISIONKIT_LANES": str(lanes), "VISIONKIT_DIFFERENTIAL": "60"}
    if platform.machine() in ("x86_64", "AMD64"):
        settings |= PROCESSORS[lanes]
    passes(settings, "-m", "not slow", *TESTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_TILES)
def test_int8_without_tiles(name):
    lanes, needed, features = WITHOUT_TILES[name]
    if needed not in dot.features():
        pytest.skip(f"this processor lacks {needed}")
    settings = {"VISIONKIT_LANES": lanes, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    passes(settings, "-k", "vectors and int8", "tests/kernels/test_narrow_conv.py")
